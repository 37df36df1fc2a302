"""Owns what advice is for: the model and data to train on, and the GPUs to train with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

EFFECTIVE_BATCH = 16
"""Samples an optimizer step: per device, times accumulation, times GPUs."""


class Precision(StrEnum):
    """What a GPU computes in."""

    BF16 = "bf16"
    FP16 = "fp16"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained: a model and its data, with what a config given already says of them."""

    model: str
    cutoff_tokens: int = 2048
    samples: int | None = None
    dataset: str | None = None
    dataset_dir: str | None = None
    kept: Mapping[str, object] = field(default_factory=dict)
    """Keys of a given config that hold whatever the method: the stage, the template, the loss."""


KEPT = (
    *("model_revision", "trust_remote_code", "flash_attn", "enable_liger_kernel", "stage"),
    *("ref_model", "reward_model", "pref_beta", "pref_loss", "pref_ftx", "template"),
    *("max_samples", "packing", "neat_packing", "train_on_prompt", "mask_history", "media_dir"),
    *("image_max_pixels", "video_max_pixels", "freeze_vision_tower"),
)
"""What is kept of a given config, beside its model, cutoff_len and data."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a config is written for, and how many samples a GPU takes at once."""

    gpus: int = 1
    precision: Precision = Precision.UNKNOWN
    batch: int = 1

    @property
    def accumulation(self) -> int:
        """How many micro-steps make the effective batch."""
        return max(1, EFFECTIVE_BATCH // (self.batch * self.gpus))
