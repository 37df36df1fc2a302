"""Owns runs, findings and updates to be shown: real Snapshots from real observations."""

from pathlib import Path

from diagnostics.findings import (
    Blind,
    Diagnosis,
    Evidence,
    Finding,
    Fix,
    KeyChange,
    Safety,
    Severity,
    Text,
)
from diagnostics.history import History, Snapshot
from diagnostics.monitor_update import MonitorUpdate
from diagnostics.observations import (
    BarKind,
    EvalPoint,
    GpuSample,
    HostSample,
    LogLine,
    Observation,
    Phase,
    PhaseChange,
    Progress,
    RunEnded,
    TrainStep,
)
from diagnostics.runs.model import Attempt, Launch, Outcome, Run, Treatment
from diagnostics.status import RunStatus

GIB = 2**30
START = 1_700_000_000.0
NO_TEXT = Text("", "")

HALVE = Fix(
    id="halve_batch",
    title=Text("halve the batch, double the accumulation", "批大小减半，梯度累积加倍"),
    why=Text("activations grow with the batch of one step", "激活值随单步批大小增长"),
    price=Text("a little slower per sample", "每个样本略慢"),
    safety=Safety.SAFE,
    changes=(
        KeyChange("per_device_train_batch_size", 8, 4),
        KeyChange("gradient_accumulation_steps", 2, 4),
    ),
)
SHORTER = Fix(
    id="shorter_cutoff",
    title=Text("shorten cutoff_len to 1024", "将 cutoff_len 缩短到 1024"),
    why=Text("the longest samples set the peak", "最长的样本决定峰值"),
    price=Text("long samples lose their end", "长样本会被截断"),
    safety=Safety.UNSAFE,
    changes=(KeyChange("cutoff_len", 2048, 1024),),
)
FREE = Fix(
    id="free_the_gpu",
    title=Text("end the other process on GPU 0", "结束 GPU 0 上的其他进程"),
    why=Text("it holds 4.1 GiB", "它占用 4.1 GiB"),
    price=NO_TEXT,
    safety=Safety.MANUAL,
)


def finding(*fixes: Fix) -> Finding:
    return Finding(
        id="gpu_oom.train",
        severity=Severity.CRITICAL,
        title=Text("Out of GPU memory in a training step", "训练步中显存不足"),
        cause=Text(
            "Step 5 asked for 2.00 GiB where GPU 0 had 0.61 GiB left: PyTorch held 22.4 of"
            " 23.65 GiB, nearly all of it activations of a batch of 8.",
            "第 5 步请求 2.00 GiB，而 GPU 0 仅剩 0.61 GiB：PyTorch 已占用 22.4 GiB，共 23.65 GiB。",
        ),
        evidence=(Evidence("stdout.log", 120, "torch.OutOfMemoryError: CUDA out of memory."),),
        fixes=fixes,
        primary=True,
    )


def gpu(index: int = 0, used_gib: float = 21.3, **kinds: object) -> GpuSample:
    values: dict[str, object] = {
        "at": START,
        "host": "node",
        "index": index,
        "uuid": f"GPU-{index}",
        "name": "NVIDIA GeForce RTX 4090",
        "memory_used_bytes": int(used_gib * GIB),
        "memory_total_bytes": int(23.65 * GIB),
        "utilization_pct": 97.0,
        "temperature_c": 66.0,
        "power_watts": 310.0,
        "power_limit_watts": 450.0,
        "sm_clock_mhz": 2500,
        "memory_clock_mhz": 10500,
        "processes": (),
    }
    return GpuSample(**(values | kinds))  # type: ignore[arg-type] # each value is its field's


def host() -> HostSample:
    return HostSample(
        at=START,
        host="node",
        cpu_pct=35.0,
        memory_total_bytes=64 * GIB,
        memory_available_bytes=41 * GIB,
        swap_used_bytes=0,
        disk_free_bytes=120 * GIB,
        disk_total_bytes=900 * GIB,
    )


