"""Owns what faults of keys and values foretell: LLaMA-Factory's own words for each.

A fault for which it has no words of its own is put to a rule by that rule's id.
"""

from collections.abc import Iterator, Sequence

from diagnostics.config.faults import FaultKind, SchemaFault
from diagnostics.config.unset import UNSET
from diagnostics.findings import KeyChange, Severity, Text
from diagnostics.precheck.foreseen import PARSER, TRAINER, Foreseen, Named

_ARGUMENTS = (PARSER[0], "transformers/training_args.py:__post_init__")
_ENUMS = {
    "lr_scheduler_type": "SchedulerType",
    "optim": "OptimizerNames",
    "save_strategy": "SaveStrategy",
    "eval_strategy": "IntervalStrategy",
    "logging_strategy": "IntervalStrategy",
    "hub_strategy": "HubStrategy",
}
_CHOICES = {
    "finetuning_type": "AssertionError: Invalid fine-tuning method.",
    "stage": "ValueError: Unknown task: {value}.",
    "flash_attn": "NotImplementedError: Unknown attention type: {value}",
}
_OPTIMIZERS = (*TRAINER, "torch/optim/adamw.py:__init__")
_INVALID = "args.invalid_value"
_RULES = {
    FaultKind.UNKNOWN_KEY: "args.unknown_key",
    FaultKind.FORMER_KEY: "args.unknown_key",
    FaultKind.WRONG_TYPE: _INVALID,
    FaultKind.BAD_CHOICE: _INVALID,
    FaultKind.OUT_OF_RANGE: _INVALID,
    FaultKind.EXCLUDED: "args.incompatible",
    FaultKind.NEEDS: "env.missing_package",
}
_RULES_BY_CHECK = {
    "nothing_to_do": "args.missing_required",
    "interleave_probs_sum": _INVALID,
    "freeze_nothing": _INVALID,
}
_KEY_FAULTS = frozenset({FaultKind.UNKNOWN_KEY, FaultKind.FORMER_KEY})
_SEVERITIES = {True: Severity.CRITICAL, False: Severity.WARNING, None: Severity.NOTE}
"""By whether LLaMA-Factory refuses it: what is not known is no alarm."""


def foresee_options(faults: Sequence[SchemaFault]) -> Iterator[Foreseen]:
    """Yield what would be printed, or come about, because of faults of keys and values."""
    refused = [one for one in faults if one.kind in _KEY_FAULTS and one.rejected]
    yield from _keys(refused)
    for one in faults:
        if one in refused:
            continue
        words, frames = _words(one) if one.rejected else ("", ())
        yield Foreseen(
            said=words or one.message,
            keys=(one.key, *one.others),
            frames=frames,
            named=_named(one),
            change=_change(one),
        )


def _keys(faults: Sequence[SchemaFault]) -> Iterator[Foreseen]:
    """Foresee the one refusal of all keys that are not known."""
    keys = tuple(one.key for one in faults)
    if keys:
        listed = ", ".join(repr(key) for key in sorted(keys))
        said = f"ValueError: Some keys are not used by the HfArgumentParser: [{listed}]"
        yield Foreseen(said, keys, (*PARSER, "transformers/hf_argparser.py:parse_dict"))


def _words(one: SchemaFault) -> tuple[str, tuple[str, ...]]:
    """Return the error that it ends in, and where that is raised; ("", ()) where none is known."""
    value = _shown(one.value)
    if one.said.endswith("Unknown optim"):
        return f"{one.said}: {value}", TRAINER
    if one.said:
        return one.said, PARSER
    if one.kind is FaultKind.BAD_CHOICE and one.key in _ENUMS:
        listed = ", ".join(repr(choice) for choice in one.expected.split(", "))
        said = f"ValueError: {value} is not a valid {_ENUMS[one.key]}, please select one of"
        return f"{said} [{listed}]", _ARGUMENTS
    if one.kind is FaultKind.BAD_CHOICE and one.key in _CHOICES:
        return _CHOICES[one.key].format(value=value), PARSER
    if one.key == "learning_rate" and isinstance(one.value, str):
        return "TypeError: '<=' not supported between instances of 'float' and 'str'", _OPTIMIZERS
    return "", ()


def _named(one: SchemaFault) -> Named:
    """Name the rule for what LLaMA-Factory has no words for, or takes without a word."""
    known = {"key": one.key, "value": _shown(one.value), "package": one.package or ""}
    rule_id = _RULES_BY_CHECK.get(one.name, _RULES[one.kind])
    if one.key == "quantization_method" and one.kind is FaultKind.BAD_CHOICE:
        rule_id = "quant.silently_off"
    captures = {name: text for name, text in known.items() if text}
    return Named(rule_id, captures, _cause(one), _SEVERITIES[one.rejected])


def _cause(one: SchemaFault) -> Text:
    sentence = f"{one.message[:1].upper()}{one.message[1:]}" if one.message[:1] != "" else ""
    if sentence.startswith(one.key.capitalize()):
        sentence = one.message
    if one.expected and one.kind is FaultKind.BAD_CHOICE:
        sentence += f"; it takes {one.expected[:_LONGEST]}"
    return Text(f"{sentence}.", _cause_zh(one))


def _cause_zh(one: SchemaFault) -> str:
    value = _shown(one.value)
    match one.kind:
        case FaultKind.UNKNOWN_KEY | FaultKind.FORMER_KEY:
            return f"{one.key} 不是当前版本的参数。"
        case FaultKind.EXCLUDED if one.others:
            return f"{one.key} 与 {'、'.join(one.others)} 的设置不能同时成立。"
        case FaultKind.EXCLUDED:
            return f"{one.key} 不能这样设置。"
        case FaultKind.NEEDS:
            return f"{one.key} 需要 {one.package}。"
        case _:
            wanted = f"，应为 {one.expected[:_LONGEST]}" if one.expected else ""
            return f"{one.key} 为 {value}{wanted}。"


_LONGEST = 200


def _change(one: SchemaFault) -> KeyChange | None:
    """Return the one change that mends it, where one surely does."""
    if one.kind in _KEY_FAULTS or one.suggested_value is UNSET:
        return None
    return KeyChange(one.suggested_key or one.key, one.value, one.suggested_value)


def _shown(value: object) -> str:
    return "" if value is UNSET else str(value)[:60]
