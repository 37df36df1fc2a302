"""How fast a large console log is read to a diagnosis, beside grep, ripgrep and lnav.

usage: python benchmarks/reading.py [--sizes 50,500] [--keep FOLDER] [--repeats 3]

The log is generated: start-up records, a tqdm bar a step, metrics every 10 steps, an evaluation and
a checkpoint every 500 steps, some warnings, and a real out-of-memory traceback at its end. Figures
are CPU seconds (user and system, as the kernel accounts for the whole process) and the largest
resident memory of that process.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MB = 10**6
METRICS_EVERY = 10
EVALUATE_EVERY = 500
EVAL_BATCHES = 20
WARN_EVERY = 7_300
BLOCKS = " ▏▎▍▌▋▊▉█"
BAR_WIDTH = 10
EPOCHS = 3
CLEAR = "\r" + " " * 90 + "\r"
SEED = 20

MODEL_CONFIG = """Model config Qwen2Config {
  "architectures": [
    "Qwen2ForCausalLM"
  ],
  "attention_dropout": 0.0,
  "bos_token_id": 151643,
  "eos_token_id": 151645,
  "hidden_act": "silu",
  "hidden_size": 3584,
  "initializer_range": 0.02,
  "intermediate_size": 18944,
  "max_position_embeddings": 32768,
  "max_window_layers": 28,
  "model_type": "qwen2",
  "num_attention_heads": 28,
  "num_hidden_layers": 28,
  "num_key_value_heads": 4,
  "rms_norm_eps": 1e-06,
  "rope_theta": 1000000.0,
  "sliding_window": 131072,
  "tie_word_embeddings": false,
  "torch_dtype": "bfloat16",
  "transformers_version": "4.52.4",
  "use_cache": false,
  "use_sliding_window": false,
  "vocab_size": 152064
}
"""
FAILURE = """Traceback (most recent call last):
  File "/opt/env/bin/llamafactory-cli", line 8, in <module>
    sys.exit(main())
             ^^^^^^
  File "/opt/env/lib/python3.11/site-packages/llamafactory/cli.py", line 151, in main
    COMMAND_MAP[command]()
  File "/opt/env/lib/python3.11/site-packages/llamafactory/train/tuner.py", line 110, in run_exp
    _training_function(config={"args": args, "callbacks": callbacks})
  File "/opt/env/lib/python3.11/site-packages/llamafactory/train/tuner.py", line 72, in \
_training_function
    run_sft(model_args, data_args, training_args, finetuning_args, generating_args, callbacks)
  File "/opt/env/lib/python3.11/site-packages/llamafactory/train/sft/workflow.py", line 96, in \
run_sft
    train_result = trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
  File "/opt/env/lib/python3.11/site-packages/transformers/trainer.py", line 2240, in train
    return inner_training_loop(
  File "/opt/env/lib/python3.11/site-packages/transformers/trainer.py", line 3745, in training_step
    loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
  File "/opt/env/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1762, in _call_impl
    return forward_call(*args, **kwargs)
  File "/opt/env/lib/python3.11/site-packages/transformers/loss/loss_utils.py", line 36, in \
fixed_cross_entropy
    loss = nn.functional.cross_entropy(source, target, ignore_index=ignore_index)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity \
of 23.65 GiB of which 1.21 GiB is free. Including non-PyTorch memory, this process has 22.43 GiB \
memory in use. Of the allocated memory 20.85 GiB is allocated by PyTorch, and 1.11 GiB is reserved \
by PyTorch but unallocated. If reserved but unallocated memory is large try setting \
PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for \
Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)
"""


def bar(done: int, total: int) -> str:
    """Return one redraw of a bar, as tqdm writes it into a file."""
    eighths = BAR_WIDTH * 8 * done // total
    full, rest = divmod(eighths, 8)
    drawn = (BLOCKS[8] * full + (BLOCKS[rest] if rest else "")).ljust(BAR_WIDTH)
    seconds = done * 1.31
    left = (total - done) * 1.31
    share = 100 * done // total
    return (
        f"\r{share:3d}%|{drawn}| {done}/{total} [{clock(seconds)}<{clock(left)},  {1.31:.2f}s/it]"
    )


def clock(seconds: float) -> str:
    """Return seconds as tqdm writes them."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


