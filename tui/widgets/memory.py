"""Owns how a memory prediction reads on a screen: what is needed, the verdict, a bar a term. Pure.

With changes tried, every figure shows what it was and what it would be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from diagnostics.errors import LlamavetError
from diagnostics.findings import Language
from diagnostics.memory.forecast import Forecast
from diagnostics.memory.peak import GIB, Terms
from diagnostics.memory.verdict import Verdict
from diagnostics.report.memory import CONFIDENCE, PHASES, TERMS, VERDICTS, describe
from tui import words
from tui.widgets.amounts import gib
from tui.widgets.cells import (
    Line,
    Role,
    Span,
    bar,
    cut,
    cut_line,
    fit,
    inert,
    right,
    rule,
    width_of,
    wrap,
)
from tui.words import say

VERDICT_ROLES = {
    Verdict.FITS: Role.GOOD,
    Verdict.TIGHT: Role.WARN,
    Verdict.DOES_NOT_FIT: Role.BAD,
    Verdict.UNKNOWN: Role.DIM,
}
ARROW = " → "
GAP = "   "
LEAST_BAR = 4
MOST_BAR = 60
ONE_COLUMN = 64
"""Below this many columns a term has a row of its own, without the others beside it."""
SAME = 0.005
"""Sizes in GiB that differ by less read the same."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a config needs, and with the changes that are tried; the same where none are."""

    before: Forecast
    after: Forecast | LlamavetError
    no_gpu: str = ""
    """Why no GPU's size is known."""
    simulated: bool = False

    @property
    def shown(self) -> Forecast:
        """The forecast whose figures are shown."""
        return self.after if isinstance(self.after, Forecast) else self.before


def memory_lines(
    told: Prediction, width: int, language: Language, *, in_full: bool
) -> Sequence[Line]:
    """Return the block of a prediction; `in_full` adds the phases and what was assumed."""
    now = told.shown
    phase = say(
        words.AT_PEAK,
        language,
        phase=PHASES[now.phase].to(language),
        confidence=CONFIDENCE[now.confidence].to(language),
    )
    note: Line = ((phase, Role.DIM),)
    lines: list[Line] = [_rule(note, width, language, simulated=told.simulated)]
    lines += _headline(told, width, language)
    if isinstance(told.after, LlamavetError):
        text = say(words.NOT_PREDICTED, language, reason=inert(str(told.after)))
        lines.append(((cut(text, width), Role.WARN),))
    lines += [(), *_terms(told, width, language, 1), ()] if in_full else []
    if not in_full:
        return [*lines, *_terms(told, width, language, 1 if width < ONE_COLUMN else 2)]
    phases = "  ".join(
        f"{PHASES[name].to(language)} {terms.total / GIB:.1f}"
        for name, terms in now.peak.phases.items()
    )
    for text, role in (
        (describe(now, language), Role.TEXT),
        (say(words.BY_PHASE, language, phases=phases), Role.DIM),
        *((say(words.GIVEN, language, text=one.to(language)), Role.DIM) for one in now.assumptions),
    ):
        lines += [((row, role),) for row in wrap(inert(text), width, 3)]
    return lines


def unknown_lines(
    text: str, width: int, language: Language, *, simulated: bool = False
) -> Sequence[Line]:
    """Return the block where nothing can be predicted, with the reason."""
    rows = wrap(inert(text), width, 3)
    return [
        _rule((), width, language, simulated=simulated),
        *(((row, Role.WARN),) for row in rows),
    ]


def _rule(note: Line, width: int, language: Language, *, simulated: bool) -> Line:
    if simulated:
        badge: Span = (f" {say(words.SIMULATED, language)} ", Role.BADGE_WARN)
        note = (*note, (" ", Role.TEXT), badge) if note else (badge,)
    return rule(say(words.GPU_MEMORY, language), width, note)


def _headline(told: Prediction, width: int, language: Language) -> Sequence[Line]:
    now = told.shown
    needed = f"{now.needed_gib:.1f}"
    if abs(now.needed_gib - told.before.needed_gib) >= SAME:
        needed = f"{told.before.needed_gib:.1f}{ARROW}{needed}"
    capacity = now.capacity_gib
    if capacity is None:
        head: Line = ((say(words.NEEDED, language, needed=needed), Role.STRONG),)
        reason = inert(told.no_gpu).removeprefix("no GPU: ")
        if not reason:
            return (cut_line(head, width),)
        text = say(words.NO_GPU, language, reason=reason)
        return (cut_line((*head, (f"{GAP}{text}", Role.WARN)), width),)
    text = say(words.NEEDED_OF, language, needed=needed, capacity=f"{capacity:.1f}")
    role = VERDICT_ROLES[now.verdict]
    verdict: Span = (f"  {VERDICTS[now.verdict].to(language)}", role)
    room = min(width - width_of(((text, role), verdict)) - 2, MOST_BAR)
    share = now.needed_gib / capacity if capacity > 0 else 1.0
    drawn = (("  ", Role.TEXT), *bar(share, room, role)) if room >= LEAST_BAR else ()
    return (cut_line(((text, Role.STRONG), *drawn, verdict), width),)


def _terms(told: Prediction, width: int, language: Language, columns: int) -> Sequence[Line]:
    before, after = told.before.terms, told.shown.terms
    most = max(1.0, *(size for one in (before, after) for size in _sizes(one)))
    changes = any(_differ(*pair) for pair in zip(_sizes(before), _sizes(after), strict=True))
    each = (width - len(GAP) * (columns - 1)) // columns
    labels = max(width_of(((text.to(language), Role.TEXT),)) for text in TERMS.values())
    figures = 11 if changes else 5
    room = min(each - labels - figures - 2, MOST_BAR)
    cells: list[Line] = []
    for name, text in TERMS.items():
        was, now = getattr(before, name), getattr(after, name)
        figure = f"{gib(was)}{ARROW}{gib(now)}" if _differ(was, now) else gib(now)
        label: Span = (f"{fit(text.to(language), labels)} ", Role.TEXT)
        number: Span = (right(figure, figures), Role.STRONG if _differ(was, now) else Role.TEXT)
        drawn = _change_bar(was / most, now / most, room) if room >= LEAST_BAR else ()
        cells.append(_filled((label, number, *drawn), each))
    if columns == 1:
        return cells
    half = len(cells) // 2
    gap: Span = (GAP, Role.TEXT)
    return [(*one, gap, *two) for one, two in zip(cells[:half], cells[half:], strict=True)]


def _sizes(terms: Terms) -> list[float]:
    return [getattr(terms, name) for name in TERMS]


def _differ(was: float, now: float) -> bool:
    return abs(was - now) >= SAME * GIB


def _change_bar(was: float, now: float, room: int) -> Line:
    """Return a bar whose end shows what falls away, or what is added."""
    old, new = round(was * room), round(now * room)
    kept: Span = (" " + "━" * min(old, new), Role.ACCENT)
    if old > new:
        return (kept, ("╌" * (old - new), Role.GOOD))
    return (kept, ("━" * (new - old), Role.WARN))


def _filled(line: Line, width: int) -> Line:
    short = cut_line(line, width)
    return (*short, (" " * (width - width_of(short)), Role.TEXT))
