"""Owns the training loop: steps on the simulated card, metrics, checkpoints and the end.

What is printed and written, and its order, is that of transformers' Trainer under LLaMA-Factory.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from diagnostics.demo import checkpoints
from diagnostics.demo.card import Card, CardFullError
from diagnostics.demo.checkpoints import TrainerState
from diagnostics.demo.console import Bar, final_block, metrics_text, transformers_line
from diagnostics.demo.failures import out_of_memory
from diagnostics.demo.memory import step_allocations
from diagnostics.demo.meter import Meter
from diagnostics.demo.pace import STEP_SECONDS, Pace
from diagnostics.demo.schedule import Schedule
from diagnostics.demo.settings import Settings

_FLOPS_PER_PARAMETER = 6


@dataclass(frozen=True, slots=True)
class Job:
    """All that a training loop works on."""

    settings: Settings
    schedule: Schedule
    card: Card
    meter: Meter
    pace: Pace
    logging_steps: int
    save_steps: int


class Loop:
    """One training from a state to its end."""

    def __init__(self, job: Job, state: TrainerState) -> None:
        self._job = job
        self._state = state
        self._began = time.monotonic()
        self._losses: list[float] = []
        self._loss_sum = 0.0
        self._bar = Bar(job.schedule.total_steps, start=state.step)

    def run(self) -> None:
        """Train to the end and write the results.

        Raises:
            SystemExit: the card was full; the traceback is printed, the code is 1.
        """
        try:
            first = True
            while self._state.step < self._job.schedule.total_steps:
                self._step(first=first)
                first = False
        except CardFullError as full:
            self._job.meter.training()
            sys.stderr.write(out_of_memory(full).traceback())
            self._bar.close()
            raise SystemExit(1) from full
        self._end()

    def _step(self, *, first: bool) -> None:
        job, state = self._job, self._state
        step = state.step + 1
        tokens = job.settings.batch_size * job.schedule.longest_at(step)
        job.meter.training()
        job.pace.wait(STEP_SECONDS / 2)
        job.card.run(step_allocations(job.settings.recipe, tokens, first=first))
        job.meter.training()
        job.pace.wait(STEP_SECONDS / 2)
        state.step = step
        state.epoch = job.schedule.epoch_at(step)
        state.flops += (
            _FLOPS_PER_PARAMETER
            * float(job.settings.recipe.all_params)
            * tokens
            * job.settings.accumulation_steps
        )
        loss = job.schedule.loss_at(step)
        self._losses.append(loss)
        self._loss_sum += loss
        self._bar.advance()
        if step % job.logging_steps == 0:
            self._log()
        if step % job.save_steps == 0 or step == job.schedule.total_steps:
            self._save()

    def _log(self) -> None:
        schedule, state = self._job.schedule, self._state
        metrics = {
            "loss": sum(self._losses) / len(self._losses),
            "grad_norm": schedule.gradient_norm_at(state.step),
            "learning_rate": schedule.learning_rate_at(state.step),
            "epoch": state.epoch,
        }
        self._losses.clear()
        state.history.append({**metrics, "step": state.step})
        self._bar.print_above(metrics_text(metrics))
        self._append_log({"loss": metrics["loss"], "lr": metrics["learning_rate"]})

    def _append_log(self, measured: Mapping[str, float]) -> None:
        step, total = self._state.step, self._job.schedule.total_steps
        elapsed = time.monotonic() - self._began
        # Like LLaMA-Factory: after a resume this counts steps that took no time.
        remaining = elapsed / step * (total - step) if step else 0.0
        checkpoints.append_log(
            self._job.settings.output_dir,
            {
                "current_steps": step,
                "total_steps": total,
                **measured,
                "epoch": self._state.epoch,
                "percentage": round(step / total * 100, 2),
                "elapsed_time": str(timedelta(seconds=int(elapsed))),
                "remaining_time": str(timedelta(seconds=int(remaining))),
            },
        )

    def _save(self) -> None:
        settings = self._job.settings
        folder = settings.output_dir / f"checkpoint-{self._state.step}"
        _say_saving(folder)
        checkpoints.write_checkpoint(
            folder, settings.recipe, self._document(), model_only=settings.save_only_model
        )
        for old in checkpoints.drop_oldest(settings.output_dir, settings.save_total_limit):
            message = f"Deleting older checkpoint [{old}] due to args.save_total_limit"
            transformers_line("trainer_utils.py", 1208, message)

    def _document(self) -> dict[str, object]:
        job = self._job
        return self._state.document(
            {
                "logging_steps": job.logging_steps,
                "max_steps": job.schedule.total_steps,
                "num_train_epochs": job.schedule.epochs,
                "save_steps": job.save_steps,
                "train_batch_size": job.settings.batch_size,
            }
        )

    def _end(self) -> None:
        schedule, state, output_dir = self._job.schedule, self._state, self._job.settings.output_dir
        runtime = max(1e-3, time.monotonic() - self._began)
        metrics = {
            "train_runtime": runtime,
            "train_samples_per_second": schedule.examples * schedule.epochs / runtime,
            "train_steps_per_second": schedule.total_steps / runtime,
            "train_loss": self._loss_sum / schedule.total_steps,  # over the skipped steps, too
            "epoch": state.epoch,
        }
        done = "\n\nTraining completed. Do not forget to share your model on"
        transformers_line("trainer.py", 1823, f"{done} huggingface.co/models =)\n\n")
        self._bar.print_above(metrics_text(metrics))
        self._bar.close()
        self._append_log({})
        _say_saving(output_dir)
        checkpoints.write_model(output_dir, self._job.settings.recipe)
        results = {**metrics, "total_flos": state.flops}
        sys.stdout.write(final_block(results))
        sys.stdout.flush()
        for name in ("all_results.json", "train_results.json"):
            checkpoints.write_json(output_dir / name, results)
        state.history.append({**results, "step": state.step})
        checkpoints.write_json(output_dir / checkpoints.STATE, self._document())


def _say_saving(folder: Path) -> None:
    transformers_line("trainer.py", 3815, f"Saving model checkpoint to {folder}")
    transformers_line(
        "tokenization_utils_base.py",
        2111,
        f"tokenizer config file saved in {folder / 'tokenizer_config.json'}",
    )