def record(file: str, message: str, at: float) -> str:
    """Return a log record of transformers."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1_750_000_000 + at))
    return f"[INFO|{file}] {moment},{int(at * 1000) % 1000:03d} >> {message}\n"


def head(total: int) -> str:
    """Return what a training prints before its first step."""
    at = 0.0
    per_epoch = total // EPOCHS
    lines = [
        (
            "[INFO|2025-06-15 15:06:40] llamafactory.hparams.parser:423 >> Process rank: 0, world "
            "size: 1, device: cuda:0, distributed training: False, compute dtype: torch.bfloat16\n"
        ),
        record("configuration_utils.py:765", MODEL_CONFIG, at),
        "[INFO|2025-06-15 15:06:41] llamafactory.data.loader:143 >> Loading dataset train.json\n",
        "training example:\ninput_ids:\n[" + "151644, 8948, 198, " * 200 + "2]\ninputs:\n"
        "<|im_start|>user\nWhat does RuntimeError: CUDA out of memory mean?<|im_end|>\n"
        "label_ids:\n[" + "-100, " * 200 + "2]\nlabels:\nThat no memory was left.<|im_end|>\n",
        record("modeling_utils.py:1151", "loading weights file /models/qwen/model.safetensors", at),
        "[INFO|2025-06-15 15:06:50] llamafactory.model.adapter:143 >> Fine-tuning method: LoRA\n",
        (
            "[INFO|2025-06-15 15:06:50] llamafactory.model.loader:143 >> trainable params: "
            "20,185,088 || all params: 7,635,801,600 || trainable%: 0.2643\n"
        ),
        record("trainer.py:2409", "***** Running training *****", at),
        record("trainer.py:2410", f"  Num examples = {per_epoch * 8:,}", at),
        record("trainer.py:2411", f"  Num Epochs = {EPOCHS}", at),
        record("trainer.py:2412", "  Instantaneous batch size per device = 2", at),
        record(
            "trainer.py:2415",
            "  Total train batch size (w. parallel, distributed & accumulation) = 8",
            at,
        ),
        record("trainer.py:2416", "  Gradient Accumulation steps = 4", at),
        record("trainer.py:2417", f"  Total optimization steps = {total:,}", at),
        record("trainer.py:2418", "  Number of trainable parameters = 20,185,088", at),
    ]
    return "".join(lines) + bar(0, total)


def metrics(step: int, total: int, dice: random.Random) -> str:
    """Return the dict that is printed for a logged step."""
    loss = 0.9 + 1.6 * (1 - step / total) ** 3 + dice.gauss(0, 0.03)
    rate = 1e-4 * (1 - step / total)
    norm = abs(dice.gauss(0.6, 0.1))
    return (
        f"{CLEAR}{{'loss': {loss:.4f}, 'grad_norm': {norm!r}, 'learning_rate': {rate!r}, "
        f"'epoch': {EPOCHS * step / total:.2f}}}\n"
    )


def evaluation(step: int, total: int, dice: random.Random) -> str:
    """Return what an evaluation prints."""
    at = step * 1.31
    lines = [
        record("trainer.py:4226", "", at).rstrip("\n") + "\n***** Running Evaluation *****\n",
        record("trainer.py:4228", "  Num examples = 160", at),
        record("trainer.py:4231", "  Batch size = 8", at),
        "\n",
        *(bar(done, EVAL_BATCHES) for done in range(1, EVAL_BATCHES + 1)),
        "\x1b[A",
        (
            f"{CLEAR}{{'eval_loss': {1.2 + dice.gauss(0, 0.01):.5f}, 'eval_runtime': 12.34, "
            f"'eval_samples_per_second': 12.97, 'eval_steps_per_second': 1.62, "
            f"'epoch': {EPOCHS * step / total:.2f}}}\n"
        ),
        bar(step, total),
        CLEAR,
    ]
    return "".join(lines)


def checkpoint(step: int) -> str:
    """Return what the saving of a checkpoint prints."""
    at = step * 1.31
    folder = f"/data/saves/qwen/lora/sft/checkpoint-{step}"
    return (
        record("trainer.py:3993", f"Saving model checkpoint to {folder}", at)
        + record("configuration_utils.py:698", "loading configuration file /models/config.json", at)
        + record("configuration_utils.py:770", MODEL_CONFIG, at)
        + record("tokenization_utils_base.py:2356", f"chat template saved in {folder}/t.jinja", at)
        + record(
            "tokenization_utils_base.py:2525",
            f"tokenizer config file saved in {folder}/tokenizer_config.json",
            at,
        )
    )


def warning(step: int) -> str:
    """Return a harmless warning."""
    return (
        f"[WARNING|trainer.py:3456] {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(step))},120 >> "
        "The tokenizer has new PAD/BOS/EOS tokens that differ from the model config.\n"
        "/opt/env/lib/python3.11/site-packages/torch/utils/checkpoint.py:86: UserWarning: None of "
        "the inputs have requires_grad=True. Gradients will be None\n  warnings.warn(\n"
    )


def pieces(size: int) -> Iterator[str]:
    """Yield the text of a log of about so many bytes."""
    dice = random.Random(SEED)  # noqa: S311 - the same log each time
    total = max(30, size // 100 // EVALUATE_EVERY * EVALUATE_EVERY)
    written = 0
    yield head(total)
    for step in range(1, total):
        text = bar(step, total)
        if step % METRICS_EVERY == 0:
            text += metrics(step, total, dice) + bar(step, total)
        if step % EVALUATE_EVERY == 0:
            text += evaluation(step, total, dice) + checkpoint(step)
        if step % WARN_EVERY == 0:
            text += "\n" + warning(step)
        written += len(text.encode())
        yield text
        if written > size:
            break
    yield "\n" + FAILURE


def make(path: Path, size: int) -> None:
    """Write the log."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(pieces(size))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process cost."""

    cpu_seconds: float
    peak_mib: float
    wall_seconds: float


