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


def _odd_step(context: Context) -> Value | None:
    """Return whether a run resumed at a step where, as it is set now, no checkpoint would be.

    Checkpoints stand at multiples of save_steps, which people choose round, and at the ends of
    epochs; None where a share of all steps, or an interruption, may have set the place.
    """
    facts, config = context.snapshot.facts, context.config
    step, total = facts.get("resumed_step"), facts.get("total_steps")
    if config is None or not isinstance(step, int) or not isinstance(total, int) or step <= 0:
        return None
    if config.value("enable_jit_checkpoint") or config.value("max_steps") != -1:
        return None
    every, epochs = config.value("save_steps"), facts.get("num_epochs")
    if not isinstance(every, int) or not isinstance(epochs, int) or not epochs:
        return None
    a_save = step % every == 0 or step % _ROUND == 0
    epoch = max(1, round(step * epochs / total))
    an_epoch_end = abs(step * epochs / total - epoch) * total / epochs <= epoch
    return not (a_save or an_epoch_end or step >= total)


_ROUND = 5
"""What nearly every save_steps that a person writes is a multiple of."""

SIGNALS: Mapping[str, Reader] = {
    "resume.from": _fact("resumed_from"),
    "resume.step": _fact("resumed_step"),
    "resume.steps_left": plain(_steps_left),
    "resume.odd_step": plain(_odd_step),
}
