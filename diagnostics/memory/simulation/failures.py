"""Owns what cannot be simulated."""


class UnsupportedError(Exception):
    """Something cannot be simulated; the text says what and why."""
