"""Owns the facts that a run prints once, and the phases that its log shows."""

import re

from diagnostics.observations import Phase

_NUMBER = r"([\d,]+)"
_FACTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("num_examples", rf"^\s*Num examples = {_NUMBER}$"),
        ("num_epochs", rf"^\s*Num Epochs = {_NUMBER}$"),
        ("steps_per_epoch", rf"^\s*Num update steps per epoch = {_NUMBER}$"),
        ("per_device_batch_size", rf"^\s*Instantaneous batch size per device = {_NUMBER}$"),
        ("total_batch_size", rf"^\s*Total train batch size \(.*\) = {_NUMBER}$"),
        ("accumulation_steps", rf"^\s*Gradient Accumulation steps = {_NUMBER}$"),
        ("total_steps", rf"^\s*Total (?:optimization|training) steps = {_NUMBER}$"),
        ("trainable_params", rf"^trainable params: {_NUMBER} \|\| all params"),
        ("all_params", rf"^trainable params: [\d,]+ \|\| all params: {_NUMBER}"),
        ("resumed_step", rf"(?:from global step|and global step|saved global_step) {_NUMBER}$"),
        ("world_size", rf"^Process rank: \d+, world size: {_NUMBER},"),
    )
)
_TEXTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("device", r"^Process rank: \d+, (?:world size: \d+, )?device: ([\w:]+),"),
        ("compute_dtype", r"^Process rank: .*compute dtype: ([\w.]+)"),
        ("method", r"^Fine-tuning method: (\w+)"),
        ("attention", r"^Using (torch SDPA|FlashAttention-\d|vanilla attention)"),
        ("resumed_from", r"^Resuming training from (\S*checkpoint-\d+)\.?$"),
        ("saved_checkpoint", r"^Saving model checkpoint to (.+)$"),
    )
)
_PHASES: tuple[tuple[Phase, re.Pattern[str]], ...] = tuple(
    (phase, re.compile(pattern))
    for phase, pattern in (
        (Phase.TRAINING, r"^\*\*\*\*\* Running training \*\*\*\*\*"),
        (Phase.EVALUATING, r"^\*\*\*\*\* Running (?:Evaluation|Prediction) \*\*\*\*\*"),
        (Phase.PREPROCESSING, r"^Loading dataset "),
        (Phase.LOADING, r"^(?:loading weights file|Quantizing model to )"),
        (Phase.SAVING, r"^Saving model checkpoint to "),
        (
            Phase.FINISHED,
            r"^(?:Training completed\.|\*{5} (?:train|eval|predict) metrics \*{5})",
        ),
    )
)


def find_facts(message: str) -> list[tuple[str, int | str]]:
    """Return the facts in a record's message."""
    facts: list[tuple[str, int | str]] = []
    for name, pattern in _FACTS:
        match = pattern.search(message)
        if match is not None:
            digits = match.group(1).replace(",", "")
            if digits and len(digits) < 19:  # noqa: PLR2004 - beyond 64 bits is no count
                facts.append((name, int(digits)))
    for name, pattern in _TEXTS:
        match = pattern.search(message)
        if match is not None:
            facts.append((name, match.group(1)))
    return facts


def find_phase(message: str) -> Phase | None:
    """Return the phase that a record's message begins."""
    return next((phase for phase, pattern in _PHASES if pattern.search(message)), None)
