"""Recorded consoles of real trainings."""

from diagnostics.observations import (
    LogLine,
    MemoryDevice,
    MemoryPhase,
    OutOfMemory,
    Phase,
    RankExit,
    Traceback,
    TrainStep,
)
from tests.parsing.console_logs import LOGS, facts, of, parse, phases


def test_a_real_piped_training_has_every_step_at_its_place():
    seen = parse((LOGS / "lora_pipe.log").read_bytes())
    assert [step.step for step in of(TrainStep, seen)] == list(range(5, 51, 5))
    assert of(Traceback, seen) == []
    assert of(OutOfMemory, seen) == []
    assert phases(seen)[-1] is Phase.FINISHED
    assert facts(seen)["total_steps"] == 50
    assert facts(seen)["train_loss"] == 7.404


def test_a_real_terminal_recording_gives_the_same_steps():
    seen = parse((LOGS / "lora_pty.log").read_bytes())
    assert [step.step for step in of(TrainStep, seen)] == list(range(5, 51, 5))
    assert all("\r" not in line.text and "%|" not in line.text for line in of(LogLine, seen))
    assert phases(seen)[-1] is Phase.FINISHED


def test_a_real_failure_of_the_hosts_allocator_is_the_hosts():
    seen = parse((LOGS / "cpu_oom.log").read_bytes())
    (oom,) = of(OutOfMemory, seen)
    assert (oom.device, oom.phase, oom.step) == (MemoryDevice.HOST, MemoryPhase.TRAIN, 0)
    assert oom.requested_bytes == 2**30
    (traceback,) = of(Traceback, seen)
    assert traceback.exception == "RuntimeError"
    assert traceback.frames[-1].endswith("torch/autograd/graph.py:_engine_run_backward")


def test_a_real_kill_under_torchrun_names_the_rank_that_died_first():
    seen = parse((LOGS / "torchrun_kill.log").read_bytes())
    (root,) = [end for end in of(RankExit, seen) if end.root_cause]
    assert (root.rank, root.exit_code) == (0, -9)
    assert (1, -15) in [(end.rank, end.exit_code) for end in of(RankExit, seen)]
    assert of(OutOfMemory, seen) == []
    assert [one.rank for one in of(Traceback, seen)] == [1, None, None]
