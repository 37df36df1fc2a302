"""Of the lines that a rule looks for in a large log the first and the last are kept."""

from diagnostics.history import MAX_HITS
from tests.sources.skim.logs import TOTAL, header
from tests.sources.skim.reading import CAUGHT, Make, skimmed, whole


def test_of_what_matches_at_each_step_the_first_and_the_last_lines_are_kept(make: Make):
    line = "[deepspeed] OVERFLOW! Rank 0 Skipping step {}\n"
    data = (header(TOTAL) + "\n" + "".join(line.format(n) for n in range(5000))).encode()
    seen = skimmed(data, make).hits["OVERFLOW! Rank"]
    assert [hit.text for hit in seen] == [hit.text for hit in whole(data).hits["OVERFLOW! Rank"]]
    assert len(seen) == MAX_HITS


def test_a_rare_hit_among_many_that_only_look_like_it_is_kept(make: Make):
    near = "".join(f"Watchdog cats timeout timeout {n}\n" for n in range(3000))
    data = (header(TOTAL) + "\n" + near + "Watchdog saw abort abort\n" + near).encode()
    (hit,) = skimmed(data, make).hits[CAUGHT]
    assert hit.text == "Watchdog saw abort abort"


def test_lines_have_their_true_numbers(make: Make):
    lines = "".join(f"line {n}\n" for n in range(2, 3000))
    data = ("first\n" + lines + "OVERFLOW! Rank 0\n" + lines).encode()
    (hit,) = skimmed(data, make).hits["OVERFLOW! Rank"]
    assert hit.line == 3000
