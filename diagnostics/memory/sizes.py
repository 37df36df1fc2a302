"""Owns reading sizes out of a parsed, hostile `config.json`: each is checked or refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from diagnostics.errors import ConfigError
from diagnostics.findings import Text
from diagnostics.memory.architecture import Confidence
from diagnostics.memory.family import Switch

HIDDEN = ("hidden_size", "n_embd", "n_embed", "d_model")
INNER = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
HEAD_DIM = ("head_dim", "kv_channels", "attention_head_dim")
VOCAB = ("padded_vocab_size", "vocab_size")
POSITIONS = ("max_position_embeddings", "n_positions")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_k")
SHARED_EXPERTS = ("n_shared_experts", "moe_num_shared_experts")
DENSE_LAYERS = ("first_k_dense_replace", "moe_layer_start_index")
SPARSE_STEP = ("decoder_sparse_step", "interleave_moe_layer_step")

_MOST: Mapping[Sequence[str], int] = {
    HIDDEN: 1_048_576,
    INNER: 16_777_216,
    LAYERS: 10_000,
    HEADS: 65_536,
    KV_HEADS: 65_536,
    HEAD_DIM: 65_536,
    EXPERTS: 65_536,
    SHARED_EXPERTS: 65_536,
}
"""Above these a size is damage: the largest models stay far below."""
_MOST_OTHER = 100_000_000
_SHOWN_CHARS = 40
_LONG = 10**20


@dataclass(slots=True)
class Sizes:
    """Reads one `config.json`, or the decoder's part of it; gathers what was assumed."""

    config: Mapping[str, object]
    source: str = ""
    is_part: bool = False
    """Whether it is a part: those name only what differs from the family's defaults."""
    defaults: Mapping[str, int] = field(default_factory=dict)
    """The family's."""
    remarks: list[Text] = field(default_factory=list)
    confidence: Confidence = Confidence.HIGH

    def remark(self, text: Text, confidence: Confidence = Confidence.HIGH) -> None:
        """Say what was assumed, and how far the result can be trusted at most."""
        self.remarks.append(text)
        self.confidence = max(self.confidence, confidence, key=list(Confidence).index)

    def optional(self, names: Sequence[str], *, least: int = 1) -> int | None:
        """Return a size by any of its names; None where it is null, or not known at all.

        Where none of the names is in the file, the family's default is taken.
        """
        name = next((name for name in names if self.config.get(name) is not None), None)
        if name is None:
            if any(name in self.config for name in names):
                return None
            return next((self.defaults[name] for name in names if name in self.defaults), None)
        value = self.config[name]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, list | tuple):
            raise self.refusal(f"{name} is a list: layers of different sizes are not supported")
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refusal(f"{name} is {_shown(value)}: a whole number is needed")
        most = _MOST.get(names, _MOST_OTHER)
        if not least <= value <= most:
            raise self.refusal(f"{name} is {_shown(value)}: outside {least} to {most:,}")
        return value

    def size(self, *names: str) -> int:
        """Return a size that the file must name, or the family have a default for."""
        number = self.optional(names)
        if number is None:
            raise self.refusal(f"{names[0]} is missing")
        if all(self.config.get(name) is None for name in names):
            is_grave = names in {HIDDEN, LAYERS} and not self.is_part
            self.remark(
                Text(
                    f"{names[0]} is not in config.json: {number:,} is its family's default",
                    f"config.json 中没有 {names[0]}：取该系列的默认值 {number:,}",
                ),
                Confidence.LOW if is_grave else Confidence.HIGH,
            )
        return number

    def switch(self, switch: Switch) -> bool:
        """Tell whether something that a family may have is there."""
        if isinstance(switch, bool):
            return switch
        value = self.config.get(switch.removeprefix("+"))
        return switch.startswith("+") if value is None else value is True

    def refusal(self, what: str) -> ConfigError:
        """Return the error of a file that cannot be understood."""
        return ConfigError(
            f"{self.source or 'config.json'}: {what}",
            remedy="give the folder of a complete model, or its usual name",
        )


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) >= _LONG:
        return "a number of over 20 digits"
    if isinstance(value, Mapping | list | tuple):
        return "not a number"
    text = "".join(char if char.isprintable() else "?" for char in str(value)[:_SHOWN_CHARS])
    return f'"{text}"' if isinstance(value, str) else text
