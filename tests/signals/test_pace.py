"""The signals of pace, of the preparation of data, and of what the machine did meanwhile."""

from pathlib import Path

import pytest

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.history import History
from diagnostics.observations import (
    GpuProcess,
    GpuSample,
    Missing,
    Phase,
    PhaseChange,
    ProcessState,
    RunFact,
)
from diagnostics.parsing.console import ConsoleParser
from diagnostics.signals import Context, Value, read_signal
from diagnostics.signals.sharding import active_params, zero_stage

GIB = 2**30
HEADER = b"""\
[INFO|2025-03-03 09:00:00] llamafactory.hparams.parser:143 >> Process rank: 0, world size: 2, device: cuda:0, distributed training: True, compute dtype: torch.bfloat16
[INFO|2025-03-03 09:00:18] llamafactory.model.loader:143 >> trainable params: 1,000 || all params: 1,000,000,000 || trainable%: 0
[INFO|trainer.py:2405] 2025-03-03 09:00:18,794 >> ***** Running training *****
[INFO|trainer.py:2408] 2025-03-03 09:00:18,888 >>   Instantaneous batch size per device = 5
[INFO|trainer.py:2411] 2025-03-03 09:00:18,907 >>   Total train batch size (w. parallel, distributed & accumulation) = 20
[INFO|trainer.py:2412] 2025-03-03 09:00:18,912 >>   Gradient Accumulation steps = 2
[INFO|trainer.py:2413] 2025-03-03 09:00:18,932 >>   Total optimization steps = 100
"""  # noqa: E501 - as printed


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def bars(steps: int, seconds: float) -> bytes:
    lines = [f" 1%|#| {n}/100 [{clock(n * seconds)}<01:00, 1.00s/it]" for n in range(steps + 1)]
    return "\r".join(lines).encode() + b"\r"


def seen(data: bytes, *, at: float = 1.0) -> History:
    history, parser = History(()), ConsoleParser("out.log")
    for observation in (*parser.feed(data, at), *parser.peek(at), *parser.finish(at)):
        history.add(observation)
    return history


def context(history: History, config: str | None = None, *, closed: bool = True) -> Context:
    document = None if config is None else parse_document(config.encode(), Path("c.yaml"))
    made = None if document is None else EffectiveConfig(document, None)
    return Context(history.snapshot(), made, closed=closed)


def value(name: str, one: Context) -> Value | Missing | None:
    signal = read_signal(name, one)
    return None if signal is None else signal.value


def gpu(index: int = 0, *, at: float = 1.0, **fields: object) -> GpuSample:
    given = {
        "memory_used_bytes": 30 * GIB,
        "memory_total_bytes": 80 * GIB,
        "utilization_pct": 90.0,
        "temperature_c": 60.0,
        "power_watts": 300.0,
        "power_limit_watts": 400.0,
        "sm_clock_mhz": 1400,
        "memory_clock_mhz": 1500,
        "processes": (),
        **fields,
    }
    return GpuSample(at, "host", index, f"GPU-{index}", "GPU", **given)  # type: ignore[arg-type]


def test_the_most_that_a_gpu_can_have_computed_follows_from_the_header_and_the_pace():
    one = context(
        seen(HEADER + bars(20, 10)), "cutoff_len: 1000\ndisable_gradient_checkpointing: true\n"
    )

    # 4 x 1e9 parameters x 20 samples x 1000 tokens, and a fortieth for attention, on 2 GPUs.
    assert value("pace.seconds_per_step", one) == pytest.approx(10)
    assert value("pace.most_tflops", one) == pytest.approx(4 * 1.025, rel=0.01)
    assert value("pace.seconds_per_batch", one) == pytest.approx(5)
    assert value("pace.seconds_per_sample", one) == pytest.approx(1)
    assert value("pace.seconds_left", one) == pytest.approx(800)


@pytest.mark.parametrize(
    ("data", "config"),
    [
        (HEADER + bars(3, 10), "cutoff_len: 1000\n"),
        (HEADER + bars(20, 10), None),
        (HEADER + bars(20, 10), "cutoff_len: many\n"),
        (HEADER + bars(20, 10), "stage: ppo\n"),
        (HEADER.replace(b"cuda:0", b"cpu") + bars(20, 10), "cutoff_len: 1000\n"),
        (bars(20, 10), "cutoff_len: 1000\n"),
    ],
)
def test_nothing_is_said_of_a_gpus_work_where_a_part_of_it_is_not_known(data, config):
    assert value("pace.most_tflops", context(seen(data), config)) is None


def test_a_model_of_experts_counts_with_what_a_token_passes_through():
    data = HEADER.replace(b"1,000,000,000", b"30,000,000,000") + bars(20, 10)
    dense = context(seen(data), "model_name_or_path: Qwen/Qwen3-32B\n")
    sparse = context(seen(data), "model_name_or_path: Qwen/Qwen3-30B-A3B\n")

    counted = [value("pace.most_tflops", one) for one in (dense, sparse)]
    whole, active = [one for one in counted if isinstance(one, float)]
    assert whole / active == pytest.approx(10)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", 3),
        ("/models/Qwen1.5-MoE-A2.7B", 2.7),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 12.9),
        ("deepseek-ai/DeepSeek-V2-Lite-Chat", 2.8),
        ("deepseek-ai/DeepSeek-R1", 37),
        ("openai/gpt-oss-20b", 3.6),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", None),
        ("Qwen/Qwen2.5-7B-Instruct", None),
        ("/data/A100/Llama-2-7B", None),
    ],
)
def test_experts_are_told_by_a_models_name(name: str, billions: float | None):
    assert active_params(name) == (None if billions is None else billions * 1e9)