def cost(argv: list[str]) -> Cost:
    """Run a command to its end; its output goes to a file, for grep looks where."""
    begun = time.perf_counter()
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(argv, cwd=ROOT, stdout=output) as process,
    ):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, time.perf_counter() - begun)


READ = """
import resource, sys
from pathlib import Path
from diagnostics.history import History
from diagnostics.ruleset import load_rules
from diagnostics.engine import diagnose
from diagnostics.signals import Context
from diagnostics.sources.console import read_console
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
rules = load_rules()
begun = cpu()
history = History(rules.patterns)
for seen in read_console(Path(sys.argv[1]), 1.0, patterns=rules.patterns):
    history.add(seen)
snapshot = history.snapshot()
found = diagnose(rules.rules, Context(snapshot, closed=True))
used = cpu() - begun
print(used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(snapshot.steps),
      len(snapshot.evals), ",".join(one.id for one in found.findings))
"""


def read_figures(log: Path) -> tuple[float, float, str]:
    """Return CPU seconds from opening to diagnosis, the peak memory in MiB, and what is found."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", READ, str(log)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, peak, found = done.stdout.split(maxsplit=2)
    return float(seconds), float(peak), found.strip()


def others(log: Path) -> dict[str, list[str]]:
    """Return the commands of other tools that are installed."""
    known = {
        "grep": ["grep", "-c", "-E", "out of memory|Killed|Traceback", str(log)],
        "rg": ["rg", "-c", "-a", "out of memory|Killed|Traceback", str(log)],
        "lnav": ["lnav", "-n", "-q", "-c", ":filter-in out of memory", str(log)],
    }
    return {name: argv for name, argv in known.items() if shutil.which(name)}


def report(log: Path, repeats: int) -> None:
    """Print the figures of one log."""
    size = log.stat().st_size / MB
    with log.open("rb") as file:
        while file.read(MB):
            pass  # into the page cache
    print(f"{log.name}: {size:.0f} MB")
    runs = [read_figures(log) for _ in range(repeats)]
    seconds = statistics.median(run[0] for run in runs)
    peak = max(run[1] for run in runs)
    print(
        f"  {'llamavet, opening to diagnosis':34} {size / seconds:8.0f} MB/CPU s"
        f" {seconds:7.2f} CPU s {peak:6.0f} MiB   ({runs[0][2]})"
    )
    for name, argv in others(log).items():
        costs = [cost(argv) for _ in range(repeats)]
        seconds = statistics.median(one.cpu_seconds for one in costs)
        peak = max(one.peak_mib for one in costs)
        print(
            f"  {name:34} {size / max(seconds, 1e-3):8.0f} MB/CPU s"
            f" {seconds:7.2f} CPU s {peak:6.0f} MiB   {' '.join(argv[:-1])} LOG"
        )


def main() -> None:
    """Make the logs and print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sizes", default="50,500", help="megabytes, comma-separated")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--keep", type=Path, help="folder where generated logs are kept")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for size in (int(text) for text in chosen.sizes.split(",")):
            log = folder / f"generated-{size}MB.log"
            if not log.is_file():
                make(log, size * MB)
            report(log, chosen.repeats)


if __name__ == "__main__":
    main()
