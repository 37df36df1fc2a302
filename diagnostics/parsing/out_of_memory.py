"""Owns the messages of allocators that failed, old and new, and where in a run it was.

Advice inside a message (max_split_size_mb, expandable_segments) is never evidence of anything.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from diagnostics.observations import MemoryDevice, MemoryPhase, Phase

_UNITS = {"B": 1, "BYTES": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "PIB": 2**50}
_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = r"(\d[\d.]{0,24}) ?([KMGTP]i?B|[Bb]ytes|B)\b"
_MAX_BYTES = 2**50  # PyTorch prints 17179869184.00 GiB where it cannot tell
_DIGITS_64 = 18

_GPU_ALLOCATOR = re.compile(
    r"\b(?:CUDA|HIP|XPU|NPU|MUSA|MPS backend|MLU) out of memory\b"
    r"|CU(?:BLAS|DNN|SPARSE|SOLVER)_STATUS_ALLOC_FAILED"
)
_GPU_DRIVER = re.compile(
    r"\b(?:CUDA|HIP) (?:driver )?error: (?:out of memory|hipErrorOutOfMemory)"
    r"|CUDA_ERROR_OUT_OF_MEMORY|[Cc]uda failure (?:\d+ )?'out of memory'"
)
_HOST = re.compile(
    r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)"
    r"|std::bad_alloc|^Unable to allocate [\d.]+ (?:[KMGTP]iB|bytes) for an array"
    r"|^\[Errno 12\] Cannot allocate memory|^unable to mmap \d+ bytes .*Cannot allocate memory"
    r"|^malloc of size \d+ failed|node running low on memory"
)
_HOST_CLASSES = {"MemoryError", "ArrayMemoryError", "_ArrayMemoryError", "ArrowMemoryError"}
_PINNED = re.compile(
    r"pin_memory|cudaHostAlloc|cudaHostRegister|pinned|CachingHostAllocator"
    r"|_setup_for_real_optimizer|offload|swap_tensor",
    re.IGNORECASE,
)
_OFFLOAD_INIT = re.compile(
    r"_configure_zero_optimizer|zero/stage\w+\.py:(?:__init__|_setup|_create|initialize)"
)

_REQUESTED = re.compile(rf"[Tt]ried to allocate {_SIZE}")
_HOST_REQUESTED = re.compile(
    r"you tried to allocate (\d+) bytes|unable to mmap (\d+) bytes|malloc of size (\d+) failed"
)
_ARRAY_REQUESTED = re.compile(rf"Unable to allocate {_SIZE}")
_GPU = re.compile(r"\b(?:GPU|NPU|XPU) (\d{1,4})\b")
_CAPACITY = re.compile(rf"has a total capac\w* of {_SIZE}|{_SIZE} total capacity")
_FREE = re.compile(rf"of which {_SIZE} is free|{_SIZE} free\b")
_PROCESS = re.compile(rf"this process has {_SIZE} memory in use")
_ALLOCATED = re.compile(
    rf"[Oo]f the allocated memory {_SIZE} is allocated by PyTorch|{_SIZE} already allocated"
)
_CACHED = re.compile(rf"{_SIZE} is reserved by PyTorch but unallocated")
_RESERVED = re.compile(rf"{_SIZE} reserved in total by PyTorch")
_OTHER = re.compile(rf"\bProcess (\d{{1,10}}) has {_SIZE} memory in use")

_FRAMES: tuple[tuple[MemoryPhase, re.Pattern[str]], ...] = tuple(
    (phase, re.compile(pattern))
    for phase, pattern in (
        (MemoryPhase.EXPORT, r"export_model|:merge_and_unload|:_unload_and_optionally_merge"),
        (
            MemoryPhase.EVAL,
            (
                r":evaluat|:_evaluate|:evaluation_loop|:prediction_step|:prediction_loop"
                r"|:nested_concat|preds_host|:predict$|EvalLoopContainer|:preprocess_logits_for_metrics"
            ),
        ),
        (
            MemoryPhase.OPTIMIZER,
            (
                r"torch/optim/|bitsandbytes/optim/|deepspeed/ops/|/(?:galore_torch|apollo_torch|"
                r"badam|adam_mini)/|:_init_group|accelerate/optimizer\.py:step|:optimizer_step"
                r"|(?:stage_1_and_2|stage3|bf16_optimizer|fused_optimizer)\.py:"
                r"(?:step|_optimizer|__init__|_setup|_create|initialize)"
                r"|:_(?:fused|multi_tensor|single_tensor)_\w+|:_take_model_step|:initialize_optimizer_states"
                r"|:_configure_(?:zero_)?optimizer|:_load_optimizer_and_scheduler|:get_fp32_grad"
            ),
        ),
        (
            MemoryPhase.SAVE,
            (
                r":_save_checkpoint|:save_model|:save_pretrained|:save_checkpoint|:_save$"
                r"|:_zero3_consolidated|:get_state_dict|:_save_optimizer_and_scheduler"
            ),
        ),
        (
            MemoryPhase.TRAIN,
            (
                r":training_step|:compute_loss|accelerator\.py:backward|_tensor\.py:backward"
                r"|torch/autograd/|:run_backward"
            ),
        ),
        (
            MemoryPhase.LOAD,
            (
                r":from_pretrained|load_state_dict|:_load_pretrained_model|:set_module_tensor"
                r"|:caching_allocator_warmup|:load_model|:load_adapter|:init_adapter|:_load_from_"
                r"|module\.py:(?:to|cuda|_apply|convert|half|bfloat16)$|:_configure_distributed_model"
                r"|:_move_model_to_device|:dispatch_model|:_materialize|:prepare_model|:_prepare_"
                r"|:_wrap_model|trainer\.py:__init__|deepspeed/__init__\.py:initialize"
                r"|bitsandbytes/nn/|:_prefetch|:materialize_tensors"
            ),
        ),
        (MemoryPhase.TRAIN, r":forward$|:backward$"),
    )
)
_BY_LOG: dict[Phase, MemoryPhase] = {
    Phase.EVALUATING: MemoryPhase.EVAL,
    Phase.TRAINING: MemoryPhase.TRAIN,
    Phase.LOADING: MemoryPhase.LOAD,
    Phase.SAVING: MemoryPhase.SAVE,
    Phase.EXPORTING: MemoryPhase.EXPORT,
}


@dataclass(frozen=True, slots=True)
class OomMessage:
    """An allocator's message with its numbers in bytes; None: not given."""

    device: MemoryDevice
    driver_level: bool = False
    """Whether the driver refused, which gives no numbers, rather than PyTorch's allocator."""
    gpu: int | None = None
    requested_bytes: int | None = None
    capacity_bytes: int | None = None
    free_bytes: int | None = None
    process_bytes: int | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    other_processes: tuple[tuple[int, int], ...] = ()

    @property
    def detailed(self) -> bool:
        """Whether it says how much was asked for; the rest may stand in the lines after it."""
        return self.requested_bytes is not None


