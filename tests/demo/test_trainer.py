"""The trainer as a process: how it dies, trains, resumes and refuses."""

import ast
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from diagnostics.demo.trainer import BANNER, main

CURED = ("per_device_train_batch_size=4", "gradient_accumulation_steps=4")
BATCH = "per_device_train_batch_size"
SCHEDULES = ["linear", "cosine", "constant", "constant_with_warmup"]
SIZE = r"([\d.]+) (GiB|MiB)"
OUT_OF_MEMORY = re.compile(
    rf"^torch\.OutOfMemoryError: CUDA out of memory\. Tried to allocate {SIZE}\. "
    rf"GPU 0 has a total capacity of {SIZE} of which {SIZE} is free\. "
    rf"Including non-PyTorch memory, this process has {SIZE} memory in use\. "
    rf"Of the allocated memory {SIZE} is allocated by PyTorch, "
    rf"and {SIZE} is reserved by PyTorch but unallocated\. "
    r"If reserved but unallocated memory is large try setting "
    r"PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation\.  "
    r"See documentation for Memory Management  \(https://\S+\)$",
    re.MULTILINE,
)
BAR = re.compile(
    r"(?P<pct>\d+)%\|[^|]*\| *(?P<n>\d+)/(?P<total>\d+) "
    r"\[(?P<elapsed>[\d:]+)<(?P<eta>[\d:?]+), *(?P<rate>[\d.?]+) ?(?P<unit>s/it|it/s|examples/s)\]"
)
FACTORY = re.compile(
    r"^\[(INFO|WARNING)\|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] llamafactory\.[\w.]+:\d+ >> "
)
TRANSFORMERS = re.compile(
    r"\[(INFO|WARNING)\|\w+\.py:\d+\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} >> "
)


