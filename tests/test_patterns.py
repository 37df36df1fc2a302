"""Many regular expressions at once: found is what each would find by itself."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.patterns import PatternSet, needles, superset
from diagnostics.ruleset import load_rules

PATTERNS = (
    r"^(?:\S+: line \d+:\s+\d+ )?Killed(?:\s|$)",
    r"(?i)^(?:\[[\d. ]+\] )?(?:Memory cgroup out of memory|Out of memory): Killed process",
    r"(?:^|\s)Bus error(?:\s|$)",
    r"DataLoader worker \(pid[^)]*\) is killed by signal: Killed",
    r"foo(?!bar)[^x]{2,3}.*$",
    r"(a|b)\1c",
    r"x*",
    r"显存不足|OVERFLOW",
    r"(?i:kill)ed|straße",
    r"NCCL (?P<op>\w+) (?:error|failure).*",
    r"(?<=to )stop\b",
    r"[\d.]+ (?:G|M)iB",
    r"(?:ab){2,3}",
    r"é{2}z",
    r"\Bend\Z",
    r"(?s)one.two",
    r"(?>atom)ic|p++q",
)
FRAGMENTS = st.sampled_from(
    [
        *("Killed", "killed", "run.sh: line 3: 4711 ", "Out of memory: ", "Bus error", " ", "foo"),
        *("DataLoader worker (pid 3) is killed by signal: ", "bar", "zz", "aac", "bbc", "abc"),
        *(
            "显存不足",
            "OVERFLOW",
            "ſ",
            "K",
            "ILLED",
            "straße",
            "NCCL x error",
            "to stop",
            "stopped",
        ),
        *(
            "1.5 GiB",
            "12 ",
            "ababab",
            "ab",
            "éé",
            "z",
            "end",
            "weekend",
            "one two",
            "atomic",
            "ppq",
        ),
    ]
)
LINES = st.lists(FRAGMENTS, max_size=8).map("".join)


@given(LINES)
@settings(max_examples=300, deadline=None)
def test_each_pattern_is_found_where_it_alone_is(text: str):
    wanted = [place for place, one in enumerate(PATTERNS) if re.search(one, text)]
    assert PatternSet(PATTERNS).matches(text) == wanted


@given(LINES)
@settings(max_examples=300, deadline=None)
def test_where_a_pattern_matches_its_superset_does_so_in_the_bytes(text: str):
    for pattern in PATTERNS:
        wide = superset(pattern)
        if wide is not None and re.search(pattern, text):
            assert re.search(wide.encode(), text.encode()), pattern


@given(LINES)
@settings(max_examples=300, deadline=None)
def test_where_a_pattern_matches_one_of_its_needles_stands(text: str):
    for pattern in PATTERNS:
        found = needles(pattern)
        if found is not None and text.isascii() and re.search(pattern, text):
            shown = text.lower() if found.caseless else text
            assert any(literal in shown for literal in found.texts), pattern


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        (r"^Killed(?:\s|$)", ("Killed",)),
        (r"one|two", ("one", "two")),
        (r"(?i)Out Of Memory", ("out of memory",)),
        (r"(?:no(?P<x>\d+)t|yes) certainly", (" certainly",)),
        (r"a?b*", None),
        (r"(?:a|\d)", None),
    ],
)
def test_needles_are_the_longest_literals_that_must_stand(
    pattern: str, literals: tuple[str, ...] | None
):
    found = needles(pattern)
    assert (None if found is None else found.texts) == literals


def test_a_pattern_that_matches_nothing_certain_has_no_superset():
    assert superset(r"x*") is None
    assert superset(r"^$") is None


def test_a_superset_ends_as_early_as_it_can():
    assert superset(r"Error: .*") == r"Error\x3a\x20"
    assert superset(r"(?P<said>Error: [^\n]*)") == r"(?:Error\x3a\x20)"


def test_patterns_are_kept_once_and_in_order():
    assert PatternSet(["b", "a", "b"]).texts == ("b", "a")
    assert PatternSet(["b", "a", "b"]).matches("ab") == [0, 1]


def test_every_rule_can_be_looked_for_by_its_literals():
    patterns = load_rules().patterns
    weak = [one for one in patterns if (found := needles(one)) is None or found.weight < 3]
    assert weak == []


def test_no_patterns_match_nothing():
    assert PatternSet(()).matches("Killed") == []
