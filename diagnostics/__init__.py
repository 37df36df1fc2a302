"""Everything of llamavet without a screen; usable as a library and from scripts."""
