"""Owns counting what a dataset's samples are like, one after the other, in bounded memory. Pure."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from diagnostics.datasets.columns import Columns
from diagnostics.datasets.exchange import Drop, Exchange, read_exchange
from diagnostics.datasets.layout import Layout
from diagnostics.datasets.report import DatasetReport, Lengths, Place, Tally
from diagnostics.datasets.tokens import Tokens, estimate

_SHOWN_PLACES = 3
_SHOWN_CHARACTERS = 60
_KEPT_CHARACTERS = 4 * _SHOWN_CHARACTERS
_MAX_MEDIA = 1_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """What of a training's config decides how its samples are taken."""

    stage: str = "sft"
    cutoff_len: int = 2048
    packing: bool = False

    @property
    def answers_matter(self) -> bool:
        """Whether a sample's own answer is learned: pre-training takes the prompt alone."""
        return self.stage not in {"pt", "ppo"}


class Analysis:
    """Takes samples in; the report can be asked for at any time."""

    def __init__(self, layout: Layout, recipe: Recipe) -> None:
        self._layout = layout
        self._recipe = recipe
        self._columns = Columns(layout)
        self._read = 0
        self._dropped = {drop: _Counter() for drop in Drop}
        self._empty = _Counter()
        self._duplicates = _Counter()
        self._identical = _Counter()
        self._mismatched = _Counter()
        self._liked = {True: 0, False: 0}
        self._seen: set[int] = set()
        self._prompts: dict[int, _Prompt] = {}
        self._lengths = _Lengths(recipe.cutoff_len)
        self.media: list[tuple[Place, str]] = []
        """The media that samples name, the first of them."""

    def add(self, place: Place, sample: Mapping[str, object]) -> None:
        """Take in one sample."""
        self._read += 1
        self._columns.add(place, sample)
        exchange = read_exchange(sample, self._layout, self._recipe.stage)
        place = replace(place, text=exchange.text[:_KEPT_CHARACTERS])
        if exchange.dropped is not None:
            self._dropped[exchange.dropped].add(place, exchange.remark)
            return
        self._media(place, exchange)
        self._lengths.add(place, self._tokens(exchange))
        self._count_repeats(place, exchange)
        if not self._recipe.answers_matter:
            return
        if exchange.liked is not None:
            self._liked[exchange.liked] += 1
        if any(not reply.strip() for reply in exchange.replies):
            self._empty.add(place, "its answer is empty")
        if len(exchange.answers) > 1 and exchange.answers[0] == exchange.answers[1]:
            self._identical.add(place, "chosen and rejected are the same")

    def report(self, report: DatasetReport) -> DatasetReport:
        """Return a report with what was counted put in."""
        columns = self._columns
        return replace(
            report,
            formatting=self._layout.formatting,
            read=self._read,
            columns=columns.names,
            missing_columns=columns.missing if self._read else (),
            unlisted_columns=columns.unlisted,
            mixed_columns=columns.mixed_names,
            mixed=columns.mixed,
            no_answers=self._dropped[Drop.NO_ANSWER].tally,
            invalid_turns=self._dropped[Drop.TURNS].tally,
            no_pairs=self._dropped[Drop.NO_PAIR].tally,
            empty_answers=self._empty.tally,
            duplicates=self._duplicates.tally,
            conflicts=self._conflicts(),
            identical_pairs=self._identical.tally,
            liked=self._liked[True],
            disliked=self._liked[False],
            media_mismatch=self._mismatched.tally,
            lengths=self._lengths.result(),
            packed=self._recipe.stage == "pt" and self._recipe.packing,
        )

    def _media(self, place: Place, exchange: Exchange) -> None:
        if exchange.mismatch:
            self._mismatched.add(place, exchange.mismatch)
        room = _MAX_MEDIA - len(self.media)
        self.media.extend((place, name) for name in exchange.media[:room])

    def _tokens(self, exchange: Exchange) -> Tokens:
        tokens = Tokens()
        for part in exchange.prompt[: len(exchange.prompt) - len(exchange.media)]:
            if part:
                tokens += estimate(part)
        if not self._recipe.answers_matter:
            return tokens
        answers = [estimate(answer) for answer in exchange.answers]
        return tokens + max(answers, key=lambda one: one.likely, default=Tokens())

    def _count_repeats(self, place: Place, exchange: Exchange) -> None:
        whole = hash((exchange.prompt, exchange.answers, exchange.liked))
        if whole in self._seen:
            self._duplicates.add(place, "an earlier sample is the same")
            return
        self._seen.add(whole)
        if self._recipe.stage != "sft" or not exchange.text or len(exchange.answers) != 1:
            return
        # Samples that differ here have the same prompt and another answer.
        self._prompts.setdefault(hash(exchange.prompt), _Prompt()).add(place)

    def _conflicts(self) -> Tally:
        several = [prompt for prompt in self._prompts.values() if prompt.answers > 1]
        places = tuple(
            _remarked(one, f"its prompt has {prompt.answers} different answers")
            for prompt in several[:2]
            for one in prompt.places
        )
        return Tally(sum(prompt.answers for prompt in several), places[:_SHOWN_PLACES])


def excerpt(text: str) -> str:
    """Return a text's beginning on one line, safe to print."""
    line = " ".join(text[:_KEPT_CHARACTERS].split())
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    if len(plain) <= _SHOWN_CHARACTERS:
        return f'"{plain}"'
    return f'"{plain[:_SHOWN_CHARACTERS]}..."'


def _remarked(place: Place, remark: str) -> Place:
    return replace(place, text=f"{excerpt(place.text)}: {remark}")


class _Counter:
    """Counts places and keeps the first."""

    def __init__(self) -> None:
        self._count = 0
        self._places: list[Place] = []

    def add(self, place: Place, remark: str) -> None:
        self._count += 1
        if len(self._places) < _SHOWN_PLACES:
            self._places.append(_remarked(place, remark))

    @property
    def tally(self) -> Tally:
        return Tally(self._count, tuple(self._places))


class _Prompt:
    """The different answers that one prompt has, and where two of them are."""

    __slots__ = ("answers", "places")

    def __init__(self) -> None:
        self.answers = 0
        self.places: tuple[Place, ...] = ()

    def add(self, place: Place) -> None:
        self.answers += 1
        if self.answers <= _PAIR:
            self.places = (*self.places, place)


_PAIR = 2


class _Lengths:
    """Keeps each sample's likely tokens, and the places of the longest."""

    def __init__(self, cutoff_len: int) -> None:
        self._cutoff_len = cutoff_len
        self._likely: list[int] = []
        self._surely = 0
        self._maybe = 0
        self._longest: list[tuple[int, int, Place]] = []

    def add(self, place: Place, tokens: Tokens) -> None:
        self._surely += tokens.low > self._cutoff_len
        self._maybe += tokens.high > self._cutoff_len
        self._likely.append(tokens.likely)
        heapq.heappush(self._longest, (tokens.likely, -len(self._likely), place))
        if len(self._longest) > _SHOWN_PLACES:
            heapq.heappop(self._longest)

    def result(self) -> Lengths | None:
        if not self._likely:
            return None
        ordered = sorted(self._likely)
        return Lengths(
            median=ordered[len(ordered) // 2],
            p95=ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)],
            longest=ordered[-1],
            longest_places=tuple(self._shown()),
            cutoff_len=self._cutoff_len,
            cut_surely=self._surely,
            cut_maybe=self._maybe,
            measured=len(ordered),
        )

    def _shown(self) -> Iterator[Place]:
        for likely, _, place in sorted(self._longest, reverse=True):
            yield _remarked(place, f"about {likely:,} tokens")