def rows_of(demo) -> list[dict[str, Any]]:
    text = (demo.output_dir / "trainer_log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def metrics_of(log: str) -> list[dict[str, Any]]:
    return [ast.literal_eval(text) for text in re.findall(r"\{'[\w/]+': [^{}]*\}", log)]


def last_line(log: str) -> str:
    return log.rstrip().splitlines()[-1]


def test_the_demo_as_it_comes_runs_out_of_memory_in_the_long_batch(demo) -> None:
    assert demo.run() == 1
    found = OUT_OF_MEMORY.search(demo.log)
    assert found is not None
    requested, capacity, free, process, allocated, cached = (
        float(number) / (1 if unit == "GiB" else 1024)
        for number, unit in zip(found.groups()[::2], found.groups()[1::2], strict=True)
    )
    assert capacity == 23.65
    assert requested > free
    assert free + process == pytest.approx(capacity, abs=0.02)
    assert process > allocated + cached
    assert [row["current_steps"] for row in rows_of(demo)] == list(range(1, 10))
    assert not list(demo.output_dir.glob("checkpoint-*"))


def test_the_out_of_memory_traceback_stands_behind_the_bar_and_the_bar_is_drawn_after_it(
    demo,
) -> None:
    demo.run()
    assert re.search(r"it/s\]Traceback \(most recent call last\):\n", demo.log)
    assert re.search(r'File "\S+/transformers/trainer\.py", line \d+, in training_step', demo.log)
    assert last_line(demo.log).endswith("it/s]")


@pytest.mark.parametrize(
    "change",
    [
        CURED,
        ("cutoff_len=1024",),
        ("enable_liger_kernel=true",),
    ],
)
def test_each_of_the_usual_remedies_lets_it_train_to_the_end(demo, change: tuple[str, ...]) -> None:
    assert demo.run(*change) == 0
    assert rows_of(demo)[-1]["percentage"] == 100.0


def test_expandable_segments_alone_are_no_remedy(demo) -> None:
    assert demo.run(PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True") == 1


def test_its_first_line_says_that_it_is_simulated(demo) -> None:
    demo.run()
    assert demo.log.startswith(BANNER + "\n")
    assert "SIMULATED" in BANNER


def test_a_cured_training_leaves_all_files_of_a_finished_one(demo) -> None:
    assert demo.run(*CURED) == 0
    names = {path.name for path in demo.output_dir.iterdir()}
    assert names >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "all_results.json",
        "train_results.json",
        "trainer_state.json",
        "trainer_log.jsonl",
        "checkpoint-20",
        "checkpoint-40",
        "checkpoint-60",
    }
    results = json.loads((demo.output_dir / "all_results.json").read_bytes())
    assert set(results) == {
        "epoch",
        "total_flos",
        "train_loss",
        "train_runtime",
        "train_samples_per_second",
        "train_steps_per_second",
    }
    state = json.loads((demo.output_dir / "checkpoint-60" / "trainer_state.json").read_bytes())
    assert state["global_step"] == state["max_steps"] == 60
    assert state["train_batch_size"] == 4
    assert [row["step"] for row in state["log_history"]] == list(range(1, 61))
    assert {"loss", "grad_norm", "learning_rate", "epoch"} <= set(state["log_history"][0])


def test_trainer_log_has_the_keys_of_the_real_one_and_a_last_row_without_loss(demo) -> None:
    demo.run(*CURED)
    rows = rows_of(demo)
    always = {
        "current_steps",
        "total_steps",
        "epoch",
        "percentage",
        "elapsed_time",
        "remaining_time",
    }
    assert all(set(row) == always | {"loss", "lr"} for row in rows[:-1])
    assert set(rows[-1]) == always
    assert all(re.fullmatch(r"\d+:\d\d:\d\d", row["elapsed_time"]) for row in rows)
    assert rows[0]["loss"] > 1.6
    assert rows[-2]["loss"] < 1.3


def test_the_log_tells_the_header_that_the_config_means(demo) -> None:
    demo.run(*CURED)
    header = dict(re.findall(r">>   ([A-Z][^=\n]*?) = ([\d,]+)", demo.log))
    assert header == {
        "Num examples": "32",
        "Num Epochs": "30",
        "Num update steps per epoch": "2",
        "Instantaneous batch size per device": "4",
        "Total train batch size (w. parallel, distributed & accumulation)": "16",
        "Gradient Accumulation steps": "4",
        "Total optimization steps": "60",
        "Number of trainable parameters": "12,156,928",
    }
    assert "trainable params: 12,156,928 || all params: 3,224,906,752" in demo.log


def test_metrics_are_text_of_four_digits_and_stand_between_two_drawings_of_the_bar(demo) -> None:
    demo.run(*CURED)
    metrics = metrics_of(demo.log)
    assert len(metrics) == 61
    assert set(metrics[0]) == {"loss", "grad_norm", "learning_rate", "epoch"}
    assert metrics[1]["epoch"] == "1"
    assert metrics[-1].keys() >= {"train_runtime", "train_loss"}
    assert re.search(r"\]\r +\r\{'loss': '[\d.]+', [^}]*\}\n\r +\d+%\|", demo.log)


def test_bars_and_log_lines_have_the_real_forms(demo) -> None:
    demo.run(*CURED)
    pieces = re.split(r"[\r\n]", demo.log)
    for name in ("Converting format of dataset", "Running tokenizer on dataset", "Loading weights"):
        bars = [piece for piece in pieces if piece.startswith(name)]
        assert all(BAR.search(bar) for bar in bars)
        assert "100%|██████████|" in bars[-1]
    assert sum(bool(FACTORY.match(piece)) for piece in pieces) >= 8
    assert sum(bool(TRANSFORMERS.search(piece)) for piece in pieces) >= 12
    assert "***** train metrics *****" in pieces
    assert any(piece.startswith("Training completed. Do not forget") for piece in pieces)


def test_after_a_late_out_of_memory_the_cured_relaunch_resumes_from_the_checkpoint(demo) -> None:
    assert demo.run(LLAMAVET_DEMO_LONG_BATCH_AT="25") == 1
    assert rows_of(demo)[-1]["current_steps"] == 24
    assert demo.run(*CURED, LLAMAVET_DEMO_LONG_BATCH_AT="25") == 0
    assert "Resuming training from saves/demo/checkpoint-20.\n" in demo.log
    assert "Resuming training from checkpoint with epoch 10 and global step 20\n" in demo.log
    assert "per_device_train_batch_size: 4 (from args) != 8 (from trainer_state.json)" in demo.log
    steps = [row["current_steps"] for row in rows_of(demo)]
    assert steps == [*range(1, 25), *range(21, 61), 60]
    assert int(BAR.findall(demo.log.split("Running training")[1])[0][1]) == 20


def test_overwrite_output_dir_starts_anew_and_deletes_the_trainer_log(demo) -> None:
    demo.run(LLAMAVET_DEMO_LONG_BATCH_AT="25")
    assert demo.run(*CURED, "overwrite_output_dir=true") == 0
    assert "Previous trainer log in this folder will be deleted." in demo.log
    assert "Resuming" not in demo.log
    assert [row["current_steps"] for row in rows_of(demo)] == [*range(1, 61), 60]


def test_a_finished_training_that_is_relaunched_ends_at_once_with_success(demo) -> None:
    demo.run(*CURED)
    assert demo.run(*CURED) == 0
    results = json.loads((demo.output_dir / "all_results.json").read_bytes())
    assert results["train_loss"] == 0.0


def test_a_torn_checkpoint_and_another_rank_are_refused(demo) -> None:
    demo.run(LLAMAVET_DEMO_LONG_BATCH_AT="25")
    assert demo.run(*CURED, "lora_rank=16") == 1
    assert "RuntimeError: Error(s) in loading state_dict" in demo.log
    assert "size mismatch for " in last_line(demo.log)
    (demo.output_dir / "checkpoint-20" / "trainer_state.json").write_bytes(b"")
    assert demo.run(*CURED) == 1
    assert last_line(demo.log).startswith("json.decoder.JSONDecodeError: ")
    (demo.output_dir / "checkpoint-20" / "trainer_state.json").unlink()
    assert demo.run(*CURED) == 1
    assert last_line(demo.log).startswith("FileNotFoundError: ")


def test_a_finished_model_without_checkpoints_is_not_trained_over(demo) -> None:
    demo.output_dir.mkdir(parents=True)
    (demo.output_dir / "adapter_model.safetensors").write_bytes(b"")
    assert demo.run() == 1
    assert last_line(demo.log) == (
        "ValueError: Output directory already exists and is not empty. "
        "Please set `overwrite_output_dir`."
    )


def test_save_total_limit_keeps_the_newest_checkpoints(demo) -> None:
    assert demo.run(*CURED, "save_total_limit=1") == 0
    assert [path.name for path in demo.output_dir.glob("checkpoint-*")] == ["checkpoint-60"]
    assert "Deleting older checkpoint [saves/demo/checkpoint-40]" in demo.log


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "per_device_batchsize=4",
            "ValueError: Some keys are not used by the HfArgumentParser: ['per_device_batchsize']",
        ),
        ("finetuning_type=lorra", "AssertionError: Invalid fine-tuning method."),
        ("dataset=alpaca", "ValueError: Undefined dataset alpaca in dataset_info.json."),
        ("fp16=true", "ValueError: At most one of fp16 and bf16 can be True, but not both"),
        (
            "per_device_train_batch_size=eight",
            f"ValueError: {BATCH} must be a number, not 'eight'.",
        ),
        (
            "per_device_train_batch_size=0",
            f"ValueError: {BATCH} must be a whole number of at least 1, not '0'.",
        ),
        (
            "resume_from_checkpoint=true",
            "ValueError: No valid checkpoint found in output directory (saves/demo)",
        ),
        (
            "lr_scheduler_type=cosin",
            f"ValueError: cosin is not a valid SchedulerType, please select one of {SCHEDULES}",
        ),
    ],
)
def test_a_bad_config_ends_with_the_error_of_the_real_stack(demo, override: str, line: str) -> None:
    assert demo.run(override) == 1
    assert last_line(demo.log) == line
    assert "Traceback (most recent call last):" in demo.log


