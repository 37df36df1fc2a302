"""Owns the facts that a run prints once, and the phases that its log shows."""

import re

from diagnostics.observations import Phase

_MAX_DIGITS = 18  # more is no count: it would not fit 64 bits
_NUMBER = r"([\d,]{1,40})"
_WORDS: tuple[str, ...] = (
    *("Num ", "Instantaneous", "Total ", "Gradient Acc", "trainable params", "Process rank"),
    *("Fine-tuning method", "Using ", "Resuming", "Continuing", "saved global_step"),
    *("Saving model", "*****", "Loading dataset", "oading weights", "Loading checkpoint"),
    *("Quantizing", "Training completed", "export"),
)
_FACTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("num_examples", rf"\s*Num examples = {_NUMBER}$"),
        ("num_epochs", rf"\s*Num Epochs = {_NUMBER}$"),
        ("steps_per_epoch", rf"\s*Num update steps per epoch = {_NUMBER}$"),
        ("per_device_batch_size", rf"\s*Instantaneous batch size per device = {_NUMBER}$"),
        ("total_batch_size", rf"\s*Total train batch size \([^)]*\) = {_NUMBER}$"),
        ("accumulation_steps", rf"\s*Gradient Accumulation steps = {_NUMBER}$"),
        ("total_steps", rf"\s*Total (?:optimization|training) steps = {_NUMBER}$"),
        ("trainable_params", rf"trainable params: {_NUMBER} \|\| all params"),
        ("all_params", rf"trainable params: [\d,]+ \|\| all params: {_NUMBER}"),
        (
            "resumed_step",
            (
                r"\s*(?:Continuing training from global step"
                rf"|Resuming training from checkpoint with epoch \d+ and global step) {_NUMBER}$"
            ),
        ),
        ("rank", rf"Process rank: {_NUMBER},"),
        ("world_size", rf"Process rank: \d+, world size: {_NUMBER},"),
    )
)
_TEXTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("device", r"Process rank: \d+, (?:world size: \d+, )?device: ([\w:]{1,40}),"),
        ("compute_dtype", r"Process rank: .{0,200}compute dtype: ([\w.]{1,40})"),
        ("method", r"Fine-tuning method: (\w{1,40})"),
        ("attention", r"Using (torch SDPA|FlashAttention-\d|vanilla attention)"),
        ("resumed_from", r"Resuming training from (?!checkpoint with epoch)(.{1,4000}?)\.?$"),
        ("saved_checkpoint", r"Saving model checkpoint to (.{1,4000})$"),
    )
)
_PHASES: tuple[tuple[Phase, re.Pattern[str]], ...] = tuple(
    (phase, re.compile(pattern))
    for phase, pattern in (
        (Phase.TRAINING, r"\*{5} Running training \*{5}"),
        (Phase.EVALUATING, r"\*{5} Running (?:Evaluation|evaluation|Prediction) \*{5}"),
        (Phase.PREPROCESSING, r"Loading dataset "),
        (Phase.LOADING, r"(?:loading weights file |Quantizing model to )"),
        (Phase.SAVING, r"Saving model checkpoint to "),
        (Phase.EXPORTING, r".{0,400}(?:src/export_model\.py|llamafactory-cli export)"),
        (Phase.FINISHED, r"Training completed\."),
        (Phase.FINISHED, r"\*{5} (?:eval|predict) metrics \*{5}"),
    )
)


def tells_anything(message: str) -> bool:
    """Whether a message may hold a fact or a phase: most do not, and need no closer look."""
    return any(word in message for word in _WORDS)


def find_facts(message: str) -> list[tuple[str, int | str]]:
    """Return the facts in a record's message, by the names of `RunFact`."""
    facts: list[tuple[str, int | str]] = []
    for name, pattern in _FACTS:
        match = pattern.match(message)
        if match is not None:
            digits = match.group(1).replace(",", "")
            if 0 < len(digits) <= _MAX_DIGITS:
                facts.append((name, int(digits)))
    for name, pattern in _TEXTS:
        match = pattern.match(message)
        if match is not None:
            facts.append((name, match.group(1)))
    return facts


def find_phase(message: str) -> Phase | None:
    """Return the phase that a record's message begins."""
    return next((phase for phase, pattern in _PHASES if pattern.match(message)), None)
