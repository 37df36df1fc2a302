"""Owns the messages of allocators that failed, old and new, and where in a run it was.

Advice inside a message (max_split_size_mb, expandable_segments) is never evidence of anything.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from diagnostics.observations import MemoryDevice, MemoryPhase, Phase

_UNITS = {"B": 1, "BYTES": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "PIB": 2**50}
_SIZE = r"([\d.]{1,24}) ?([KMGTP]iB|[Bb]ytes|B)"
_ALLOCATOR = re.compile(
    r"\b(?:CUDA|HIP|XPU|NPU) out of memory\b|\bNPU out of memory|CUBLAS_STATUS_ALLOC_FAILED"
    r"|CUDNN_STATUS_ALLOC_FAILED"
)
_DRIVER = re.compile(r"\b(?:CUDA|HIP) error: out of memory")
_HOST = re.compile(
    r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)"
    r"|\bstd::bad_alloc\b|^Unable to allocate [\d.]{1,24} (?:[KMGTP]iB|bytes) for an array"
    r"|^\[Errno 12\] Cannot allocate memory"
)
_REQUESTED = re.compile(rf"[Tt]ried to allocate {_SIZE}")
_GPU = re.compile(r"\b(?:GPU|NPU|XPU) (\d{1,9})\b")
_CAPACITY = re.compile(rf"(?:has a total capac(?:ity|ty) of {_SIZE}|{_SIZE} total capacity)")
_FREE = re.compile(rf"(?:of which {_SIZE} is free|{_SIZE} free)")
_PROCESS = re.compile(rf"this process has {_SIZE} memory in use")
_ALLOCATED = re.compile(
    rf"(?:[Oo]f the allocated memory {_SIZE} is allocated by PyTorch|{_SIZE} already allocated)"
)
_CACHED = re.compile(rf"{_SIZE} is reserved by PyTorch but unallocated")
_RESERVED = re.compile(rf"{_SIZE} reserved in total by PyTorch")
_OTHER = re.compile(rf"Process (\d{{1,18}}) has {_SIZE} memory in use")
_HOST_BYTES = re.compile(r"you tried to allocate (\d{1,18}) bytes")
_ARRAY = re.compile(rf"Unable to allocate {_SIZE} for an array")
_PINNED = re.compile(
    r"pin_memory|cudaHostAlloc|pinned|_setup_for_real_optimizer|offload|CachingHostAllocator",
    re.IGNORECASE,
)

_FRAMES: tuple[tuple[MemoryPhase, re.Pattern[str]], ...] = tuple(
    (phase, re.compile(pattern))
    for phase, pattern in (
        (MemoryPhase.EXPORT, r"export_model|:export_model|merge_and_unload|:export\b"),
        (
            MemoryPhase.EVAL,
            (
                r":evaluat|:evaluation_loop|:prediction_step|:prediction_loop|:nested_concat"
                r"|:predict$|:_evaluate|EvalLoopContainer"
            ),
        ),
        (
            MemoryPhase.OPTIMIZER,
            (
                r"torch/optim/|/bitsandbytes/optim/|:_init_group|stage_1_and_2\.py:(?:step|_optimizer)"
                r"|stage3\.py:(?:step|_optimizer)|:optimizer_step|:_fused_adamw|:_multi_tensor"
                r"|:initialize_optimizer_states|:initialize_states"
            ),
        ),
        (
            MemoryPhase.SAVE,
            (
                r":_save_checkpoint|:save_model|:save_pretrained|:get_state_dict|:_save\b"
                r"|:save_checkpoint|:_zero3_consolidated"
            ),
        ),
        (
            MemoryPhase.TRAIN,
            (
                r":training_step|:compute_loss|accelerator\.py:backward|_tensor\.py:backward"
                r"|:run_backward|:forward$"
            ),
        ),
        (
            MemoryPhase.LOAD,
            (
                r":from_pretrained|_load_state_dict|:_load_pretrained_model|set_module_tensor"
                r"|:caching_allocator_warmup|:load_model|:load_adapter|:init_adapter"
                r"|module\.py:(?:to|cuda|_apply|convert)$|:_configure_distributed_model"
                r"|:_move_model_to_device|:dispatch_model|:_materialize_copy|:load_state_dict"
            ),
        ),
    )
)
_BY_LOG: dict[Phase, MemoryPhase] = {
    Phase.EVALUATING: MemoryPhase.EVAL,
    Phase.TRAINING: MemoryPhase.TRAIN,
    Phase.LOADING: MemoryPhase.LOAD,
    Phase.SAVING: MemoryPhase.SAVE,
    Phase.EXPORTING: MemoryPhase.EXPORT,
}

_ZERO = re.compile(r"zero/(?:stage3|stage_1_and_2)\.py:")


@dataclass(frozen=True, slots=True)
class OomMessage:
    """An allocator's message with its numbers in bytes; None: not given."""

    device: MemoryDevice
    driver_level: bool
    gpu: int | None = None
    requested_bytes: int | None = None
    capacity_bytes: int | None = None
    free_bytes: int | None = None
    process_bytes: int | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    other_processes: tuple[tuple[int, int], ...] = ()