def test_yaml_that_does_not_parse_ends_with_what_is_wrong_and_where(demo) -> None:
    demo.config.write_text("stage: sft\n  do_train: true\n", encoding="utf-8")
    assert demo.run() == 1
    assert "yaml.scanner.ScannerError: mapping values are not allowed" in demo.log
    assert last_line(demo.log) == '  in "demo.yaml", line 2, column 11'


def test_a_config_that_is_not_there_ends_with_the_files_error(demo) -> None:
    demo.config.unlink()
    assert demo.run() == 1
    assert last_line(demo.log).startswith("FileNotFoundError: ")


def test_keys_that_do_nothing_here_are_named(demo) -> None:
    assert demo.run(*CURED, "plot_loss=true", "eval_accumulation_steps=8") == 0
    named = "SIMULATED TRAINING: without effect here: eval_accumulation_steps, plot_loss\n"
    assert named in demo.log


def test_a_model_larger_than_the_card_dies_while_loading(demo) -> None:
    assert demo.run("finetuning_type=full", "model_name_or_path=Qwen/Qwen2.5-7B-Instruct") == 1
    assert OUT_OF_MEMORY.search(demo.log)
    assert "in from_pretrained" in demo.log
    assert not demo.output_dir.exists()


def test_sigint_ends_it_with_a_keyboard_interrupt(demo) -> None:
    process = demo.start_training()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == -signal.SIGINT
    assert last_line(demo.log) == "KeyboardInterrupt"


def test_sigterm_ends_it_at_once_and_silently(demo) -> None:
    process = demo.start_training()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == -signal.SIGTERM
    assert "Traceback" not in demo.log


def test_without_a_config_it_says_how_to_use_it() -> None:
    assert main(["train"]) == 2


def test_starting_it_loads_no_screen_and_no_driver() -> None:
    code = (
        "import sys, diagnostics.demo.trainer;"
        "print(sorted({'textual', 'rich', 'pynvml', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        (sys.executable, "-P", "-c", code),
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