@pytest.mark.parametrize(
    ("deepspeed", "stage"),
    [
        ("examples/deepspeed/ds_z3_config.json", 3),
        ("ds_z2_offload_config.json", 2),
        ("conf/zero3.json", 3),
        ("ds_config_3.json", 3),
        ("deepspeed/stage_1.json", 1),
        ({"zero_optimization": {"stage": 3}}, 3),
        ("cache/ds.json", None),
        ("z3/ds.json", None),
        ({"zero_optimization": []}, None),
        (7, None),
    ],
)
def test_the_stage_of_zero_is_told_by_the_configs_name(deepspeed: object, stage: int | None):
    assert zero_stage(deepspeed) == stage


@pytest.mark.parametrize(
    ("config", "name", "wanted"),
    [
        ("a/ds_z3_config.json", "deepspeed.zero2_config", "a/ds_z2_config.json"),
        ("a/ds_z3_offload_config.json", "deepspeed.zero2_config", "a/ds_z2_offload_config.json"),
        ("my_zero3.json", "deepspeed.zero2_config", "examples/deepspeed/ds_z2_config.json"),
        ("a/ds_z2_config.json", "deepspeed.zero2_config", None),
        ("a/ds_z2_offload_config.json", "deepspeed.without_offload_config", "a/ds_z2_config.json"),
        ("a/ds_z3_config.json", "deepspeed.without_offload_config", None),
    ],
)
def test_the_config_to_change_to_lies_beside_the_one_in_use(config, name, wanted):
    assert value(name, context(seen(b""), f"deepspeed: {config}\n")) == wanted


def test_the_preparations_share_is_of_it_and_of_the_whole_training():
    prepared = b"Running tokenizer on dataset: 100%|#| 900/900 [05:00<00:00, 3.0 examples/s]\n"
    one = context(seen(prepared + HEADER + bars(20, 2)))

    assert value("preprocess.seconds", one) == 300
    assert value("preprocess.samples_per_second", one) == 3
    assert value("preprocess.pct", one) == pytest.approx(60, abs=1)


def test_how_long_the_preparation_takes_is_told_by_its_bar_before_it_ends():
    begun = b"Running tokenizer on dataset:  10%|#| 100/1000 [10:00<1:30:00, 6.00s/ examples]\r"

    assert value("preprocess.expected_seconds", context(seen(begun))) == 6000


def test_the_time_since_the_last_step_is_told_while_a_run_is_watched():
    history = seen(HEADER + bars(20, 10), at=100.0)
    history.add(gpu(at=160.0))

    assert value("pace.silent_seconds", context(history, closed=False)) == 60
    assert value("pace.silent_steps", context(history, closed=False)) == pytest.approx(6)
    assert value("pace.silent_seconds", context(history)) is None


def test_a_gpus_use_is_that_of_the_training_phase_alone():
    history = History(())
    for utilization in [0.0] * 30:
        history.add(gpu(utilization_pct=utilization))
    history.add(PhaseChange(1.0, "out.log", 1, Phase.TRAINING))
    for _ in range(30):
        history.add(gpu(utilization_pct=80.0, throttle=("power cap",)))
        history.add(gpu(1, utilization_pct=20.0, throttle=("software thermal", "power cap")))

    one = context(history)
    assert value("gpu.utilization_pct", one) == pytest.approx(50)
    assert value("gpu.lowest_utilization_pct", one) == pytest.approx(20)
    assert value("gpu.highest_utilization_pct", one) == pytest.approx(80)
    assert value("gpu.slowed_pct", one) == pytest.approx(100)


def test_a_gpus_use_is_not_told_after_a_few_samples_or_where_it_cannot_be_read():
    history = History(())
    history.add(PhaseChange(1.0, "out.log", 1, Phase.TRAINING))
    for _ in range(30):
        history.add(gpu(utilization_pct=Missing("Not Supported")))
    for _ in range(3):
        history.add(gpu(1))

    assert value("gpu.utilization_pct", context(history)) is None
    assert value("gpu.slowed_pct", context(history)) is None


def test_processes_beside_the_runs_own_are_counted_by_their_pids():
    def beside(own: tuple[int, ...], *pids: int) -> Value | Missing | None:
        history = History(())
        history.add(gpu(processes=tuple(GpuProcess(pid, 10 * GIB) for pid in pids)))
        if own:
            history.add(ProcessState(1.0, "host", alive=True, pids=own))
        return value("gpu.other_processes", context(history))

    assert beside((7, 8), 7, 8) == 0
    assert beside((7, 8), 7, 99) == 1
    assert beside((), 7) == 0
    assert beside((), 7, 99) == 1
    assert beside((7,), 4001) == 0  # the driver counts as another namespace does


def test_the_trainers_own_throughput_is_passed_on():
    data = b"{'loss': 1.0, 'learning_rate': 1e-5, 'epoch': 0.1, 'throughput': 1234.5}\n"

    assert value("pace.tokens_per_second", context(seen(HEADER + bars(2, 1) + data))) == 1234.5


def test_a_facts_value_that_no_run_has_is_no_pace():
    history = seen(HEADER + bars(20, 10))
    history.add(RunFact(2.0, "out.log", 1, "total_batch_size", 0))

    assert value("pace.most_tflops", context(history, "cutoff_len: 1000\n")) is None
