"""Owns how many parameters stand beside a decoder: vision and audio towers, their projectors.

Counted as the modeling files of transformers 5.6 build them; a kind that is not known is taken as
a usual vision transformer, and said to be.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from diagnostics.errors import ConfigError
from diagnostics.findings import Text
from diagnostics.memory.sizes import HIDDEN, INNER, Sizes

_COLORS = 3
_DEPTH = ("depth", "num_hidden_layers", "encoder_layers", "layers")
_WIDTH = ("embed_dim", *HIDDEN, "width")
_INNER = (*INNER, "encoder_ffn_dim")


@dataclass(frozen=True, slots=True)
class Towers:
    """What was counted; 0 where nothing could be."""

    params: int
    remarks: tuple[Text, ...] = ()
    is_known: bool = False
    """Whether all of them are of a known kind."""


def towers_of(config: Mapping[str, object], hidden_size: int) -> Towers:
    """Count a model's towers from its whole config; `hidden_size` is the decoder's."""
    params = 0
    are_known: list[bool] = []
    remarks: list[Text] = []
    for key, what in _PARTS:
        part = config.get(key)
        if not isinstance(part, Mapping):
            continue
        try:
            count, is_known = _counted(part, _name(config), hidden_size)
        except ConfigError:
            remarks.append(_uncounted(what))
            are_known.append(False)
            continue
        params += count
        are_known.append(is_known)
        remarks.append(_counted_as(what, count, is_known=is_known))
    if not are_known:
        return Towers(0, (_BESIDE,))
    return Towers(params, tuple(remarks), is_known=all(are_known))


_PARTS = (
    ("vision_config", Text("vision", "视觉")),
    ("audio_config", Text("audio", "音频")),
)
_BESIDE = Text("what stands beside the decoder is not counted", "解码器以外的部分未计入")


def _uncounted(what: Text) -> Text:
    return Text(
        f"the {what.en} tower's sizes are not known: it is not counted",
        f"{what.zh}塔的尺寸未知：未计入",
    )


def _counted_as(what: Text, count: int, *, is_known: bool) -> Text:
    millions = f"{count / 1e6:,.0f}M"
    return Text(
        f"the {what.en} tower has {millions} parameters"
        + ("" if is_known else ", if it is a usual transformer"),
        f"{what.zh}塔有 {millions} 参数" + ("" if is_known else "（按普通 transformer 计算）"),
    )


def _counted(part: Mapping[str, object], around: str, hidden_size: int) -> tuple[int, bool]:
    name = _name(part) or around
    build = _KINDS.get(name.removesuffix("_vision"))
    return (build or _usual)(_Tower(part, hidden_size)), build is not None


def _name(config: Mapping[str, object]) -> str:
    value = config.get("model_type")
    return value.lower() if isinstance(value, str) else ""


class _Tower:
    """The sizes of one tower. `text` is the decoder's hidden size."""

    def __init__(self, part: Mapping[str, object], text: int) -> None:
        self.read = Sizes(part, is_part=True, defaults={"depth": 32, "spatial_merge_size": 2})
        self.part, self.text = part, text
        self.width, self.depth = self.read.size(*_WIDTH), self.read.size(*_DEPTH)

    def inner(self, default: int | None = None) -> int:
        """Return the width of the MLP."""
        found = self.read.optional(_INNER)
        if found is None and default is not None:
            return default
        return self.read.size(*_INNER) if found is None else found

    def side(self, name: str, default: int) -> int:
        """Return one side of an image or a patch, in pixels."""
        value = self.part.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        return Sizes({name: value}).optional((name,)) or default

    def patches(self) -> int:
        """Return the number of patches of an image."""
        return (self.side("image_size", 224) // self.side("patch_size", 14)) ** 2

    def pixels(self) -> int:
        """Return the numbers that make one patch of one picture."""
        return _COLORS * self.side("patch_size", 14) ** 2


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> int:
    return inputs * outputs + (outputs if bias else 0)


def _attention(width: int) -> int:
    return 4 * _linear(width, width)


def _plain_layer(width: int, inner: int) -> int:
    """Two norms with biases, attention, and an MLP of two linear layers."""
    return 4 * width + _attention(width) + _linear(width, inner) + _linear(inner, width)


def _qwen2_vl(tower: _Tower) -> int:
    width = tower.width
    ratio = tower.read.optional(("mlp_ratio",)) or 4
    out = tower.read.optional(("hidden_size",)) or tower.text
    merged = width * tower.read.size("spatial_merge_size") ** 2
    patches = 2 * tower.pixels() * width
    merger = 2 * width + _linear(merged, merged) + _linear(merged, out)
    return patches + tower.depth * _plain_layer(width, ratio * width) + merger


def _qwen2_5_vl(tower: _Tower) -> int:
    width, inner = tower.width, tower.inner(3420)
    out = tower.read.optional(("out_hidden_size",)) or tower.text
    merged = width * tower.read.size("spatial_merge_size") ** 2
    layer = 2 * width + _attention(width) + 2 * _linear(width, inner) + _linear(inner, width)
    merger = width + _linear(merged, merged) + _linear(merged, out)
    return 2 * tower.pixels() * width + tower.depth * layer + merger


def _qwen3_vl(tower: _Tower) -> int:
    width = tower.width
    out = tower.read.optional(("out_hidden_size",)) or tower.text
    merged = width * tower.read.size("spatial_merge_size") ** 2
    positions = (tower.read.optional(("num_position_embeddings",)) or 2304) * width
    patches = 2 * _COLORS * tower.side("patch_size", 16) ** 2 * width + width
    one = _linear(merged, merged) + _linear(merged, out)
    listed = tower.part.get("deepstack_visual_indexes")
    deep = len(listed) if isinstance(listed, list) else 0
    layers = tower.depth * _plain_layer(width, tower.inner())
    return patches + positions + layers + one + 2 * width + deep * (one + 2 * merged)


def _clip(tower: _Tower) -> int:
    width = tower.width
    embedding = width * (tower.pixels() + tower.patches() + 2)
    projector = _linear(width, tower.text) + _linear(tower.text, tower.text)
    return embedding + 4 * width + tower.depth * _plain_layer(width, tower.inner()) + projector


def _siglip(tower: _Tower) -> int:
    """Count it with one projection, as in Gemma 3 and PaliGemma."""
    width, inner = tower.width, tower.inner()
    embedding = width * (tower.pixels() + 1 + tower.patches())
    head = 0
    if tower.part.get("vision_use_head") is not False:
        head = 3 * width + _attention(width) + _linear(width, inner) + _linear(inner, width)
    layers = tower.depth * _plain_layer(width, inner)
    return embedding + layers + 2 * width + head + width * tower.text + width


def _pixtral(tower: _Tower) -> int:
    width, text = tower.width, tower.text
    layer = 4 * width**2 + 3 * width * tower.inner() + 2 * width
    merge = 4 * width**2
    projector = width + merge + width * text + text**2
    return tower.pixels() * width + width + tower.depth * layer + projector


def _internvl(tower: _Tower) -> int:
    width, text = tower.width, tower.text
    embedding = width * (tower.pixels() + tower.patches() + 3)
    layer = _plain_layer(width, tower.inner()) + 2 * width
    if tower.part.get("attention_bias") is False:
        layer -= 3 * width
    merged = 4 * width
    projector = 2 * merged + _linear(merged, text) + _linear(text, text)
    return embedding + tower.depth * layer + projector


def _glm4v(tower: _Tower) -> int:
    width, inner = tower.width, tower.inner()
    out = tower.read.optional(("out_hidden_size",)) or tower.text
    layer = 4 * width**2 + 3 * width * out + 2 * width
    embedding = width * (2 * tower.pixels() + 1 + tower.patches())
    merger = out**2 + 2 * out + 3 * out * inner
    downsample = _linear(4 * width, out)
    return embedding + tower.depth * layer + 2 * width + downsample + merger


def _whisper(tower: _Tower) -> int:
    width, read = tower.width, tower.read
    mels = read.optional(("num_mel_bins",)) or 128
    positions = (read.optional(("max_source_positions",)) or 1500) * width
    convolutions = 3 * mels * width + 3 * width**2 + 2 * width
    layers = tower.depth * (_plain_layer(width, tower.inner()) - width)
    return convolutions + positions + layers + 2 * width + _linear(width, tower.text)


def _usual(tower: _Tower) -> int:
    """Count a vision transformer and a projector of two layers."""
    width, text = tower.width, tower.text
    embedding = width * (tower.pixels() + tower.patches() + 1)
    layers = tower.depth * _plain_layer(width, tower.inner(4 * width))
    return embedding + layers + _linear(width, text) + _linear(text, text)


_Build: TypeAlias = Callable[[_Tower], int]
_KINDS: Mapping[str, _Build] = {
    "clip_vision_model": _clip,
    "glm4v": _glm4v,
    "internvl": _internvl,
    "intern_vit_6b": _internvl,
    "pixtral": _pixtral,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen2_audio_encoder": _whisper,
    "qwen2_vl": _qwen2_vl,
    "qwen3_5": _qwen3_vl,
    "qwen3_5_moe": _qwen3_vl,
    "qwen3_vl": _qwen3_vl,
    "qwen3_vl_moe": _qwen3_vl,
    "siglip_vision_model": _siglip,
}
