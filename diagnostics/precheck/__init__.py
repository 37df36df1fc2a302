"""Owns judging a config before its training is launched: what would stop it, what would harm it."""
