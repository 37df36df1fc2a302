"""Owns the files of a simulated training: checkpoints, their resume, and the results at the end.

The weights in them are empty; names, order and the JSON files are the real ones; no pickles.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diagnostics.demo.failures import SimulatedError
from diagnostics.demo.memory import Recipe

STATE = "trainer_state.json"
_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
_MODEL_FILES = ("adapter_model.safetensors", "model.safetensors")
_NO_STATE = b"llamavet's demo: a simulated training has no state to keep.\n"
_NO_TENSORS = b'{"__metadata__":{"format":"pt"}}'


@dataclass(slots=True)
class TrainerState:
    """What a training knows of its past, as trainer_state.json holds it."""

    step: int = 0
    epoch: float = 0.0
    flops: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def document(self, fixed: Mapping[str, object]) -> dict[str, object]:
        """Return the whole trainer_state.json; `fixed` has the keys that do not change."""
        return {
            "best_global_step": None,
            "best_metric": None,
            "best_model_checkpoint": None,
            "epoch": self.epoch,
            "eval_steps": 500,
            "global_step": self.step,
            "is_hyper_param_search": False,
            "is_local_process_zero": True,
            "is_world_process_zero": True,
            "log_history": self.history,
            "num_input_tokens_seen": 0,
            "stateful_callbacks": {},
            "total_flos": self.flops,
            "trial_name": None,
            "trial_params": None,
            **fixed,
        }


def highest_checkpoint(output_dir: Path) -> Path | None:
    """Return the checkpoint with the highest number, whole or not."""
    return next(iter(reversed(_checkpoints(output_dir))), None)


def resume_from(
    output_dir: Path, *, wanted: str | bool | None, overwrite: bool
) -> tuple[Path | None, bool]:
    """Return the checkpoint a training starts from, and whether it was chosen unasked.

    Raises:
        SimulatedError: the checkpoint is not there, or a finished model is in the way.
    """
    if isinstance(wanted, str):
        if not Path(wanted).is_dir():
            raise SimulatedError("ValueError", f"Can't find a valid checkpoint at {wanted}")
        return Path(wanted), False
    found = highest_checkpoint(output_dir)
    if wanted is True:
        if found is None:
            raise SimulatedError(
                "ValueError", f"No valid checkpoint found in output directory ({output_dir})"
            )
        return found, False
    if overwrite:
        return None, False
    if found is None and any((output_dir / name).is_file() for name in _MODEL_FILES):
        raise SimulatedError(
            "ValueError",
            "Output directory already exists and is not empty. Please set `overwrite_output_dir`.",
            stack="parse",
        )
    return found, found is not None


def load_state(checkpoint: Path, recipe: Recipe) -> tuple[TrainerState, dict[str, object]]:
    """Return a checkpoint's state, and trainer_state.json as it was read.

    Raises:
        SimulatedError: it is torn, or the adapter in it has another shape.
    """
    path = checkpoint / STATE
    _check_adapter(checkpoint, recipe)
    try:
        raw = json.loads(path.read_bytes())
        state = TrainerState(
            step=int(raw["global_step"]),
            epoch=float(raw["epoch"]),
            flops=float(raw["total_flos"]),
            history=[dict(row) for row in raw["log_history"]],
        )
    except OSError as error:
        message = f"[Errno {error.errno}] {error.strerror}: '{path}'"
        raise SimulatedError("FileNotFoundError", message) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise SimulatedError("json.decoder.JSONDecodeError", str(error)) from error
    return state, raw


def write_checkpoint(
    folder: Path, recipe: Recipe, state: Mapping[str, object], *, model_only: bool
) -> None:
    """Write a checkpoint; trainer_state.json comes last, and makes it whole."""
    write_model(folder, recipe)
    if not model_only:
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            (folder / name).write_bytes(_NO_STATE)
    write_json(folder / STATE, state)


def write_model(folder: Path, recipe: Recipe) -> None:
    """Write the files of a model or adapter, with no weights in them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("A simulated model of llamavet's demo.\n", encoding="utf-8")
    tensors = len(_NO_TENSORS).to_bytes(8, "little") + _NO_TENSORS
    if recipe.finetuning_type == "lora":
        (folder / "adapter_model.safetensors").write_bytes(tensors)
        write_json(
            folder / "adapter_config.json",
            {
                "base_model_name_or_path": recipe.model.name,
                "peft_type": "LORA",
                "r": recipe.lora_rank,
                "target_modules": sorted(recipe.lora_targets),
                "task_type": "CAUSAL_LM",
            },
        )
    else:
        (folder / "model.safetensors").write_bytes(tensors)
    write_json(folder / "tokenizer_config.json", {"model_max_length": 131072})


def drop_oldest(output_dir: Path, keep: int | None) -> tuple[Path, ...]:
    """Delete the checkpoints above a limit, lowest numbers first, and return them."""
    extra = _checkpoints(output_dir)[:-keep] if keep else []
    for checkpoint in extra:
        shutil.rmtree(checkpoint, ignore_errors=True)
    return tuple(extra)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file with its keys in order, as the trainer writes its own."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def append_log(output_dir: Path, row: Mapping[str, object]) -> None:
    """Append one line to trainer_log.jsonl."""
    with (output_dir / "trainer_log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _checkpoints(output_dir: Path) -> list[Path]:
    try:
        names = os.listdir(output_dir)  # noqa: PTH208 - names are all that is needed
    except OSError:
        return []
    found = [(int(match.group(1)), name) for name in names if (match := _CHECKPOINT.match(name))]
    return [output_dir / name for _, name in sorted(found) if (output_dir / name).is_dir()]


def _check_adapter(checkpoint: Path, recipe: Recipe) -> None:
    try:
        rank = json.loads((checkpoint / "adapter_config.json").read_bytes())["r"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # the real loader looks at the weights, which say nothing here
    if recipe.finetuning_type != "lora" or rank == recipe.lora_rank:
        return
    target = recipe.lora_targets[0]
    inputs, _ = recipe.model.linear_shapes[target]
    module = "self_attn" if target in {"q_proj", "k_proj", "v_proj", "o_proj"} else "mlp"
    raise SimulatedError(
        "RuntimeError",
        "Error(s) in loading state_dict for PeftModelForCausalLM:\n"
        f"\tsize mismatch for base_model.model.model.layers.0.{module}.{target}"
        f".lora_A.default.weight: copying a param with shape torch.Size([{rank}, {inputs}]) "
        "from checkpoint, the shape in current model is "
        f"torch.Size([{recipe.lora_rank}, {inputs}]).",
    )
