"""Owns what is wrong with a config's keys and values before any training runs.

Judged by the schema alone, and by the environment where that was told. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from diagnostics.config.effective import EffectiveConfig, Origin
from diagnostics.config.environment_facts import Environment, release
from diagnostics.config.exclusions import broken
from diagnostics.config.mistyped import mistyped
from diagnostics.config.schema import (
    FORMER_VALUES,
    KEYS,
    RENAMED,
    SUCCESSORS,
    FormerKey,
    KeyInfo,
    bundled_facts,
    nearest_key,
    nearest_value,
    successor_value,
)
from diagnostics.config.settings import Settings, as_float
from diagnostics.config.unset import UNSET, Unset

_SHOWN = 60
_MOST_KEYS = 500
"""A config with more keys than LLaMA-Factory has is none; the rest says nothing new."""
_FUSED_SINCE = (2, 8)
"""The PyTorch with which transformers' default optimizer is the fused one."""
_FORKS = frozenset({"kt_config"})
"""Keys that only a fork of transformers has, which KTransformers asks for."""
_NO_CHECK = frozenset({"quantization_method"})
_SOFTWARE = {"llamafactory": "LLaMA-Factory", "transformers": "transformers"}


class FaultKind(StrEnum):
    """What sort of fault it is."""

    UNKNOWN_KEY = "unknown_key"
    FORMER_KEY = "former_key"
    WRONG_TYPE = "wrong_type"
    BAD_CHOICE = "bad_choice"
    OUT_OF_RANGE = "out_of_range"
    EXCLUDED = "excluded"
    NEEDS = "needs"


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """One fault, with where it stands and what would be right.

    `rejected` is true where LLaMA-Factory refuses it, at the start or at the latest when it makes
    model or optimizer; false where it takes the value to the user's harm; None where that depends
    on versions, or on the rest of the software, and is not known.
    """

    kind: FaultKind
    key: str
    value: object | Unset
    """What is set; UNSET where the key's absence is the fault."""
    rejected: bool | None
    name: str
    """The check's own name, "quantization_needs_adapter"; else that of the kind, or finer."""
    message: str
    """One plain sentence, without a stop."""
    said: str = ""
    """How LLaMA-Factory's own error begins, "ValueError: ..."; empty where it has none."""
    others: tuple[str, ...] = ()
    """The other keys that the fault is about."""
    expected: str = ""
    """What is accepted: "int", "sft, dpo, kto", "at least 1"."""
    suggested_key: str | None = None
    """The key to change where it is another one: the name that was meant, or what excludes it."""
    suggested_value: object | Unset = UNSET
    package: str | None = None
    """The package that is needed."""
    since: str | None = None
    """The version with which it became a fault, with its software: "transformers 5.0.0"."""
    line: int | None = None
    column: int | None = None
    index: int | None = None
    """The word of the command line that sets the key, where it is not the file."""


def schema_faults(
    config: EffectiveConfig,
    environment: Environment | None = None,
    *,
    schema: Mapping[str, KeyInfo] | None = None,
    allow_extra_keys: bool = False,
    zero_stage: int | None = None,
    distributed: bool | None = None,
) -> tuple[SchemaFault, ...]:
    """Return a config's faults in the order of its keys; those of absent keys come last.

    `schema` is the environment's own where that is known, else LLaMA-Factory 0.9.5's.
    `allow_extra_keys` is what ALLOW_EXTRA_ARGS=1 sets, `zero_stage` what DeepSpeed's file says,
    `distributed` whether torchrun starts the training.
    """
    asked = environment if environment is not None else Environment(None)
    known = schema if schema is not None else asked.keys or KEYS
    values = dict(list(config.as_dict().items())[:_MOST_KEYS])
    found: list[SchemaFault] = []
    for key, value in values.items():
        info = known.get(key)
        if info is None:
            found += _unknown(key, value, asked, allow_extra_keys=allow_extra_keys)
        else:
            found += _of_value(key, value, info, values, is_flag=config.origin(key) is Origin.FLAG)
    settled = {one.key for one in found}
    fused = (asked.version("torch") or ()) >= _FUSED_SINCE
    settings = Settings(values, known, zero_stage, distributed, fused)
    found += (one for one in _excluded(settings) if one.key not in settled)
    order = {key: number for number, key in enumerate(values)}
    found.sort(key=lambda one: order.get(one.key, len(order)))
    return tuple(placed(one, config) for one in found)


def placed(fault: SchemaFault, config: EffectiveConfig) -> SchemaFault:
    """Return a fault with the place where its key is set."""
    place = config.place(fault.key)
    if place is None:
        return fault
    if place.index is not None or config.document is None:
        return replace(fault, index=place.index)
    at = config.document.places[fault.key]
    return replace(fault, line=at.line, column=at.column)