def parse_oom(
    exception: str, message: str, frames: Sequence[str] = (), *, offload: bool = False
) -> OomMessage | None:
    """Return what an exception says of an allocation that failed; None where it is another.

    Args:
        exception: its class as printed.
        message: what it says, of one or several lines.
        frames: its traceback, as "path/file.py:function".
        offload: whether the log showed before that DeepSpeed offloads to the host.
    """
    text = " ".join(message.split())
    if text.startswith("Caught "):
        return None  # a worker's failure told again: its own traceback follows
    name = exception.rpartition(".")[2]
    if _HOST.search(text) or name in _HOST_CLASSES:
        return OomMessage(MemoryDevice.HOST, requested_bytes=_host_requested(text))
    if _GPU_ALLOCATOR.search(text):
        return _gpu_message(text)
    if _GPU_DRIVER.search(text):
        pinned = any(_PINNED.search(frame) for frame in frames) or (
            offload and any(_OFFLOAD_INIT.search(frame) for frame in frames)
        )
        return OomMessage(MemoryDevice.PINNED if pinned else MemoryDevice.GPU, driver_level=True)
    if name == "OutOfMemoryError":
        return _gpu_message(text)
    return None


def _host_requested(text: str) -> int | None:
    match = _HOST_REQUESTED.search(text)
    if match is None:
        return _size(_ARRAY_REQUESTED, text)
    digits = next(group for group in match.groups() if group is not None)
    return int(digits) if len(digits) <= _DIGITS_64 else None


def _gpu_message(text: str) -> OomMessage:
    capacity = _size(_CAPACITY, text)
    allocated = _size(_ALLOCATED, text)
    reserved = _size(_RESERVED, text)
    cached = _size(_CACHED, text)
    if reserved is None and allocated is not None and cached is not None:
        reserved = allocated + cached
    process = _size(_PROCESS, text)
    if process is not None and capacity is not None and process > 2 * capacity:
        process = None  # a container hides it from the driver, and the number is nonsense
    gpu = _GPU.search(text)
    others = (
        (int(pid), size)
        for pid, number, unit in _OTHER.findall(text)
        if (size := _bytes(number, unit)) is not None
    )
    return OomMessage(
        device=MemoryDevice.GPU,
        gpu=int(gpu.group(1)) if gpu else None,
        requested_bytes=_size(_REQUESTED, text),
        capacity_bytes=capacity,
        free_bytes=_size(_FREE, text),
        process_bytes=process,
        allocated_bytes=allocated,
        reserved_bytes=reserved,
        other_processes=tuple(others),
    )


def _size(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    if match is None:
        return None
    number, unit = (group for group in match.groups() if group is not None)
    return _bytes(number, unit)


def _bytes(number: str, unit: str) -> int | None:
    try:
        size = float(number) * _UNITS[unit.upper()]
    except (ValueError, KeyError):
        return None
    return round(size) if size < _MAX_BYTES else None


def memory_phase(frames: Sequence[str], phase: Phase) -> MemoryPhase:
    """Return where in a run an allocation failed: by the frames, else by the log's phase."""
    for found, pattern in _FRAMES:
        if any(pattern.search(frame) for frame in frames):
            return found
    return _BY_LOG.get(phase, MemoryPhase.UNKNOWN)
