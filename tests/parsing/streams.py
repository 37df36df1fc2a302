"""What the tests of the console parser share: text to observations, and picking among them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from diagnostics.observations import Observation
from diagnostics.parsing.console import ConsoleParser

LOGS = Path(__file__).parents[1] / "data" / "logs"
T = TypeVar("T", bound=Observation)

HEADER = """\
[INFO|trainer.py:2414] 2025-03-26 03:01:23,378 >> ***** Running training *****
[INFO|trainer.py:2415] 2025-03-26 03:01:23,406 >>   Num examples = {examples:,}
[INFO|trainer.py:2416] 2025-03-26 03:01:23,415 >>   Num Epochs = {epochs:,}
[INFO|trainer.py:2417] 2025-03-26 03:01:23,454 >>   Instantaneous batch size per device = 4
[INFO|trainer.py:2420] 2025-03-26 03:01:23,455 >>   Total train batch size (w. parallel, \
distributed & accumulation) = 8
[INFO|trainer.py:2421] 2025-03-26 03:01:23,473 >>   Gradient Accumulation steps = 2
[INFO|trainer.py:2422] 2025-03-26 03:01:23,483 >>   Total optimization steps = {steps:,}
[INFO|trainer.py:2423] 2025-03-26 03:01:23,489 >>   Number of trainable parameters = 17,408
"""


def header(examples: int = 200, epochs: int = 2) -> str:
    """Return the header that transformers prints, of batches of 8."""
    return HEADER.format(examples=examples, epochs=epochs, steps=examples // 8 * epochs)


def bar(done: int, total: int, description: str = "") -> str:
    """Return one redraw of a bar as tqdm writes it."""
    lead = f"{description}: " if description else ""
    share = 100 * done // total
    return f"\r{lead}{share:3d}%|{'█' * (share // 10):10}| {done}/{total} [00:01<00:09,  1.50s/it]"


def parse(data: bytes | str, chunk: int = 0) -> list[Observation]:
    """Return what a whole log shows, fed at once or in chunks of so many bytes."""
    raw = data.encode() if isinstance(data, str) else data
    parser = ConsoleParser("stdout.log")
    found: list[Observation] = []
    for start in range(0, len(raw), chunk or max(1, len(raw))):
        found += parser.feed(raw[start : start + (chunk or len(raw))], 1.0)
    return found + parser.finish(1.0)


def only(kind: type[T], seen: Sequence[Observation]) -> list[T]:
    """Return the observations of one kind, in order."""
    return [item for item in seen if isinstance(item, kind)]
