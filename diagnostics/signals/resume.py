"""Owns the signals of a resumed training: where it went on, and what was left to do."""

from collections.abc import Mapping

from diagnostics.signals.context import Context, Reader, Value, plain


def _fact(name: str) -> Reader:
    return plain(lambda context: context.snapshot.facts.get(name))


def _steps_left(context: Context) -> Value | None:
    """Return how many steps were left when a run resumed; below 0 where it had done more."""
    facts = context.snapshot.facts
    done, total = facts.get("resumed_step"), facts.get("total_steps")
    if not isinstance(done, int) or not isinstance(total, int) or done <= 0:
        return None
    return total - done


SIGNALS: Mapping[str, Reader] = {
    "resume.from": _fact("resumed_from"),
    "resume.step": _fact("resumed_step"),
    "resume.steps_left": plain(_steps_left),
}
