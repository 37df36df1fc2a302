"""Owns reading the middle of a large log fast, and missing nothing in it that a diagnosis needs.

`skimmer` takes the bytes in (`escapes`) and has each block of lines (`blocks`) looked through for
what parsers and rules know (`queries`, `scanning`). Of what is found there `samples`, `failures`,
`hits` and `routine` choose windows of whole lines, which `kept` holds, and `metrics` the dicts,
which `rows` holds, with their `bars`; both are bounded in number (`limits`). `replay` gives what
was kept to the ordinary parser, in order and with its true line numbers.
"""
