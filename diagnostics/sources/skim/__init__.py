"""Owns reading the middle of a large log fast, and missing nothing in it that a diagnosis needs.

`skimmer` looks the bytes through for what parsers and rules know (`queries`, `scanning`) and keeps
windows of whole lines (`blocks`) and the dicts of metrics (`rows`), both bounded in number;
`replay` gives what was kept to the ordinary parser, in order and with its true line numbers.
"""
