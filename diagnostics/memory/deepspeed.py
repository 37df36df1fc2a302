"""Owns what a DeepSpeed JSON says of memory: the ZeRO stage, offload, and bucket sizes."""

from collections.abc import Mapping

from diagnostics.memory.workload import Sharding

_DEFAULT = Sharding()
_MAX_ELEMENTS = 10**12


def sharding_of(config: Mapping[str, object], gpus: int) -> Sharding:
    """Read a DeepSpeed config; what is missing or has no meaning falls back to its default.

    "auto" sizes are filled by transformers at run time: the defaults stand in for them.
    Source of the names and defaults: DeepSpeed's documentation of `zero_optimization`.
    """
    zero = config.get("zero_optimization")
    zero = zero if isinstance(zero, Mapping) else {}
    stage = zero.get("stage")
    if isinstance(stage, bool) or not isinstance(stage, int) or not 0 <= stage <= 3:  # noqa: PLR2004
        stage = 0
    return Sharding(
        gpus=max(1, gpus),
        zero_stage=stage,
        offload_optimizer=_offloads(zero.get("offload_optimizer")),
        offload_params=_offloads(zero.get("offload_param")),
        reduce_bucket_elements=_elements(
            zero.get("reduce_bucket_size"), _DEFAULT.reduce_bucket_elements
        ),
        overlap_comm=zero.get("overlap_comm") is True,
        max_live_params=_elements(zero.get("stage3_max_live_parameters"), _DEFAULT.max_live_params),
        prefetch_elements=_elements(
            zero.get("stage3_prefetch_bucket_size"), _DEFAULT.prefetch_elements
        ),
        sub_group_elements=_elements(zero.get("sub_group_size"), _DEFAULT.sub_group_elements),
    )


def _offloads(value: object) -> bool:
    return isinstance(value, Mapping) and str(value.get("device", "")).lower() in {"cpu", "nvme"}


def _elements(value: object, default: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return int(value) if 0 <= value <= _MAX_ELEMENTS else default


def is_deepspeed(value: Mapping[str, object]) -> bool:
    """Tell whether a JSON object looks like a DeepSpeed config."""
    return "zero_optimization" in value or "train_micro_batch_size_per_gpu" in value
