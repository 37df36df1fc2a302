"""Owns what a training asks of a GPU's memory: method, batch, precision, optimizer, sharding.

A Workload is the config in force, read once; nothing of it is guessed here.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from diagnostics.findings import Text


class Method(StrEnum):
    """Which parameters train."""

    FULL = "full"
    FREEZE = "freeze"
    LORA = "lora"
    OFT = "oft"


class Attention(StrEnum):
    """How attention is computed."""

    SDPA = "sdpa"
    FLASH = "flash"
    EAGER = "eager"


class Half(StrEnum):
    """Which numbers half precision has."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Checkpointing(StrEnum):
    """Whether a layer's activations are kept or computed again."""

    OFF = "off"
    ON = "on"
    OFFLOADED = "offloaded"
    """Kept in host memory (`use_unsloth_gc`)."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """A quantized base model."""

    bits: int
    method: str = "bnb"
    double: bool = True


@dataclass(frozen=True, slots=True)
class Adapter:
    """A low-rank (or orthogonal) adapter."""

    rank: int = 8
    targets: tuple[str, ...] = ("all",)
    dora: bool = False
    dropout: bool = False
    """Whether its input is thinned out (`lora_dropout`)."""
    block_size: int = 32
    """Of OFT."""
    extra_targets: tuple[str, ...] = ()
    """Modules that train whole beside it (`additional_target`)."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """What freeze tuning leaves trainable."""

    layers: int = 2
    """Above 0 the last ones, below 0 the first ones."""
    modules: tuple[str, ...] = ("all",)
    extra_modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimizer, by the name in `optim`, and LLaMA-Factory's own variants."""

    name: str = "adamw_torch_fused"
    variant: str = ""
    """"", "galore", "apollo", "badam", "adam_mini" or "muon"."""
    rank: int = 16
    """Of GaLore and APOLLO."""
    layerwise: bool = False


@dataclass(frozen=True, slots=True)
class Sharding:
    """How the work is spread over GPUs."""

    gpus: int = 1
    zero_stage: int | None = None
    """DeepSpeed's stage; None without DeepSpeed."""
    offload_optimizer: bool = False
    offload_params: bool = False
    reduce_bucket_elements: int = 500_000_000
    overlap_comm: bool = False
    max_live_params: int = 1_000_000_000
    prefetch_elements: int = 50_000_000
    sub_group_elements: int = 1_000_000_000
    fsdp: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """One training step on one GPU."""

    stage: str = "sft"
    method: Method = Method.LORA
    batch: int = 8
    """Samples a micro-step and GPU."""
    sequence: int = 2048
    """Tokens a sample, at most."""
    accumulation: int = 1
    compute_bytes: int = 2
    """Of an activation: 2 under bf16 or fp16, else 4."""
    half: Half = Half.BFLOAT16
    autocast: bool = True
    """Whether mixed precision casts (bf16 or fp16, not pure_bf16)."""
    trainable_bytes: int = 4
    """Of a trainable parameter: LLaMA-Factory casts them to float32 unless pure_bf16 and alike."""
    checkpointing: Checkpointing = Checkpointing.ON
    reentrant: bool = True
    attention: Attention = Attention.SDPA
    liger: bool = False
    packing: bool = False
    """Whether sequences are filled up with samples, so that none is padded."""
    neat_packing: bool = False
    """Whether those samples do not see each other."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    quantization: Quantization | None = None
    adapter: Adapter | None = field(default_factory=Adapter)
    frozen: Frozen | None = None
    sharding: Sharding = field(default_factory=Sharding)
    eval_batch: int | None = None
    """Samples a step of evaluation; None where nothing is evaluated."""
    reference_model: bool = False
    """Whether a second model is in memory (DPO, KTO and PPO with full tuning)."""
    compared: bool = False
    """Whether a reference's logits are made beside its own, by whichever model."""
    upcast_layernorm: bool = False
    upcast_lm_head: bool = False
    train_tower: bool = False
    """Whether a vision tower trains."""
    on_cpu: bool = False
    """Whether it trains in host memory (`use_cpu`)."""
    assumptions: tuple[Text, ...] = ()
    """What was taken where the config is silent, in words."""

    @property
    def masked(self) -> bool:
        """Whether sdpa has a mask, and so copies keys and values for each head: padded samples."""
        return self.attention is Attention.SDPA and (self.neat_packing or not self.packing)
