"""Owns the logs that the tests of skimming make: pieces, and compositions of them."""

import random
from collections.abc import Callable, Sequence

HEADER = """\
[INFO|2025-06-15 15:06:40] llamafactory.hparams.parser:423 >> Process rank: 0, world size: 1, \
device: cuda:0, distributed training: False, compute dtype: torch.bfloat16
[INFO|2025-06-15 15:06:41] llamafactory.data.loader:143 >> Loading dataset train.json...
[INFO|2025-06-15 15:06:50] llamafactory.model.adapter:143 >> Fine-tuning method: LoRA
[INFO|trainer.py:2409] 2025-06-15 15:06:40,120 >> ***** Running training *****
[INFO|trainer.py:2410] 2025-06-15 15:06:40,120 >>   Num examples = {examples:,}
[INFO|trainer.py:2411] 2025-06-15 15:06:40,120 >>   Num Epochs = 1
[INFO|trainer.py:2412] 2025-06-15 15:06:40,120 >>   Instantaneous batch size per device = 8
[INFO|trainer.py:2415] 2025-06-15 15:06:40,120 >>   Total train batch size (w. parallel, \
distributed & accumulation) = 8
[INFO|trainer.py:2416] 2025-06-15 15:06:40,120 >>   Gradient Accumulation steps = 1
[INFO|trainer.py:2417] 2025-06-15 15:06:40,120 >>   Total optimization steps = {total:,}
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "/opt/env/bin/llamafactory-cli", line 8, in <module>
    sys.exit(main())
             ^^^^^^
  File "/opt/env/lib/python3.11/site-packages/transformers/trainer.py", line 3745, in training_step
    loss = self.compute_loss(model, inputs)
{exception}
"""
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total "
    "capacity of 23.65 GiB of which 1.21 GiB is free. Including non-PyTorch memory, this process "
    "has 22.43 GiB memory in use. Of the allocated memory 20.85 GiB is allocated by PyTorch, and "
    "1.11 GiB is reserved by PyTorch but unallocated."
)
SAMPLE = """\
training example:
input_ids:
[151644, 8948, 198]
inputs:
<|im_start|>user
Killed
Traceback (most recent call last):
  File "/home/user/question.py", line 1, in ask
RuntimeError: CUDA out of memory. Tried to allocate 9.00 GiB.
label_ids:
[-100, -100, 2]
labels:
That no memory was left. OVERFLOW! Rank 0
[INFO|2025-06-15 15:06:50] llamafactory.model.adapter:143 >> Upcasting trainable params to float32.
"""
SAVING = """\
[INFO|trainer.py:3993] 2025-06-15 15:06:40,120 >> Saving model checkpoint to /out/checkpoint-{step}
[INFO|configuration_utils.py:770] 2025-06-15 15:06:40,120 >> Model config LlamaConfig {{
  "architectures": [
    "LlamaForCausalLM"
  ],
  "transformers_version": "4.52.4"
}}

"""
RANKS = """\
[rank0]: Traceback (most recent call last):
[rank1]: Traceback (most recent call last):
[rank0]:   File "/opt/env/lib/python3.11/site-packages/llamafactory/launcher.py", line 1, in a
[rank1]:   File "/opt/env/lib/python3.11/site-packages/llamafactory/launcher.py", line 1, in a
[rank1]:     run_exp()
[rank1]: ValueError: of rank 1
[rank0]:     run_exp()
[rank0]: RuntimeError: NCCL error in: ProcessGroupNCCL.cpp:3384
"""
TORCHRUN = """\
E1124 05:58:36.000000 11 torch/distributed/elastic/multiprocessing/api.py:869] failed \
(exitcode: -9) local_rank: 1 (pid: 12) of binary: /opt/env/bin/python
============================================================
llamafactory/launcher.py FAILED
------------------------------------------------------------
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-24_05:58:36
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 12)
  error_file: <N/A>
============================================================
"""
COLOURED = (
    '\x1b[1;35mTraceback\x1b[0m (most recent call last):\n  File \x1b[35m"a.py"\x1b[0m, line 1, in '
    "f\n\x1b[1;35mValueError\x1b[0m: \x1b[35mcoloured\x1b[0m\n"
)


