"""A finding, its fixes and a run to report on."""

import math
from dataclasses import replace

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.unset import UNSET
from diagnostics.findings import (
    Diagnosis,
    Evidence,
    Finding,
    Fix,
    KeyChange,
    Safety,
    Severity,
    Text,
)
from diagnostics.history import Snapshot
from diagnostics.observations import (
    EvalPoint,
    TrainStep,
)
from diagnostics.report import Report, RunFacts
from diagnostics.report.remedy import best_fix, commands, work_out_remedy

GIB = 2**30


HOSTILE = "\x1b[2J</pre><script>alert(1)</script> ``` @someone #12 \u202e [x](http://e) & \ud800"


def fix(name: str, safety: Safety, *changes: KeyChange, caveat: str = "") -> Fix:
    return Fix(
        id=name,
        title=Text(f"do {name}", f"做 {name}"),
        why=Text(f"why {name}", f"为何 {name}"),
        price=Text(f"costs {name}", f"代价 {name}"),
        safety=safety,
        changes=changes,
        caveat=Text(caveat, caveat),
    )


HALVE = fix("halve", Safety.SAFE, KeyChange("per_device_train_batch_size", 4, 2))


SHORTER = fix("shorter", Safety.UNSAFE, KeyChange("cutoff_len", UNSET, 1024))


ADVICE = fix("advice", Safety.MANUAL)


CONFIG = EffectiveConfig(
    parse_document(b"stage: sft\nper_device_train_batch_size: 4  # mine\nlora_rank: 8\n")
)


def finding(*fixes: Fix, text: str = "the line", **parts: object) -> Finding:
    made = Finding(
        id="gpu_oom.train",
        severity=Severity.CRITICAL,
        title=Text("Out of memory", "显存不足"),
        cause=Text("It asked for too much.", "申请过多。"),
        evidence=(Evidence("stdout.log", 12, text),),
        fixes=fixes,
        primary=True,
    )
    return replace(made, **parts)  # type: ignore[arg-type]


def report(one: Finding | None, *, name: str = "runs/a", **parts: object) -> Report:
    diagnosis = Diagnosis((one,) if one is not None else ())
    best = best_fix(diagnosis)
    remedy = work_out_remedy(*best, CONFIG) if best is not None else None
    made = Report(
        run=RunFacts(config="a.yaml", status="failed", exit_code=1, step=3, total_steps=9),
        diagnosis=diagnosis,
        name=name,
        logs=("runs/a/stdout.log",),
        remedy=remedy,
        relaunch=commands(remedy, CONFIG, name=name),
    )
    return replace(made, **parts)  # type: ignore[arg-type]


def measured() -> Snapshot:
    steps = tuple(
        TrainStep(0.0, "log", n, n, loss=2.0 / n if n != 5 else math.nan, learning_rate=1e-4 / n)
        for n in range(1, 30)
    )
    return Snapshot(steps=steps, evals=(EvalPoint(0.0, "log", 1, 10, 1.25),))
