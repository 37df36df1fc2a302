"""Pieces of console logs, and what a parser makes of them."""

from pathlib import Path
from typing import TypeVar

from hypothesis import strategies as st

from diagnostics.observations import (
    Observation,
    Phase,
    PhaseChange,
    RunFact,
)
from diagnostics.parsing.console import ConsoleParser

LOGS = Path(__file__).parents[1] / "data" / "logs"


Kind = TypeVar("Kind")


HEADER = """\
[INFO|trainer.py:1469] 2026-01-02 06:10:29,780 >> ***** Running training *****
[INFO|trainer.py:1470] 2026-01-02 06:10:29,780 >>   Num examples = 1,600
[INFO|trainer.py:1471] 2026-01-02 06:10:29,780 >>   Num Epochs = 2
[INFO|trainer.py:1473] 2026-01-02 06:10:29,780 >>   Instantaneous batch size per device = 4
[INFO|trainer.py:1476] 2026-01-02 06:10:29,780 >>   Total train batch size (w. parallel, distributed & accumulation) = 16
[INFO|trainer.py:1477] 2026-01-02 06:10:29,780 >>   Gradient Accumulation steps = 4
[INFO|trainer.py:1478] 2026-01-02 06:10:29,780 >>   Total optimization steps = 200
"""  # noqa: E501 - a log's own lines


OOM_TRACEBACK = """\
Traceback (most recent call last):
  File "/opt/site-packages/transformers/trainer.py", line 1737, in _run_epoch
    tr_loss_step = self.training_step(model, inputs, num_items_in_batch)
                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/opt/site-packages/transformers/trainer.py", line 1937, in training_step
    self.accelerator.backward(loss, **kwargs)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 40.00 GiB of which 1.00 GiB is free.
"""  # noqa: E501 - the same


SAMPLE = """\
training example:
input_ids:
[1, 85, 91]
inputs:
why does it say
RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB
Traceback (most recent call last):
  File "x.py", line 1, in f
torch.OutOfMemoryError: CUDA out of memory.
***** Running training *****
label_ids:
[-100, 85]
labels: 50%|█████     | 5/10 [00:05<00:05,  1.00it/s]
buy more
"""


def bar(done: int, total: int = 200, description: str = "") -> str:
    return f"\r{description}{100 * done // total:3d}%|██  | {done}/{total} [00:10<01:00,  1.00it/s]"


def parse(text: str | bytes) -> list[Observation]:
    data = text.encode() if isinstance(text, str) else text
    parser = ConsoleParser("out.log")
    return parser.feed(data, 1.0) + parser.finish(1.0)


def of(kind: type[Kind], seen: list[Observation]) -> list[Kind]:
    return [one for one in seen if isinstance(one, kind)]


def facts(seen: list[Observation]) -> dict[str, int | float | str]:
    return {fact.name: fact.value for fact in of(RunFact, seen)}


def phases(seen: list[Observation]) -> list[Phase]:
    return [change.phase for change in of(PhaseChange, seen)]


def ranked(text: str, rank: int) -> list[str]:
    return [f"[rank{rank}]: {line}" for line in text.splitlines()]


fragments = st.lists(
    st.sampled_from(
        [
            *HEADER.splitlines(keepends=True),
            *OOM_TRACEBACK.splitlines(keepends=True),
            *SAMPLE.splitlines(keepends=True),
            bar(3),
            bar(4) + "\n",
            "{'loss': 1.5, 'epoch': 0.02}\n",
            "{'eval_loss': '1.5', 'epoch': '0.02'}\r\n",
            "[rank1]: Traceback (most recent call last):\n",
            "\n",
            "\x1b[31m",
            "\0" * 9,
            "  exitcode  : -9 (pid: 12)\n",
        ]
    ),
    max_size=25,
).map(lambda parts: "".join(parts).encode())