def parse_oom(
    exception: str, message: str, frames: Sequence[str] = (), *, offload: bool = False
) -> OomMessage | None:
    """Return what an exception says of an allocation that failed; None where it is another.

    `offload` says whether the log has shown DeepSpeed's offload to host memory.
    """
    if exception.endswith("MemoryError") and not exception.endswith("OutOfMemoryError"):
        return _host_message(message)
    if _HOST.search(message):
        return _host_message(message)
    if _ALLOCATOR.search(message) or exception.endswith("OutOfMemoryError"):
        return _gpu_message(message)
    if _DRIVER.search(message):
        pinned = any(_PINNED.search(frame) for frame in frames)
        pinned = pinned or (offload and any(_ZERO.search(frame) for frame in frames))
        device = MemoryDevice.PINNED if pinned else MemoryDevice.GPU
        return OomMessage(device, driver_level=True)
    return None


def _host_message(message: str) -> OomMessage:
    match = _HOST_BYTES.search(message)
    requested = int(match.group(1)) if match else _size(_ARRAY, message)
    return OomMessage(MemoryDevice.HOST, driver_level=False, requested_bytes=requested)


def _gpu_message(message: str) -> OomMessage:
    allocated = _size(_ALLOCATED, message)
    reserved = _size(_RESERVED, message)
    cached = _size(_CACHED, message)
    if reserved is None and allocated is not None and cached is not None:
        reserved = allocated + cached
    gpu = _GPU.search(message)
    others = tuple(
        (int(pid), _bytes(number, unit)) for pid, number, unit in _OTHER.findall(message)
    )
    return OomMessage(
        device=MemoryDevice.GPU,
        driver_level=False,
        gpu=int(gpu.group(1)) if gpu else None,
        requested_bytes=_size(_REQUESTED, message),
        capacity_bytes=_size(_CAPACITY, message),
        free_bytes=_size(_FREE, message),
        process_bytes=_size(_PROCESS, message),
        allocated_bytes=allocated,
        reserved_bytes=reserved,
        other_processes=others,
    )


def _size(pattern: re.Pattern[str], message: str) -> int | None:
    match = pattern.search(message)
    if match is None:
        return None
    groups = [group for group in match.groups() if group is not None]
    return _bytes(groups[0], groups[1])


def _bytes(number: str, unit: str) -> int:
    try:
        return int(float(number) * _UNITS[unit.upper()])
    except (ValueError, OverflowError):
        return 0


def memory_phase(frames: Sequence[str], phase: Phase) -> MemoryPhase:
    """Return where in a run an allocation failed: by the frames, else by the log's phase."""
    if any(_FRAMES[0][1].search(frame) for frame in frames):
        return MemoryPhase.EXPORT
    for found, pattern in _FRAMES[1:]:
        if any(pattern.search(frame) for frame in frames):
            return found
    return _BY_LOG.get(phase, MemoryPhase.UNKNOWN)
