"""Owns a Services without an engine: it records what is asked for, and proposes as it is given."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from diagnostics.errors import LlamavetError
from diagnostics.findings import Finding, Fix, Language, Safety, Text
from diagnostics.monitor_update import MonitorUpdate, Proposal
from diagnostics.runs.model import Run
from tests.tui.real_configs import RealConfigs
from tests.tui.samples import NO_TEXT, run

DIFF = """\
--- train.yaml
+++ train.yaml
@@ -24,6 +24,6 @@
 ### train
-per_device_train_batch_size: 8  # as large as it goes
-gradient_accumulation_steps: 2
+per_device_train_batch_size: 4  # as large as it goes
+gradient_accumulation_steps: 4
 learning_rate: 1.0e-4
 num_train_epochs: 3.0
"""


@dataclass
class FakeSubscription:
    update: MonitorUpdate | None
    publish: Callable[[MonitorUpdate], None] | None = None
    stopped: bool = False

    def start(self, publish: Callable[[MonitorUpdate], None]) -> None:
        self.publish = publish
        if self.update is not None:
            publish(self.update)

    def stop(self) -> None:
        self.stopped = True


@dataclass
class FakeServices(RealConfigs):
    """Records what is asked for; publishes the update given for a run's name."""

    updates: dict[str, MonitorUpdate] = field(default_factory=dict)
    runs: Sequence[Run] = ()
    read_only: bool = False
    language: Language = Language.EN
    error: LlamavetError | None = None
    """Raised by propose and treat."""
    treat_error: Exception | None = None
    gate: threading.Event | None = None
    """Held shut, treat waits for it."""
    asked: list[str] = field(default_factory=list)
    subscriptions: list[FakeSubscription] = field(default_factory=list)

    def list_runs(self) -> Sequence[Run]:
        self.asked.append("list_runs")
        if self.error is not None:
            raise self.error
        return self.runs

    def watch(self, run: Run) -> FakeSubscription:
        self.asked.append(f"watch {run.name}")
        self.subscriptions.append(FakeSubscription(self.updates.get(run.name)))
        return self.subscriptions[-1]

    def propose(self, run: Run, finding: Finding | None, fix: Fix) -> Proposal:
        self.asked.append(f"propose {fix.id}")
        if self.error is not None:
            raise self.error
        unsafe = fix.safety is Safety.UNSAFE
        return Proposal(
            run=run,
            finding=finding,
            fix=fix,
            title=fix.title,
            diff=DIFF,
            command=("llamafactory-cli", "train", "train.yaml"),
            consequences=(
                Text("The run is dead: nothing is stopped.", "训练已结束，无需停止。"),
                Text(
                    "It starts from the beginning: no checkpoint was saved before step 5.",
                    "从头开始：第 5 步之前没有保存检查点。",
                ),
                Text(
                    "saves/qwen/lora keeps its files; trainer_log.jsonl is moved aside.",
                    "保留 saves/qwen/lora 中的文件；trainer_log.jsonl 会被移走。",
                ),
            ),
            stops=False,
            relaunches=True,
            warning=Text("What is learned may change.", "训练结果可能改变。")
            if unsafe
            else NO_TEXT,
        )

    def treat(self, proposal: Proposal, on_progress: Callable[[str], None]) -> Run:
        self.asked.append(f"treat {proposal.fix.id if proposal.fix else proposal.title.en}")
        if self.gate is not None:
            on_progress("wrote train.yaml")
            self.gate.wait(10)
        if self.treat_error is not None:
            raise self.treat_error
        return run("qwen-lora-2") if proposal.relaunches else proposal.run

    def propose_relaunch(self, run: Run) -> Proposal:
        command = run.launch.argv if run.launch else ()
        title = Text("relaunch", "重启")
        return Proposal(run, None, None, title, "", command, (), False, True, NO_TEXT)

    def propose_stop(self, run: Run) -> Proposal:
        what = (Text("2 processes get SIGTERM.", "向 2 个进程发送 SIGTERM。"),)
        return Proposal(run, None, None, Text("stop", "停止"), "", (), what, True, False, NO_TEXT)

    def undo(self, run: Run) -> str:
        self.asked.append(f"undo {run.name}")
        return "train.yaml is as it was before attempt 2"