def bar(done: int, total: int) -> str:
    drawn = "█" * (10 * done // total)
    return (
        f"\r{100 * done // total:3d}%|{drawn:10}| {done}/{total} [{done // 60:02d}:{done % 60:02d}"
        f"<01:00,  1.00s/it]"
    )


def header(total: int) -> str:
    return HEADER.format(examples=8 * total, total=total) + bar(0, total)


def metrics(step: int, total: int, loss: float, *, quoted: bool = False) -> str:
    if quoted:
        return (
            f"{{'loss': '{loss:.4g}', 'grad_norm': '0.5', 'learning_rate': '1e-05', "
            f"'epoch': '{step / total:.4g}'}}\n"
        )
    return (
        f"{{'loss': {loss:.4f}, 'grad_norm': 0.5, 'learning_rate': 1e-05, "
        f"'epoch': {step / total:.2f}}}\n"
    )


def steps(first: int, last: int, total: int, dice: random.Random, *, quoted: bool = False) -> str:
    parts: list[str] = []
    for step in range(first, last + 1):
        parts.append(bar(step, total))
        if step % 5 == 0:
            loss = 2.0 + dice.random()
            parts += [
                "\r" + " " * 60 + "\r",
                metrics(step, total, loss, quoted=quoted),
                bar(step, total),
            ]
    return "".join(parts)


def evaluation(step: int, total: int) -> str:
    return (
        "\n[INFO|trainer.py:4226] 2025-06-15 15:06:40,120 >> \n***** Running Evaluation *****\n"
        "[INFO|trainer.py:4228] 2025-06-15 15:06:40,120 >>   Num examples = 24\n"
        + "".join(bar(done, 3) for done in range(4))
        + "\x1b[A\r"
        + " " * 60
        + f"\r{{'eval_loss': 1.25, 'eval_runtime': 1.5, 'epoch': {step / total:.2f}}}\n"
        + bar(step, total)
    )


DICE = random.Random(4)
TOTAL = 400
PIECES: dict[str, Callable[[int], str]] = {
    "steps": lambda at: steps(at, at + 30, TOTAL, DICE),
    "quoted": lambda at: steps(at, at + 30, TOTAL, DICE, quoted=True),
    "evaluation": lambda at: evaluation(at, TOTAL),
    "saving": lambda at: SAVING.format(step=at),
    "training": lambda _: "\n" + header(TOTAL),
    "other training": lambda _: "\n" + header(500) + steps(1, 20, 500, DICE),
    "oom": lambda _: "\n" + TRACEBACK.format(exception=OOM),
    "error": lambda at: "\n" + TRACEBACK.format(exception=f"ValueError: number {at} of many"),
    "chained": lambda _: (
        "\n"
        + TRACEBACK.format(exception="KeyError: 'a'")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + TRACEBACK.format(exception="OSError: Failed to load tokenizer.")
    ),
    "mismatch": lambda _: (
        "\n"
        + TRACEBACK.format(exception="RuntimeError: Error(s) in loading state_dict for Peft:")
        + "".join(f"\tsize mismatch for layer.{n}: of shape [1].\n" for n in range(20))
        + "\n"
    ),
    "ranks": lambda _: "\n" + RANKS,
    "torchrun": lambda _: "\n" + TORCHRUN,
    "sample": lambda _: "\n" + SAMPLE,
    "killed": lambda _: "\nrun.sh: line 3:  4711 Killed                  llamafactory-cli train\n",
    "bare oom": lambda _: "\nRuntimeError: CUDA error: out of memory\nmore\n",
    "overflow": lambda _: "\n[deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 1\n",
    "chinese": lambda _: "\n错误: 显存不足\n",
    "reference": lambda _: "\nWatchdog caught timeout timeout\nWatchdog cats timeout timeout\n",
    "nan": lambda at: (
        f"\n{{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': {at / TOTAL:.2f}}}\n"
    ),
    "nul": lambda _: "\0" * 300,
    "bad": lambda _: "\n\udcff\udcfe bad \udce4 bytes Error: \udc9b\n",
    "long": lambda _: "\n" + "x" * 5000 + "\n",
    "returns": lambda at: "".join(bar(n, TOTAL) for n in range(at, at + 40)) + "\r" * 20,
    "coloured": lambda _: "\n" + COLOURED,
    "board": lambda _: (
        "\n[INFO|2025-06-15 15:06:52] logging.py:144 >> {'loss': 1.5, 'learning_rate': 1e-05, "
        "'epoch': 0.40}\n[INFO|2025-06-15 15:06:52] llamafactory.train.callbacks:144 >> "
        "{'loss': 1.5, 'learning_rate': 1e-05, 'epoch': 0.40}\n"
    ),
    "v1": lambda at: (
        f"\n[INFO|2025-06-15 15:06:52] llamafactory.v1.callbacks:144 >> epoch: 0, step: {at}, "
        "loss: 1.2500, learning_rate: 1e-05, total_steps: 400\n"
    ),
}


def composed(names: Sequence[str]) -> bytes:
    """Return a log of pieces, after a header and before an end that healthy steps make."""
    dice = random.Random(9)
    text = header(TOTAL) + steps(1, 12, TOTAL, dice)
    for place, name in enumerate(names):
        text += PIECES[name](13 + 3 * place)
    text += steps(300, 320, TOTAL, dice)
    return text.encode("utf-8", "surrogateescape")
