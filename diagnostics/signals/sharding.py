"""Owns the signals of how a model is spread: DeepSpeed's stage and offload, a model's experts."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from diagnostics.signals.context import Context, Reader, Value, plain

_STAGE = re.compile(r"(?:z|zero|stage|config)[_-]?([0-3])(?![0-9])", re.IGNORECASE)
_ACTIVE = re.compile(r"(?:^|[-_./])A(\d{1,3}(?:\.\d{1,2})?)B(?![a-z0-9])", re.IGNORECASE)
_EXPERTS: tuple[tuple[re.Pattern[str], float], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), billions)
    for pattern, billions in (
        (r"mixtral.*8x7b", 12.9),
        (r"mixtral.*8x22b", 39.0),
        (r"deepseek-?v2(?:\.\d)?-lite|deepseek-?coder-?v2-lite|deepseek-?vl2-small", 2.8),
        (r"deepseek-?(?:v2|coder-?v2)", 21.0),
        (r"deepseek-?(?:v3|r1)(?!.*distill)", 37.0),
        (r"deepseek-?moe", 2.8),
        (r"gpt-?oss-?20b", 3.6),
        (r"gpt-?oss-?120b", 5.1),
        (r"glm-?4\.[567](?!v).*air", 12.0),
        (r"glm-?4\.[567](?!v)(?!.*flash)", 32.0),
        (r"phi-?3\.5-?moe", 6.6),
        (r"olmoe", 1.3),
        (r"llama-?4", 17.0),
        (r"moonlight", 3.0),
        (r"kimi-?k2", 32.0),
        (r"dbrx", 36.0),
    )
)


def active_params(model: str) -> float | None:
    """Return how many parameters of a mixture of experts a token passes through, by its name.

    None for a model whose name tells of no experts.
    """
    name = PurePosixPath(model[-300:].replace("\\", "/")).name
    told = _ACTIVE.search(name)
    if told is not None:
        return 1e9 * float(told.group(1))
    return next((1e9 * size for pattern, size in _EXPERTS if pattern.search(name)), None)


def zero_stage(deepspeed: object) -> int | None:
    """Return the stage that a `deepspeed` value asks for: by its file's name, or told in place."""
    if isinstance(deepspeed, Mapping):
        part = deepspeed.get("zero_optimization")
        stage = part.get("stage") if isinstance(part, Mapping) else None
        return stage if isinstance(stage, int) and not isinstance(stage, bool) else None
    if not isinstance(deepspeed, str):
        return None
    told = _STAGE.search(_name(deepspeed))
    return int(told.group(1)) if told is not None else None


def _offloads(deepspeed: object) -> bool | None:
    if isinstance(deepspeed, Mapping):
        part = deepspeed.get("zero_optimization")
        keys = part.keys() if isinstance(part, Mapping) else ()
        return any(str(key).startswith("offload_") for key in keys)
    return "offload" in _name(deepspeed) if isinstance(deepspeed, str) else None


def _other(deepspeed: object, wanted: str) -> str | None:
    """Return the example config that is wanted, beside the one in use where that is one of them."""
    if not isinstance(deepspeed, str):
        return None
    path = PurePosixPath(deepspeed)
    if re.fullmatch(r"ds_z\d_(?:offload_)?config\.json", path.name):
        return str(path.with_name(wanted))
    return f"examples/deepspeed/{wanted}"


def _zero2(deepspeed: object) -> str | None:
    kept = "ds_z2_offload_config.json" if _offloads(deepspeed) else "ds_z2_config.json"
    return _other(deepspeed, kept) if zero_stage(deepspeed) == _SHARDED else None


def _without_offload(deepspeed: object) -> str | None:
    stage = zero_stage(deepspeed)
    return _other(deepspeed, f"ds_z{stage}_config.json") if stage and _offloads(deepspeed) else None


_SHARDED = 3


def _name(path: str) -> str:
    return PurePosixPath(path[-300:].replace("\\", "/")).name


def _deepspeed(context: Context) -> object:
    return None if context.config is None else context.config.value("deepspeed")


def _active(context: Context) -> Value | None:
    model = None if context.config is None else context.config.value("model_name_or_path")
    return active_params(model) if isinstance(model, str) else None


SIGNALS: Mapping[str, Reader] = {
    "deepspeed.stage": plain(lambda context: zero_stage(_deepspeed(context))),
    "deepspeed.offload": plain(lambda context: _offloads(_deepspeed(context))),
    "deepspeed.zero2_config": plain(lambda context: _zero2(_deepspeed(context))),
    "deepspeed.without_offload_config": plain(
        lambda context: _without_offload(_deepspeed(context))
    ),
    "model.active_params": plain(_active),
}
