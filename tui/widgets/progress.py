"""Owns the row of progress: phase, bar, steps, speed, time left. Pure."""

from dataclasses import dataclass

from diagnostics.findings import Language
from diagnostics.history import Snapshot
from diagnostics.observations import BarKind, Missing, Phase, Progress
from tui import words
from tui.widgets.amounts import duration, seconds_each
from tui.widgets.cells import Line, Role, bar, cut_line, inert, width_of
from tui.words import say


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured; None where it could not be."""

    seconds_per_step: float | None = None
    eta_s: float | None = None


def progress_line(
    snapshot: Snapshot, speed: Speed, width: int, language: Language, *, running: bool
) -> Line:
    """Return the row of progress of a run that goes on, or of where it ended."""
    activity = snapshot.activity
    if running and activity is not None and _leads(activity, snapshot):
        return _activity_line(activity, width, language)
    step, total = snapshot.step, snapshot.total_steps
    if step is None:
        text = words.PHASES[snapshot.phase] if running else words.NO_STEPS
        return cut_line(((say(text, language), Role.TEXT), *_ending(snapshot, language)), width)
    word = words.PHASES[snapshot.phase] if running else words.STEP
    if running and snapshot.phase is Phase.TRAINING:
        word = words.STEP
    head = f"{say(word, language)} {step}/{total} " if total else f"{say(word, language)} {step} "
    tail = _measured(speed, language) if running else _ending(snapshot, language)
    middle: Line = ()
    if total:
        share = step / total
        percent = f" {share * 100:.0f} %"
        room = width - width_of(((head + percent, Role.TEXT), *tail))
        middle = (*bar(share, min(max(room, 4), 60), Role.ACCENT), (percent, Role.TEXT))
    return cut_line(((head, Role.STRONG), *middle, *tail), width)


def _leads(activity: Progress, snapshot: Snapshot) -> bool:
    """Tell whether a bar other than the training's is what the run is about right now."""
    if activity.kind is BarKind.TRAIN or not activity.total or activity.done >= activity.total:
        return False
    if activity.kind is BarKind.EVAL:
        return snapshot.phase is Phase.EVALUATING
    return snapshot.phase in {Phase.STARTING, Phase.PREPROCESSING, Phase.LOADING}


def _activity_line(activity: Progress, width: int, language: Language) -> Line:
    known = words.BARS.get(activity.kind)
    word = say(known, language) if known else inert(activity.description) or "…"
    share = activity.done / activity.total
    tail = f" {share * 100:.0f} %  {activity.done}/{activity.total}"
    room = width - width_of(((word + " " + tail, Role.TEXT),))
    return cut_line(
        (
            (f"{word} ", Role.STRONG),
            *bar(share, min(max(room, 4), 40), Role.ACCENT),
            (tail, Role.TEXT),
        ),
        width,
    )


def _measured(speed: Speed, language: Language) -> Line:
    if speed.seconds_per_step is None:
        return ((f"   {say(words.ETA_UNKNOWN, language)}", Role.DIM),)
    each = say(words.PER_STEP, language, seconds=seconds_each(speed.seconds_per_step))
    line: Line = ((f"   {each}", Role.TEXT),)
    if speed.eta_s is not None:
        left = say(words.ETA, language, time=duration(speed.eta_s))
        line = (*line, (f"   {left}", Role.STRONG))
    return line


def _ending(snapshot: Snapshot, language: Language) -> Line:
    if snapshot.ended is None or isinstance(snapshot.ended.exit_code, Missing):
        return ()
    code = snapshot.ended.exit_code
    role = Role.TEXT if code == 0 else Role.BAD
    return (("   ", Role.TEXT), (say(words.EXIT_CODE, language, code=code), role))