def _unknown(
    key: str, value: object, environment: Environment, *, allow_extra_keys: bool
) -> Iterator[SchemaFault]:
    facts = bundled_facts()
    if environment.keys is None and (
        key in _FORKS or (key in facts.newer and not _is_as_bundled(environment))
    ):
        return  # another version has it, and which one is installed is not known
    former = facts.former.get(key)
    nearest = nearest_key(key)
    wanted = nearest if nearest != key else None
    if former is None:
        fault = SchemaFault(
            FaultKind.UNKNOWN_KEY,
            key,
            value,
            not allow_extra_keys,
            "unknown_key",
            f"{_shown(key)} is no argument of LLaMA-Factory",
            suggested_key=wanted,
            suggested_value=value if wanted is not None else UNSET,
        )
    elif environment.keys is None and _still_has(former, environment):
        return
    else:
        software = _SOFTWARE[former.owner]
        fault = SchemaFault(
            FaultKind.FORMER_KEY,
            key,
            value,
            False if allow_extra_keys else _is_surely_gone(former, environment),
            "former_key_renamed" if key in RENAMED or key in SUCCESSORS else "former_key",
            f"{key} was an argument of {software} up to {former.last},"
            f" and is none in {former.gone}",
            suggested_key=SUCCESSORS.get(key, wanted),
            suggested_value=successor_value(key, value) if wanted is None else value,
            since=f"{former.owner} {former.gone}",
        )
    yield fault


def _is_as_bundled(environment: Environment) -> bool:
    """Tell whether the installed LLaMA-Factory is the one that the bundled schema is of."""
    return environment.versions.get("llamafactory") == bundled_facts().llamafactory


def _still_has(former: FormerKey, environment: Environment) -> bool:
    installed = environment.version(former.owner)
    last = release(former.last)
    return installed is not None and last is not None and installed <= last


def _is_surely_gone(former: FormerKey, environment: Environment) -> bool | None:
    """Tell whether it is refused: LLaMA-Factory 0.9.5 runs with transformers 4.55 to 5.6."""
    if environment.keys is not None:
        return True
    installed, gone = environment.version(former.owner), release(former.gone) or ()
    if installed is not None:
        return True if installed >= gone else None
    return True if former.owner == "llamafactory" or gone < (4, 56) else None


def _of_value(
    key: str, value: object, info: KeyInfo, values: Mapping[str, object], *, is_flag: bool
) -> Iterator[SchemaFault]:
    wrong = mistyped(key, value, info)
    if wrong is not None:
        yield SchemaFault(
            FaultKind.WRONG_TYPE,
            key,
            value,
            wrong.rejected,
            wrong.name,
            wrong.message,
            expected=wrong.expected,
            suggested_value=wrong.meant,
        )
    elif info.choices and _is_no_choice(value, info):
        if key == "quantization_method" and values.get("quantization_bit") is None:
            return  # nothing is quantized on the fly, so nothing reads it
        successor, since = FORMER_VALUES.get((key, str(value)), (None, None))
        shown = "no, which YAML reads as false," if value is False else _shown(value)
        yield SchemaFault(
            FaultKind.BAD_CHOICE,
            key,
            value,
            True if is_flag and key not in _NO_CHECK else info.refused,
            "former_choice" if successor is not None else "bad_choice",
            f"{key} cannot be {shown}",
            expected=", ".join(info.choices),
            suggested_value=nearest_value(key, value),
            since=since,
        )
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = as_float(value) if value == value else value  # noqa: PLR0124 - NaN is not itself
        if info.range_text and info.is_outside(number):
            yield SchemaFault(
                FaultKind.OUT_OF_RANGE,
                key,
                value,
                info.refused,
                "out_of_range",
                f"{key} must be {info.range_text}, and is {_shown(value)}",
                expected=info.range_text,
                suggested_value=_inside(info),
            )


def _is_no_choice(value: object, info: KeyInfo) -> bool:
    """Tell whether a value is none of the choices; null is one where the key takes it."""
    if value is None:
        return False
    if isinstance(value, list):
        return "list" in info.types and any(one not in info.choices for one in value)
    if isinstance(value, bool):
        return "bool" not in info.types
    if isinstance(value, int | float):
        return info.types == ("str",)
    return isinstance(value, str) and value not in info.choices


def _inside(info: KeyInfo) -> object | Unset:
    """Return the default where it is inside the range, or is to set nothing, else a bound."""
    default = info.default
    if default is None and info.nullable:
        return None
    if isinstance(default, int | float) and not info.is_outside(default):
        return default
    return UNSET if info.at_least is None else int(info.at_least)


def _excluded(settings: Settings) -> Iterator[SchemaFault]:
    for one in broken(settings):
        shown = next((key for key in one.keys if key in settings.given), one.keys[0])
        key, value = one.change if one.change is not None else (None, UNSET)
        yield SchemaFault(
            FaultKind.EXCLUDED,
            shown,
            settings.given.get(shown, UNSET),
            one.rejected,
            one.name,
            one.message,
            one.said,
            others=tuple(other for other in one.keys if other != shown),
            suggested_key=key,
            suggested_value=value,
        )


def _shown(value: object) -> str:
    """Return a value as YAML writes it, printable and short."""
    text = str(value).lower() if isinstance(value, bool) else _text(value)
    clean = "".join(char if char.isprintable() else "?" for char in text[: _SHOWN + 1])
    return clean if len(clean) <= _SHOWN else clean[:_SHOWN] + "..."


def _text(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > _MOST_KEYS:
        return "a number of very many digits"
    return str(value)
