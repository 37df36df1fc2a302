"""The user's training config: its text, its values, its command line, and edits of all three."""
