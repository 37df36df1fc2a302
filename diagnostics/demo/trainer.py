"""Owns the demo's trainer: a process that behaves like LLaMA-Factory's, with nothing behind it.

`python -P -m diagnostics.demo.trainer train demo.yaml [key=value ...]` in the demo's folder. Its
first line says that all is simulated; the formats after it are the real ones.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from diagnostics.demo import checkpoints
from diagnostics.demo.card import Card, CardFullError
from diagnostics.demo.checkpoints import TrainerState
from diagnostics.demo.console import Bar, factory_line, transformers_line, wait_with
from diagnostics.demo.dataset import Sample, dataset_file, read_samples
from diagnostics.demo.failures import SimulatedError, out_of_memory
from diagnostics.demo.gpu import SIMULATED_GPU
from diagnostics.demo.loop import Job, Loop
from diagnostics.demo.memory import Recipe, load_allocations
from diagnostics.demo.meter import Meter
from diagnostics.demo.pace import Pace, read_pace
from diagnostics.demo.schedule import Schedule, plan_schedule
from diagnostics.demo.settings import Settings, read_settings

BANNER = "SIMULATED TRAINING: llamavet's demo trainer; no GPU, no model, no LLaMA-Factory."
_USAGE = "usage: python -P -m diagnostics.demo.trainer train CONFIG.yaml [key=value ...]"
_METHODS = {"lora": "LoRA", "freeze": "Freeze", "full": "Full"}
_BAR_PARTS = 5
_SHOWN_TOKENS = 24


def main(argv: Sequence[str]) -> int:
    """Run one simulated training and return its exit code."""
    print(BANNER, flush=True)
    if len(argv) < 2 or argv[0] != "train":  # noqa: PLR2004 - the command and its config
        print(_USAGE, file=sys.stderr)
        return 2
    try:
        _train(read_settings(Path(argv[1]), argv[2:]), read_pace())
    except SimulatedError as error:
        sys.stderr.write(error.traceback())
        return 1
    except CardFullError as full:
        sys.stderr.write(out_of_memory(full).traceback())
        return 1
    return 0


def _train(settings: Settings, pace: Pace) -> None:
    if settings.inert_keys:
        print("SIMULATED TRAINING: without effect here:", ", ".join(settings.inert_keys))
    if settings.compute_dtype == "None":
        message = "We recommend enable mixed precision training."
        factory_line("hparams.parser", 149, message, level="WARNING")
    checkpoint = _find_checkpoint(settings)
    factory_line(
        "hparams.parser",
        523,
        "Process rank: 0, world size: 1, device: cuda:0, distributed training: False, "
        f"compute dtype: {settings.compute_dtype}",
    )
    card = Card(
        expandable_segments="expandable_segments:True"
        in os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "")
    )
    meter = Meter(Path(SIMULATED_GPU), card)
    transformers_line("tokenization_utils_base.py", 1869, "loading file tokenizer.json")
    transformers_line("configuration_utils.py", 769, "loading configuration file config.json")
    samples = _load_dataset(settings, pace)
    _load_model(settings, card, meter, pace)
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    _drop_old_log(settings)
    schedule = _schedule(settings, pace, samples)
    state, logging_steps, save_steps = _restore(settings, checkpoint)
    _print_header(settings, schedule)
    if checkpoint is not None:
        _print_resume(schedule, state)
    job = Job(settings, schedule, card, meter, pace, logging_steps, save_steps)
    Loop(job, state).run()


def _find_checkpoint(settings: Settings) -> Path | None:
    checkpoint, unasked = checkpoints.resume_from(
        settings.output_dir,
        wanted=settings.resume_from_checkpoint,
        overwrite=settings.overwrite_output_dir,
    )
    if unasked:
        factory_line("hparams.parser", 144, f"Resuming training from {checkpoint}.")
        message = "Change `output_dir` or use `overwrite_output_dir` to avoid."
        factory_line("hparams.parser", 144, message)
    return checkpoint


def _load_dataset(settings: Settings, pace: Pace) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    for name in settings.datasets:
        path = dataset_file(settings.dataset_dir, name)
        factory_line("data.loader", 144, f"Loading dataset {path.name}...")
        samples += read_samples(path)[: settings.max_samples]
    for description in ("Converting format of dataset", "Running tokenizer on dataset"):
        bar = Bar(len(samples), description=description, unit="examples")
        wait_with(bar, _parts(len(samples)), pace.seconds(0.25))
        bar.close()
    print("training example:\ninput_ids:")
    # No tokenizer is here; bytes stand for the numbers that a real one gives.
    print(list(samples[0].prompt.encode()[:_SHOWN_TOKENS]))
    print(f"inputs:\n{samples[0].prompt}\nlabels:\n{samples[0].response}", flush=True)
    return tuple(samples)


def _load_model(settings: Settings, card: Card, meter: Meter, pace: Pace) -> None:
    recipe = settings.recipe
    if recipe.quantization_bit is not None:
        message = f"Quantizing model to {recipe.quantization_bit} bit with bitsandbytes."
        factory_line("model.model_utils.quantization", 144, message)
    factory_line("model.model_utils.kv_cache", 144, "KV cache is disabled during training.")
    name = f"{settings.model_path}/model.safetensors.index.json"
    transformers_line("modeling_utils.py", 748, f"loading weights file {name}")
    meter.loading()
    allocations = load_allocations(recipe)
    bar = Bar(len(allocations), description="Loading weights")
    done = 0
    for count in _parts(len(allocations)):
        pace.wait(0.6 / _BAR_PARTS)
        card.run(allocations[done : done + count])
        done += count
        meter.loading()
        bar.advance(count)
    bar.close()
    if recipe.fused_loss:
        message = "Liger kernel has been applied to the model."
        factory_line("model.model_utils.liger_kernel", 144, message)
    if recipe.gradient_checkpointing:
        message = "Gradient checkpointing enabled."
        factory_line("model.model_utils.checkpointing", 144, message)
    message = "Using torch SDPA for faster training and inference."
    factory_line("model.model_utils.attention", 144, message)
    _print_method(recipe)


def _print_method(recipe: Recipe) -> None:
    if not recipe.pure_bf16:
        factory_line("model.adapter", 144, "Upcasting trainable params to float32.")
    factory_line("model.adapter", 144, f"Fine-tuning method: {_METHODS[recipe.finetuning_type]}")
    if recipe.finetuning_type == "lora":
        message = f"Found linear modules: {','.join(recipe.lora_targets)}"
        factory_line("model.model_utils.misc", 144, message)
    trained, all_params = recipe.trainable_params, recipe.all_params
    factory_line(
        "model.loader",
        144,
        f"trainable params: {trained:,} || all params: {all_params:,} "
        f"|| trainable%: {100 * trained / all_params:.4f}",
    )


def _drop_old_log(settings: Settings) -> None:
    log = settings.output_dir / "trainer_log.jsonl"
    if settings.overwrite_output_dir and log.exists():
        message = "Previous trainer log in this folder will be deleted."
        factory_line("train.callbacks", 149, message, level="WARNING")
        log.unlink()


def _schedule(settings: Settings, pace: Pace, samples: Sequence[Sample]) -> Schedule:
    return plan_schedule(
        examples=len(samples),
        batch_size=settings.batch_size,
        accumulation_steps=settings.accumulation_steps,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        warmup_steps=settings.warmup_steps,
        learning_rate=settings.learning_rate,
        scheduler=settings.scheduler,
        longest_tokens=min(settings.cutoff_len, max(sample.tokens for sample in samples)),
        long_batch_at=pace.long_batch_at,
        seed=settings.seed,
    )


def _restore(settings: Settings, checkpoint: Path | None) -> tuple[TrainerState, int, int]:
    """Return the state to go on from, and the logging and saving steps, which a resume keeps."""
    if checkpoint is None:
        return TrainerState(), settings.logging_steps, settings.save_steps
    state, raw = checkpoints.load_state(checkpoint, settings.recipe)
    logging_steps = _kept(raw, "logging_steps", settings.logging_steps)
    save_steps = _kept(raw, "save_steps", settings.save_steps)
    now = {
        "logging_steps": settings.logging_steps,
        "save_steps": settings.save_steps,
        "per_device_train_batch_size": settings.batch_size,
    }
    batch = _kept(raw, "train_batch_size", settings.batch_size)
    then = (logging_steps, save_steps, batch)
    differing = [
        f"\n\t{key}: {value} (from args) != {old} (from trainer_state.json)"
        for (key, value), old in zip(now.items(), then, strict=True)
        if value != old
    ]
    if differing:
        message = "Warning: The following arguments do not match the ones in the "
        message += "`trainer_state.json` within the checkpoint directory: "
        transformers_line("trainer_utils.py", 1099, message + "".join(differing), level="WARNING")
    return state, logging_steps, save_steps


def _kept(raw: dict[str, object], key: str, default: int) -> int:
    value = raw.get(key)
    return value if isinstance(value, int) and value > 0 else default


def _print_header(settings: Settings, schedule: Schedule) -> None:
    total_batch = settings.batch_size * settings.accumulation_steps
    lines = (
        (1469, "***** Running training *****"),
        (1470, f"  Num examples = {schedule.examples:,}"),
        (1471, f"  Num Epochs = {schedule.epochs:,}"),
        (1472, f"  Num update steps per epoch = {schedule.steps_per_epoch:,}"),
        (1473, f"  Instantaneous batch size per device = {settings.batch_size:,}"),
        (
            1476,
            f"  Total train batch size (w. parallel, distributed & accumulation) = {total_batch:,}",
        ),
        (1477, f"  Gradient Accumulation steps = {settings.accumulation_steps}"),
        (1478, f"  Total optimization steps = {schedule.total_steps:,}"),
        (1479, f"  Number of trainable parameters = {settings.recipe.trainable_params:,}"),
    )
    for line, text in lines:
        transformers_line("trainer.py", line, text)


def _print_resume(schedule: Schedule, state: TrainerState) -> None:
    epochs, into = divmod(state.step, schedule.steps_per_epoch)
    batches = into * schedule.accumulation_steps
    transformers_line(
        "trainer.py",
        1483,
        f"  Resuming training from checkpoint with epoch {epochs} and global step {state.step}",
    )
    transformers_line(
        "trainer.py",
        1487,
        f"  Fast-forwarding the dataloader past {epochs} epochs and {batches} batches to resume "
        "from the exact training state.",
    )


def _parts(total: int) -> tuple[int, ...]:
    """Return a whole number cut into about equal parts, none of them empty."""
    ends = sorted({total * part // _BAR_PARTS for part in range(1, _BAR_PARTS + 1)} - {0})
    return tuple(end - start for start, end in zip([0, *ends], ends, strict=False))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
