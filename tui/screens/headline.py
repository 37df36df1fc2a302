"""Owns the rows that tell of the run itself: the title line and the ledger of attempts. Pure."""

from collections.abc import Sequence

from diagnostics.config.unset import Unset
from diagnostics.findings import KeyChange, Language
from diagnostics.monitor_update import MonitorUpdate
from diagnostics.runs.model import Attempt, Outcome, Run
from diagnostics.status import RunStatus
from tui import words
from tui.widgets.amounts import duration, gib
from tui.widgets.cells import Line, Role, Span, cut, cut_line, inert, width_of
from tui.words import say

STALE_S = 15.0
STATUS_ROLES = {
    RunStatus.RUNNING: Role.GOOD,
    RunStatus.FINISHED: Role.GOOD,
    RunStatus.FAILED: Role.BAD,
    RunStatus.STOPPED: Role.WARN,
    RunStatus.UNKNOWN: Role.DIM,
}
OUTCOME_ROLES = {
    Outcome.CURED: Role.GOOD,
    Outcome.RELAPSED: Role.BAD,
    Outcome.WORSE: Role.BAD,
    Outcome.PENDING: Role.ACCENT,
    Outcome.UNKNOWN: Role.DIM,
}
SHORT_KEYS = {
    "per_device_train_batch_size": "batch",
    "per_device_eval_batch_size": "eval batch",
    "gradient_accumulation_steps": "accumulation",
}


def title_line(
    run: Run, update: MonitorUpdate | None, now: float, width: int, language: Language
) -> Line:
    """Return the first row: name, status, attempt, elapsed; what is simulated says so."""
    left: list[Span] = [(" llamavet ", Role.BADGE), (" ", Role.TEXT)]
    if run.simulated_gpu is not None:
        badge = say(words.SIMULATED, language)
        left += [(f" {badge} ", Role.BADGE_WARN), (" ", Role.TEXT)]
    right = _standing(update, now, language)
    room = width - width_of(tuple(left)) - width_of(right) - 2
    name = cut(inert(run.name), max(room, 8))
    pad = max(width - width_of(tuple(left)) - width_of(((name, Role.TEXT),)) - width_of(right), 1)
    return cut_line((*left, (name, Role.STRONG), (" " * pad, Role.TEXT), *right), width)


def _standing(update: MonitorUpdate | None, now: float, language: Language) -> Line:
    if update is None:
        return ((words.STATUS["starting"].to(language), Role.DIM),)
    spans: list[Span] = []
    running = update.status is RunStatus.RUNNING
    if running and now - update.at > STALE_S:
        text = say(words.NO_NEWS, language, time=duration(now - update.at))
        spans += [(text, Role.WARN), ("  ", Role.TEXT)]
    word = words.STATUS[update.status.value].to(language)
    spans.append((word, STATUS_ROLES[update.status]))
    if update.attempts:
        number = update.attempts[-1].number
        spans.append((f"  {say(words.ATTEMPT, language, number=number)}", Role.TEXT))
    elapsed = elapsed_s(update, now)
    if elapsed is not None:
        spans.append((f"  {duration(elapsed)}", Role.TEXT))
    return (*spans, (" ", Role.TEXT))


def elapsed_s(update: MonitorUpdate, now: float) -> float | None:
    """Return how long the latest attempt has run or ran, or None where its ends are not known."""
    if not update.attempts:
        return None
    attempt = update.attempts[-1]
    if update.status is RunStatus.RUNNING:
        return now - attempt.started_at
    ended = attempt.ended_at
    if ended is None and update.snapshot.ended is not None:
        ended = update.snapshot.ended.at
    return None if ended is None else ended - attempt.started_at


def ledger_lines(
    update: MonitorUpdate | None, width: int, language: Language, limit: int
) -> Sequence[Line]:
    """Return a row for each attempt that followed a change, the latest last, at most `limit`."""
    if update is None:
        return ()
    attempts = update.attempts
    rows: list[Line] = []
    for index, attempt in enumerate(attempts):
        before = attempts[index - 1] if index else None
        if index == len(attempts) - 1 and update.previous is not None:
            before = update.previous
        if before is not None or attempt.treatment is not None:
            rows.append(_attempt_line(attempt, before, width, language))
    return rows[-limit:]


def _attempt_line(attempt: Attempt, before: Attempt | None, width: int, language: Language) -> Line:
    head = f"{say(words.ATTEMPT, language, number=attempt.number)}: "
    spans: list[Span] = [(head, Role.DIM), (_change_text(attempt, language), Role.TEXT)]
    word = words.OUTCOMES[attempt.outcome.value].to(language)
    proof = _proof(attempt, before, language)
    if word:
        spans += [(" - ", Role.DIM), (word, OUTCOME_ROLES[attempt.outcome])]
    if proof:
        spans.append((f": {proof}" if word else f" - {proof}", Role.TEXT))
    if before is not None and before.peak_gpu_bytes and attempt.peak_gpu_bytes:
        peaks = (gib(before.peak_gpu_bytes), gib(attempt.peak_gpu_bytes))
        text = say(words.PEAK, language, before=peaks[0], after=peaks[1])
        peak: Span = (f"; {text}", Role.DIM)
        if width_of((*spans, peak)) <= width:
            spans.append(peak)
    return cut_line(tuple(spans), width)


def _change_text(attempt: Attempt, language: Language) -> str:
    treatment = attempt.treatment
    if treatment is None:
        return say(words.AS_IT_WAS, language)
    parts = [_key_change(change) for change in treatment.changes]
    parts += [f"{inert(name)}={inert(value)}" for name, value in treatment.env.items()]
    return " x ".join(parts) or inert(treatment.title_en)


def _key_change(change: KeyChange) -> str:
    key = SHORT_KEYS.get(change.key, change.key)
    return f"{inert(key)} {_value(change.old)} -> {_value(change.new)}"


def _value(value: object) -> str:
    if isinstance(value, Unset):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return cut(inert(str(value)), 40)


def _proof(attempt: Attempt, before: Attempt | None, language: Language) -> str:
    if attempt.outcome is Outcome.CURED and before is not None and before.step is not None:
        return say(words.PASSED_STEP, language, step=before.step)
    if attempt.outcome in {Outcome.RELAPSED, Outcome.WORSE} and attempt.step is not None:
        return say(words.DIED_AT, language, step=attempt.step)
    return ""
