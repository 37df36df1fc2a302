"""Owns what a model's name tells of its sizes: the shipped table, else the size in the name.

The table is `models.json` beside this file: sizes of published models, and their parameters as
published, which the sizes must agree with.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from diagnostics.findings import Text
from diagnostics.memory.architecture import Architecture, Confidence, Experts
from diagnostics.memory.config_json import architecture_of
from diagnostics.memory.counting import Counts
from diagnostics.memory.workload import Quantization, Workload

_MAX_CHARS = 300
_ENDINGS = re.compile(
    r"[-.](?:hf|chat|instruct|inst|it|base|pt|sft|dpo|rlhf|gptq|awq|bnb|gguf|exl2|hqq|aqlm|unsloth"
    r"|quantized|dynamic|[1-8]-?bits?|int[48]|fp8|nf4|bf16|fp16|w[48]a(?:8|16)|marlin|128g|preview"
    r"|latest|alpha|beta|thinking|\d{4}|\d{6})$"
)
"""What follows a model's name without changing its sizes."""
_METHODS = ("gptq", "awq", "bnb", "hqq", "aqlm")
_BITS = re.compile(r"([2348])-?bits?|int([248])|w([248])a")
_SIZE = re.compile(
    r"(?<![a-z0-9.])(?:(?P<experts>[1-9]\d{0,2})x)?(?P<number>\d{1,4}(?:\.\d{1,3})?)(?P<unit>[bm])"
    r"(?:-a(?P<active>\d{1,3}(?:\.\d{1,2})?)(?P<active_unit>[bm]))?(?![a-z0-9])",
    re.ASCII,
)
_MANY_EXPERTS = re.compile(r"-\d{2,3}e(?![a-z0-9])", re.ASCII)
"""As in "17B-16E": what a token goes through, and how many experts; not the whole."""
_BILLION = 1_000_000_000
_MANY_PER_TOKEN = 8
"""Experts that a token goes through where they are many and small."""
_UNITS = {"b": _BILLION, "m": 1_000_000}
_LEAST_PARAMS, _MOST_PARAMS = 100_000_000, 10_000 * _BILLION
"""Outside them a number in a name is no size, or tells nothing of one."""
_TYPICAL: tuple[tuple[float, int, int, int, int], ...] = (
    (0.3e9, 768, 2048, 12, 49_152),
    (0.8e9, 1024, 2816, 16, 128_256),
    (2.2e9, 2048, 8192, 16, 128_256),
    (5e9, 3072, 8192, 24, 128_256),
    (11e9, 4096, 14336, 32, 128_256),
    (25e9, 5120, 13824, 40, 152_064),
    (50e9, 5120, 27648, 40, 152_064),
    (150e9, 8192, 28672, 64, 128_256),
    (float("inf"), 16384, 53248, 128, 128_256),
)
"""Below so many parameters: hidden size, MLP, heads and vocabulary as in models of that size."""


@dataclass(frozen=True, slots=True)
class NamedModel:
    """What a name tells."""

    architecture: Architecture
    is_known: bool = True
    """Whether it is in the table; else the size in the name made it up."""
    quantization: Quantization | None = None


def model_named(name: str) -> NamedModel | None:
    """Return what the last part of a name or path tells; None where it tells nothing."""
    text = _last_part(name)
    quantization = quantization_named(text)
    for candidate in _shortened(text):
        if candidate in _table():
            model = architecture_of(_table()[candidate], source="table")
            return NamedModel(model, quantization=quantization)
    origin = _origin(text)
    if origin:
        model = architecture_of(_table()[origin], source="table")
        confidence = max(model.confidence, Confidence.MEDIUM, key=list(Confidence).index)
        remark = Text(
            f"its name begins with {origin}: that model's sizes are taken",
            f"名称以 {origin} 开头：按该模型的尺寸计算",
        )
        model = replace(model, confidence=confidence, remarks=(*model.remarks, remark))
        return NamedModel(model, quantization=quantization)
    guessed = _guessed(text)
    return NamedModel(guessed, is_known=False, quantization=quantization) if guessed else None


