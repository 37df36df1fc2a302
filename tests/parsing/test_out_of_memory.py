"""Messages of allocators that failed, and where in a run it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.observations import MemoryDevice, MemoryPhase, Phase
from diagnostics.parsing.out_of_memory import OomMessage, memory_phase, parse_oom

MIB = 2**20
GIB = 2**30

NEW = (
    "CUDA out of memory. Tried to allocate 134.00 MiB. GPU 3 has a total capacity of 39.50 GiB of "
    "which 107.50 MiB is free. Process 62201 has 398.00 MiB memory in use. Process 62203 has 1.50 "
    "GiB memory in use. Including non-PyTorch memory, this process has 38.25 GiB memory in use. Of "
    "the allocated memory 37.50 GiB is allocated by PyTorch, and 512.00 MiB is reserved by PyTorch "
    "but unallocated. If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
OLD = (
    "CUDA out of memory. Tried to allocate 448.00 MiB (GPU 7; 79.50 GiB total capacity; 78.50 GiB "
    "already allocated; 259.50 MiB free; 78.75 GiB reserved in total by PyTorch) If reserved "
    "memory is >> allocated memory try setting max_split_size_mb to avoid fragmentation."
)


def oom(
    exception: str, message: str, frames: tuple[str, ...] = (), *, offload: bool = False
) -> OomMessage:
    found = parse_oom(exception, message, frames, offload=offload)
    assert found is not None
    return found


def test_the_new_message_gives_every_number_in_bytes():
    found = oom("torch.OutOfMemoryError", NEW)
    assert found == OomMessage(
        device=MemoryDevice.GPU,
        driver_level=False,
        gpu=3,
        requested_bytes=134 * MIB,
        capacity_bytes=int(39.5 * GIB),
        free_bytes=int(107.5 * MIB),
        process_bytes=int(38.25 * GIB),
        allocated_bytes=int(37.5 * GIB),
        reserved_bytes=38 * GIB,
        other_processes=((62201, 398 * MIB), (62203, int(1.5 * GIB))),
    )


def test_the_old_message_gives_every_number_in_bytes():
    found = oom("torch.cuda.OutOfMemoryError", OLD)
    assert found == OomMessage(
        device=MemoryDevice.GPU,
        driver_level=False,
        gpu=7,
        requested_bytes=448 * MIB,
        capacity_bytes=int(79.5 * GIB),
        free_bytes=int(259.5 * MIB),
        allocated_bytes=int(78.5 * GIB),
        reserved_bytes=int(78.75 * GIB),
    )


def test_the_word_that_torch_2_1_misspelt_is_understood():
    found = oom("torch.cuda.OutOfMemoryError", NEW.replace("capacity", "capacty"))
    assert found.capacity_bytes == int(39.5 * GIB)


def test_memory_of_graph_pools_does_not_hide_what_is_cached():
    text = NEW.replace(
        "is allocated by PyTorch, and",
        "is allocated by PyTorch, with 1.00 GiB allocated in private pools, and",
    )
    assert oom("torch.OutOfMemoryError", text).reserved_bytes == 38 * GIB


def test_small_requests_are_bytes_and_kibibytes():
    assert (
        oom("RuntimeError", "CUDA out of memory. Tried to allocate 512 bytes.").requested_bytes
        == 512
    )
    assert (
        oom("RuntimeError", "CUDA out of memory. Tried to allocate 20.00 KiB.").requested_bytes
        == 20_480
    )


def test_a_message_without_numbers_leaves_them_unknown():
    assert oom("torch.OutOfMemoryError", "CUDA out of memory.") == OomMessage(
        MemoryDevice.GPU, driver_level=False
    )
    assert oom("torch.cuda.OutOfMemoryError", "") == OomMessage(
        MemoryDevice.GPU, driver_level=False
    )


@pytest.mark.parametrize("backend", ["HIP", "XPU"])
def test_other_cards_say_it_as_cuda_does(backend: str):
    found = oom("torch.OutOfMemoryError", NEW.replace("CUDA out", f"{backend} out"))
    assert (found.device, found.gpu, found.requested_bytes) == (MemoryDevice.GPU, 3, 134 * MIB)


def test_an_npu_is_a_gpu_with_its_own_index():
    text = (
        "NPU out of memory. Tried to allocate 2.00 GiB (NPU 5; 60.75 GiB total capacity; 58.00 GiB "
        "already allocated; 58.00 GiB current active; 1.25 GiB free; 59.00 GiB reserved in total "
        "by PyTorch)"
    )
    found = oom("RuntimeError", text)
    assert (found.device, found.gpu) == (MemoryDevice.GPU, 5)
    assert (found.requested_bytes, found.capacity_bytes) == (2 * GIB, int(60.75 * GIB))
    assert (found.allocated_bytes, found.free_bytes, found.reserved_bytes) == (
        58 * GIB,
        int(1.25 * GIB),
        59 * GIB,
    )


@pytest.mark.parametrize("exception", ["RuntimeError", "torch.AcceleratorError"])
def test_the_driver_gives_no_numbers(exception: str):
    found = oom(exception, "CUDA error: out of memory", ("a/trainer.py:training_step",))
    assert found == OomMessage(MemoryDevice.GPU, driver_level=True)


@pytest.mark.parametrize(
    "frame",
    [
        "torch/utils/data/_utils/pin_memory.py:pin_memory",
        "deepspeed/runtime/zero/stage3.py:_setup_for_real_optimizer",
        "deepspeed/runtime/zero/offload_states.py:offload_adam_states",
    ],
)
def test_the_driver_refusing_pinned_memory_is_the_hosts(frame: str):
    assert oom("RuntimeError", "CUDA error: out of memory", (frame,)).device is MemoryDevice.PINNED


def test_a_zero_frame_counts_as_pinned_only_where_offload_was_seen():
    frames = ("deepspeed/runtime/zero/stage_1_and_2.py:__init__",)
    text = "CUDA error: out of memory"
    assert oom("RuntimeError", text, frames, offload=True).device is MemoryDevice.PINNED
    assert oom("RuntimeError", text, frames).device is MemoryDevice.GPU


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_a_library_that_gets_no_workspace_is_the_gpus(message: str):
    assert oom("RuntimeError", message) == OomMessage(MemoryDevice.GPU, driver_level=False)


@pytest.mark.parametrize(
    ("exception", "message", "requested"),
    [
        (
            "RuntimeError",
            (
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 1073741824 bytes. Error code 12"
            ),
            GIB,
        ),
        (
            "RuntimeError",
            (
                "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough "
                "memory: you tried to allocate 4096 bytes."
            ),
            4096,
        ),
        ("MemoryError", "", None),
        ("MemoryError", "std::bad_alloc", None),
        ("RuntimeError", "std::bad_alloc", None),
        ("terminate", "std::bad_alloc", None),
        (
            "numpy.core._exceptions._ArrayMemoryError",
            "Unable to allocate 1.50 GiB for an array with shape (402653184,)",
            int(1.5 * GIB),
        ),
        (
            "numpy._core._exceptions._ArrayMemoryError",
            "Unable to allocate 256. MiB for an array with shape (33554432,) and data type float64",
            256 * MIB,
        ),
        ("OSError", "[Errno 12] Cannot allocate memory", None),
    ],
)
def test_host_allocators_are_the_hosts_with_the_bytes_they_say(
    exception: str, message: str, requested: int | None
):
    found = oom(exception, message)
    assert (found.device, found.requested_bytes) == (MemoryDevice.HOST, requested)
    assert found.gpu is None


@pytest.mark.parametrize(
    ("exception", "message"),
    [
        ("RuntimeError", "CUDA error: device-side assert triggered"),
        ("RuntimeError", "CUDA error: an illegal memory access was encountered"),
        ("ValueError", "set max_split_size_mb to avoid fragmentation"),
        ("OSError", "[Errno 28] No space left on device"),
        ("RuntimeError", "DataLoader worker (pid 5) is killed by signal: Killed."),
        ("KeyError", "'memory'"),
        (
            "RuntimeError",
            "try PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True when memory is large",
        ),
    ],
)
def test_other_errors_are_not_out_of_memory(exception: str, message: str):
    assert parse_oom(exception, message) is None


def test_advice_inside_the_message_is_no_number():
    with_advice = oom("torch.cuda.OutOfMemoryError", OLD)
    without = oom("torch.cuda.OutOfMemoryError", OLD.split(" If reserved", maxsplit=1)[0])
    assert with_advice == without


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate " + "9" * 65_000,
        "CUDA out of memory. GPU "
        + "1" * 5_000
        + " Process "
        + "2" * 5_000
        + " has 1.00 GiB memory in use",
        "CUDA out of memory. Tried to allocate 1.2.3 GiB",
        "DefaultCPUAllocator: not enough memory: you tried to allocate " + "9" * 5_000 + " bytes.",
    ],
    ids=["digits", "ids", "dots", "bytes"],
)
def test_hostile_numbers_neither_raise_nor_stall(message: str):
    found = oom("RuntimeError", message)
    assert not found.requested_bytes
    assert found.gpu is None


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_message_is_read_without_raising(exception: str, tail: str):
    assert oom(exception, "CUDA out of memory. " + tail).driver_level is False


T = "transformers/trainer.py"


@pytest.mark.parametrize(
    ("frames", "phase"),
    [
        (
            (f"{T}:train", f"{T}:training_step", "torch/nn/modules/module.py:_call_impl"),
            MemoryPhase.TRAIN,
        ),
        ((f"{T}:training_step", "accelerate/accelerator.py:backward"), MemoryPhase.TRAIN),
        ((f"{T}:_inner_training_loop", "torch/optim/adamw.py:_init_group"), MemoryPhase.OPTIMIZER),
        (
            (f"{T}:train", "site-packages/bitsandbytes/optim/optimizer.py:step"),
            MemoryPhase.OPTIMIZER,
        ),
        (
            ("deepspeed/runtime/engine.py:step", "deepspeed/runtime/zero/stage3.py:step"),
            MemoryPhase.OPTIMIZER,
        ),
        (
            ("deepspeed/runtime/zero/stage_1_and_2.py:initialize_optimizer_states",),
            MemoryPhase.OPTIMIZER,
        ),
        (
            (
                f"{T}:train",
                f"{T}:_evaluate",
                f"{T}:evaluation_loop",
                f"{T}:prediction_step",
                "m.py:forward",
            ),
            MemoryPhase.EVAL,
        ),
        (
            (f"{T}:evaluation_loop", "transformers/trainer_pt_utils.py:nested_concat"),
            MemoryPhase.EVAL,
        ),
        (("transformers/modeling_utils.py:from_pretrained",), MemoryPhase.LOAD),
        (
            ("llamafactory/model/loader.py:load_model", "m.py:caching_allocator_warmup"),
            MemoryPhase.LOAD,
        ),
        (
            (f"{T}:__init__", f"{T}:_move_model_to_device", "torch/nn/modules/module.py:to"),
            MemoryPhase.LOAD,
        ),
        (
            (f"{T}:train", f"{T}:_save_checkpoint", "accelerate/accelerator.py:get_state_dict"),
            MemoryPhase.SAVE,
        ),
        (
            ("llamafactory/train/tuner.py:export_model", "llamafactory/model/loader.py:load_model"),
            MemoryPhase.EXPORT,
        ),
        (("peft/tuners/lora/model.py:merge_and_unload",), MemoryPhase.EXPORT),
    ],
)
def test_frames_tell_the_phase_whatever_the_log_says(frames: tuple[str, ...], phase: MemoryPhase):
    assert memory_phase(frames, Phase.STARTING) is phase
    assert memory_phase(frames, Phase.TRAINING) is phase


@pytest.mark.parametrize(
    ("log", "phase"),
    [
        (Phase.EVALUATING, MemoryPhase.EVAL),
        (Phase.TRAINING, MemoryPhase.TRAIN),
        (Phase.LOADING, MemoryPhase.LOAD),
        (Phase.SAVING, MemoryPhase.SAVE),
        (Phase.EXPORTING, MemoryPhase.EXPORT),
        (Phase.STARTING, MemoryPhase.UNKNOWN),
        (Phase.PREPROCESSING, MemoryPhase.UNKNOWN),
        (Phase.FINISHED, MemoryPhase.UNKNOWN),
    ],
)
def test_without_frames_the_phase_of_the_log_tells(log: Phase, phase: MemoryPhase):
    assert memory_phase((), log) is phase
    assert memory_phase(("my/script.py:main",), log) is phase
