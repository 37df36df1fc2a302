"""Owns what resuming foretells: from a checkpoint that is named, or by itself from output_dir."""

from collections.abc import Iterator

from diagnostics.config.effective import EffectiveConfig
from diagnostics.findings import Severity, Text
from diagnostics.precheck.folders import may_be_here, surely_absent
from diagnostics.precheck.foreseen import TRAINER, Foreseen, Named
from diagnostics.precheck.surroundings import OutputFolder, SavedState, Surroundings

_RESUME, _OUTPUT = "resume_from_checkpoint", "output_dir"
_LOADING = (*TRAINER, "transformers/trainer.py:_load_from_checkpoint")


def foresee_resuming(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    """Yield what would be printed because of what the training goes on from."""
    stage, method = config.value("stage"), config.value("finetuning_type")
    if stage == "ppo" or (stage == "rm" and method in {"full", "freeze"}):
        return  # LLaMA-Factory does not resume these
    asked = config.get(_RESUME, None)
    if asked is True:
        yield from _from_highest(config, around)
    elif isinstance(asked, str):
        yield from _from_named(config, asked, around)
    elif around.output is not None and config.value("overwrite_output_dir") is not True:
        yield from _by_itself(config, around.output)


def _from_highest(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    output, folder = around.output, str(config.value(_OUTPUT))
    if output is None or not may_be_here(folder, around):
        return
    if output.last is None:
        said = f"ValueError: No valid checkpoint found in output directory ({folder})"
        yield Foreseen(said, (_RESUME, _OUTPUT), TRAINER)
    else:
        yield from _from_checkpoint(config, output.last, (_RESUME, _OUTPUT))


def _from_named(config: EffectiveConfig, asked: str, around: Surroundings) -> Iterator[Foreseen]:
    named = around.path(_RESUME)
    if named is not None and surely_absent(named, around):
        said = f"ValueError: Can't find a valid checkpoint at {asked}"
        yield Foreseen(said, (_RESUME,), _LOADING)
    elif around.resumed is not None:
        yield from _from_checkpoint(config, around.resumed, (_RESUME,))


def _by_itself(config: EffectiveConfig, output: OutputFolder) -> Iterator[Foreseen]:
    if output.last is not None:
        yield from _from_checkpoint(config, output.last, (_OUTPUT,))
    elif output.has_weights:
        said = "Output directory already exists and is not empty."
        yield Foreseen(
            f"ValueError: {said} Please set `overwrite_output_dir`.",
            (_OUTPUT, "overwrite_output_dir"),
        )


def _from_checkpoint(
    config: EffectiveConfig, saved: SavedState, keys: tuple[str, ...]
) -> Iterator[Foreseen]:
    before = (f"Resuming training from {saved.path}.",) if keys == (_OUTPUT,) else ()
    if not saved.has_weights:
        yield Foreseen(f"ValueError: Can't find a valid checkpoint at {saved.path}", keys, _LOADING)
        return
    if saved.fault:
        yield _torn(saved, keys, before)
        return
    rank = config.value("lora_rank")
    if saved.lora_rank is not None and isinstance(rank, int) and rank != saved.lora_rank:
        width = 1
        said = (
            "RuntimeError: Error(s) in loading state_dict for PeftModel:\n\tsize mismatch for"
            " base_model.model.lora_A.default.weight: copying a param with shape"
            f" torch.Size([{saved.lora_rank}, {width}]) from checkpoint, the shape in current"
            f" model is torch.Size([{rank}, {width}])."
        )
        yield Foreseen(said, ("lora_rank", *keys), _LOADING, context=before)
        return
    if saved.lora_rank is None or config.value("finetuning_type") != "full":
        yield from _ended(config, saved, keys)
        return
    said = f"Can't find a checkpoint index (model.safetensors.index.json) in {saved.path}"
    keys = ("finetuning_type", *keys)
    yield Foreseen(f"ValueError: {said}", keys, _LOADING, context=before)


def _ended(config: EffectiveConfig, saved: SavedState, keys: tuple[str, ...]) -> Iterator[Foreseen]:
    """Foresee that nothing is left to train: the run has come to its end, and asks for no more."""
    most = saved.max_steps
    if most is None or not 0 < most <= saved.step or _asks_for_more(config, saved):
        return
    cause = Text(
        f"{saved.path} is the last of its {most} steps: the training would go on from there and"
        " end at once.",
        f"{saved.path} 已是全部 {most} 步的终点：训练会从该处续训并立即结束。",
    )
    named = Named("ckpt.resume_finished", {}, cause, Severity.WARNING)
    yield Foreseen(cause.en, keys, (), named=named)


def _asks_for_more(config: EffectiveConfig, saved: SavedState) -> bool:
    """Tell whether the config may make more steps than the run that saved the checkpoint had."""
    steps = config.value("max_steps")
    if isinstance(steps, int) and steps > 0:
        return steps > saved.step
    epochs, batch = config.value("num_train_epochs"), config.value("per_device_train_batch_size")
    if not isinstance(epochs, int | float) or not isinstance(batch, int):
        return True
    return (
        saved.epochs is None
        or saved.batch_size is None
        or epochs > saved.epochs
        or batch < saved.batch_size
    )


def _torn(saved: SavedState, keys: tuple[str, ...], before: tuple[str, ...]) -> Foreseen:
    path = f"{saved.path}/{saved.fault_file or 'trainer_state.json'}"
    if saved.fault_file == "optimizer.pt":
        said = (
            "RuntimeError: PytorchStreamReader failed reading zip archive: optimizer.pt is cut off"
        )
        frames = (*TRAINER, "transformers/trainer.py:_load_optimizer_and_scheduler")
    elif "missing" in saved.fault:
        said = f"FileNotFoundError: [Errno 2] No such file or directory: '{path}'"
        frames = (*TRAINER, "transformers/trainer_callback.py:load_from_json")
    else:
        said = f"json.decoder.JSONDecodeError: {path}: {saved.fault}"
        frames = (*TRAINER, "transformers/trainer_callback.py:load_from_json")
    return Foreseen(said, keys, frames, context=before)
