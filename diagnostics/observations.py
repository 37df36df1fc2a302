"""Owns the values that sources report: one frozen dataclass for each kind of fact, with its time.

Nothing here reads a clock, a file or a driver; the source that saw a fact puts the time in.
Times are seconds since the epoch, sizes are bytes, shares are percent from 0 to 100.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Missing:
    """A value that its source could not give, with the source's own word for why."""

    reason: str

    def __str__(self) -> str:
        return self.reason


Reading: TypeAlias = T | Missing
"""A value, or why it is not there."""

NOTHING: Mapping[str, float] = MappingProxyType({})


class Phase(StrEnum):
    """What a training is doing, as its log shows."""

    STARTING = "starting"
    PREPROCESSING = "preprocessing"
    LOADING = "loading"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    EXPORTING = "exporting"
    FINISHED = "finished"


class MemoryPhase(StrEnum):
    """Where in a run an allocation failed, told from traceback frames and progress."""

    LOAD = "load"
    TRAIN = "train"  # forward, loss or backward of a step
    OPTIMIZER = "optimizer"
    EVAL = "eval"
    SAVE = "save"
    EXPORT = "export"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds memory on a GPU."""

    pid: int
    used_bytes: Reading[int]
    name: str = ""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU at one moment, as NVML reports it (or as the demo simulates it)."""

    at: float
    host: str
    index: int
    uuid: str
    name: str
    memory_used_bytes: Reading[int]
    memory_total_bytes: Reading[int]
    utilization_pct: Reading[float]
    temperature_c: Reading[float]
    power_watts: Reading[float]
    power_limit_watts: Reading[float]
    sm_clock_mhz: Reading[int]
    memory_clock_mhz: Reading[int]
    processes: Reading[tuple[GpuProcess, ...]]
    simulated: bool = False
    throttle: Reading[tuple[str, ...]] = Missing("not read")
    """Why its clocks are held back: "software thermal", "power cap" ...; empty: they are not."""


@dataclass(frozen=True, slots=True)
class GpuUnavailable:
    """No GPU can be read at all; `reason` is the driver's own word."""

    at: float
    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostSample:
    """CPU, memory and the disk of the output folder at one moment."""

    at: float
    host: str
    cpu_pct: Reading[float]
    memory_total_bytes: Reading[int]
    memory_available_bytes: Reading[int]
    swap_used_bytes: Reading[int]
    disk_free_bytes: Reading[int]
    disk_total_bytes: Reading[int]
    cgroup_limit_bytes: Reading[int] = Missing("no cgroup limit")
    cgroup_oom_kills: Reading[int] = Missing("no cgroup")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log: progress bars are not lines. `line` is 1-based in the physical file.

    `text` is decoded, cut to a bounded length, and free of control characters.
    """

    at: float
    source: str
    line: int
    text: str
    rank: int | None = None


class BarKind(StrEnum):
    """What a tqdm bar counts."""

    TRAIN = "train"
    EVAL = "eval"
    DATASET = "dataset"
    WEIGHTS = "weights"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Progress:
    """A tqdm bar's state. Seconds are what the bar says, not measured by us."""

    at: float
    source: str
    kind: BarKind
    description: str
    done: int
    total: int
    elapsed_s: float | None = None
    seconds_per_item: float | None = None


@dataclass(frozen=True, slots=True)
class TrainStep:
    """The metrics of one logged training step; `None` is what the log did not say."""

    at: float
    source: str
    line: int
    step: int | None
    """None where nothing tells it: a metrics dict before any bar or epoch length is known."""
    total_steps: int | None = None
    loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    epoch: float | None = None
    extra: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    elapsed_s: float | None = None
    """Seconds since the training began, by the trainer's own clock."""


@dataclass(frozen=True, slots=True)
class EvalPoint:
    """The metrics of one evaluation during or after training."""

    at: float
    source: str
    line: int
    step: int | None
    eval_loss: float | None = None
    epoch: float | None = None
    extra: Mapping[str, float] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class RunFact:
    """A named fact a run prints once.

    Names: num_examples, num_epochs, steps_per_epoch, per_device_batch_size, total_batch_size,
    accumulation_steps, total_steps, trainable_params, all_params (ints); device, compute_dtype,
    method, attention (text); world_size, rank (ints); resumed_from (path), resumed_step (int),
    saved_checkpoint (path), train_loss, train_runtime_s (floats); restart (a step: the points from
    it on are of an attempt before).
    """

    at: float
    source: str
    line: int
    name: str
    value: int | float | str


@dataclass(frozen=True, slots=True)
class PhaseChange:
    """The log shows that the run entered a phase."""

    at: float
    source: str
    line: int
    phase: Phase


@dataclass(frozen=True, slots=True)
class Traceback:
    """A whole Python traceback: `frames` are "path/file.py:function", outermost first."""

    at: float
    source: str
    first_line: int
    last_line: int
    exception: str
    """The class as printed: "RuntimeError", "torch.OutOfMemoryError"."""
    message: str
    frames: tuple[str, ...]
    rank: int | None = None
    phase: Phase = Phase.STARTING
    """The phase of the run when it was printed."""


class MemoryDevice(StrEnum):
    """Whose memory ran out."""

    GPU = "gpu"
    HOST = "host"
    PINNED = "pinned"  # page-locked host memory


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """An allocator's failure, with the numbers its message gives (bytes; None: not given)."""

    at: float
    source: str
    line: int
    device: MemoryDevice
    phase: MemoryPhase
    text: str
    """The message's first line."""
    rank: int | None = None
    gpu: int | None = None
    """The GPU's index as the failing process counts its visible devices."""
    requested_bytes: int | None = None
    capacity_bytes: int | None = None
    free_bytes: int | None = None
    process_bytes: int | None = None
    """All of the failing process' memory on the GPU, context included."""
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    """Held by PyTorch's allocator in all: allocated and cached together."""
    other_processes: tuple[tuple[int, int], ...] = ()
    """(pid, bytes) of "Process N has ... memory in use", whoever they are."""
    step: int | None = None
    """Training steps done when it failed."""


@dataclass(frozen=True, slots=True)
class RankExit:
    """One rank's end as torchrun's failure block or the deepspeed launcher tells it."""

    at: float
    source: str
    line: int
    rank: int
    exit_code: int
    pid: int | None
    root_cause: bool


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The run's processes at one moment; `alive` is true while any of them lives."""

    at: float
    host: str
    alive: bool
    pids: tuple[int, ...] = ()
    rss_bytes: Reading[int] = Missing("not read")
    stopped: bool = False
    """True where a rank is in state T (stopped by a signal)."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The end of a supervised run as its supervisor saw it (parent's view: -9 is SIGKILL)."""

    at: float
    exit_code: Reading[int]
    peak_host_bytes: Reading[int] = Missing("not recorded")
    requested: bool = False
    """True where llamavet was asked to stop it."""
    cgroup_oom_kills: int = 0
    """How many processes the kernel killed for memory in the run's cgroup while it ran."""


@dataclass(frozen=True, slots=True)
class SourceFault:
    """A source that could not be read this time; the rest works on."""

    at: float
    source: str
    reason: str


Observation: TypeAlias = (
    GpuSample
    | GpuUnavailable
    | HostSample
    | LogLine
    | Progress
    | TrainStep
    | EvalPoint
    | RunFact
    | PhaseChange
    | Traceback
    | OutOfMemory
    | RankExit
    | ProcessState
    | RunEnded
    | SourceFault
)