def steps(count: int, total: int, first: int = 1) -> list[Observation]:
    seen: list[Observation] = [PhaseChange(START, "stdout.log", 40, Phase.TRAINING)]
    for step in range(first, first + count):
        wave = 0.15 * ((step * 7919) % 13) / 13
        loss = 0.8 + 2.0 / (1 + step / 40) + wave
        at = START + 60 + step * 1.25
        seen.append(TrainStep(at, "trainer_log.jsonl", step, step, total, loss=loss, grad_norm=0.5))
        if step % 50 == 0:
            seen.append(EvalPoint(at, "trainer_log.jsonl", step, step, eval_loss=loss + 0.1))
    last = first + count - 1
    seen.append(
        Progress(START + 60 + last * 1.25, "stdout.log", BarKind.TRAIN, "", last, total, 9.0, 1.25)
    )
    return seen


def lines(*texts: str) -> list[Observation]:
    return [LogLine(START, "stdout.log", 100 + n, text) for n, text in enumerate(texts)]


def snapshot_of(*observations: Observation) -> Snapshot:
    history = History()
    for observation in observations:
        history.add(observation)
    return history.snapshot()


def run(name: str = "qwen-lora", **kinds: object) -> Run:
    values: dict[str, object] = {
        "name": name,
        "config": None,
        "cwd": Path("/home/ada/LLaMA-Factory"),
        "output_dir": Path("saves/qwen/lora"),
        "log_path": Path("saves/qwen/lora/stdout.log"),
        "launch": Launch(("llamafactory-cli", "train", "train.yaml"), Path("/home/ada"), {}),
    }
    return Run(**(values | kinds))  # type: ignore[arg-type] # each value is its field's


def attempt(number: int = 1, **kinds: object) -> Attempt:
    values: dict[str, object] = {
        "number": number,
        "folder": Path(f"runs/{number}"),
        "log_path": Path(f"runs/{number}/stdout.log"),
        "started_at": START,
        "status": RunStatus.RUNNING,
    }
    return Attempt(**(values | kinds))  # type: ignore[arg-type] # each value is its field's


def dead_update(of: Run | None = None, *fixes: Fix) -> MonitorUpdate:
    """A training that ran out of memory at step 5."""
    snapshot = snapshot_of(
        gpu(used_gib=0.6, utilization_pct=0.0),
        host(),
        *steps(5, 500),
        *lines("  5%|5         | 5/500", "torch.OutOfMemoryError: CUDA out of memory. [/]"),
        RunEnded(START + 70, 1),
    )
    failed = attempt(status=RunStatus.FAILED, ended_at=START + 70, exit_code=1, step=5)
    found = finding(*(fixes or (HALVE, SHORTER, FREE)))
    return MonitorUpdate(
        START + 80, of or run(), snapshot, Diagnosis((found,)), RunStatus.FAILED, (failed,)
    )


NOT_JUDGED = (Blind("run.killed", ("exit",)), Blind("slow.throttled", ("gpu",)))


def live_update(of: Run | None = None, count: int = 120, **kinds: object) -> MonitorUpdate:
    """A second attempt that passed where the first died, and goes on."""
    snapshot = snapshot_of(
        gpu(),
        host(),
        *steps(count, 500),
        *lines(*(f"{{'loss': '1.{n}', 'learning_rate': '9.8e-05'}}" for n in range(30))),
    )
    first = attempt(status=RunStatus.FAILED, step=5, peak_gpu_bytes=int(23.1 * GIB))
    treatment = Treatment(
        "gpu_oom.train", "halve_batch", "halve the batch", HALVE.changes, {}, Path("train.yaml.bak")
    )
    second = attempt(
        2, treatment=treatment, outcome=Outcome.CURED, peak_gpu_bytes=int(18.4 * GIB), step=count
    )
    values: dict[str, object] = {
        "at": START + 60 + count * 1.25,
        "run": of or run(),
        "snapshot": snapshot,
        "diagnosis": Diagnosis(
            (), (Blind("run.killed", ("exit",)), Blind("slow.throttled", ("gpu",)))
        ),
        "status": RunStatus.RUNNING,
        "attempts": (first, second),
        "previous": first,
    }
    return MonitorUpdate(**(values | kinds))  # type: ignore[arg-type] # each value is its field's