def config_named(name: str) -> Mapping[str, object] | None:
    """Return the table's config.json of a model; None where the name is not in it."""
    text = _last_part(name)
    found = next((one for one in _shortened(text) if one in _table()), "") or _origin(text)
    return _table()[found] if found else None


def quantization_named(name: str) -> Quantization | None:
    """Return the quantization that a name tells of, such as "-GPTQ-Int8"."""
    parts = re.split(r"[-_.]", _last_part(name))
    method = next((method for method in _METHODS if method in parts), None)
    if method is None:
        return None
    bits = _BITS.search(_last_part(name))
    found = next((int(part) for part in bits.groups() if part), 4) if bits else 4
    return Quantization(found, method, double=False)


def _last_part(name: str) -> str:
    text = name[-_MAX_CHARS:].replace("\\", "/").rstrip("/ ").rsplit("/", 1)[-1]
    return text.strip().lower().replace("_", "-").replace(" ", "-")


def _shortened(text: str) -> list[str]:
    """Return the name, and what is left as endings that tell no size are taken off."""
    found = [text]
    while (shorter := _ENDINGS.sub("", found[-1])) != found[-1]:
        found.append(shorter)
    return found


def _origin(text: str) -> str:
    """Return the longest name in the table, with a size in it, that this one begins with."""
    end = text.rfind("-")
    while end > 0:
        start, rest = text[:end], text[end:]
        if start in _table() and _SIZE.search(start) and not _SIZE.search(rest):
            return start
        end = text.rfind("-", 0, end)
    return ""


def _guessed(text: str) -> Architecture | None:
    match = _SIZE.search(text)
    if match is None or _MANY_EXPERTS.search(text):
        return None
    each = round(float(match["number"]) * _UNITS[match["unit"]])
    if not _LEAST_PARAMS <= each <= _MOST_PARAMS:
        return None
    size = match[0].upper()
    remark = Text(
        f"guessed from {size} in its name: layers like llama's",
        f"由名称中的 {size} 推测：各层按 llama 计算",
    )
    experts = int(match["experts"] or 1)
    active = float(match["active"] or 0) * _UNITS[match["active_unit"] or "b"]
    if experts > 1:
        model = typical_architecture(each)
        mixture = Experts(experts, min(2, experts), model.intermediate_size)
    elif _LEAST_PARAMS <= active <= each:
        model = replace(typical_architecture(round(active)), known_params=each)
        width = model.intermediate_size // _MANY_PER_TOKEN
        count = round((each - active) / (model.layers * 3 * model.hidden_size * width))
        mixture = Experts(count + _MANY_PER_TOKEN, _MANY_PER_TOKEN, width)
    else:
        return replace(typical_architecture(each), known_params=each, remarks=(remark,))
    attention = tuple(item for item in model.linears if item.group == "attention")
    return replace(model, experts=mixture, linears=attention, remarks=(remark,))


def typical_architecture(params: int) -> Architecture:
    """Return a llama-like decoder of about so many parameters."""
    _, hidden, inner, heads, vocab = next(row for row in _TYPICAL if params < row[0])
    one = architecture_of(
        {
            "model_type": "llama",
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": 1,
            "num_attention_heads": heads,
            "num_key_value_heads": heads if heads < 8 else heads // 4,  # noqa: PLR2004
            "vocab_size": vocab,
            "tie_word_embeddings": params < 5 * _BILLION,
            "torch_dtype": "bfloat16",
        },
        source="name",
    )
    counts = Counts(one, Workload())
    layers = round((params - counts.embedding - counts.head) / counts.layer)
    return replace(one, layers=max(2, layers), confidence=Confidence.LOW)


@cache
def _table() -> Mapping[str, Mapping[str, object]]:
    """Return the config of each name in the shipped table."""
    table = json.loads(files("diagnostics.memory").joinpath("models.json").read_text("utf-8"))
    columns: Sequence[str] = table["columns"]
    found: dict[str, Mapping[str, object]] = {}
    for row in table["models"]:
        named = dict(zip(columns, row, strict=True))
        config = {"torch_dtype": "bfloat16", **named, **named["more"]}
        found |= dict.fromkeys(named["names"], config)
    return found
