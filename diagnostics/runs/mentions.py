"""Owns the paths that a log speaks of: which config it was started with, where it writes."""

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

PROBE_BYTES = 256 * 1024
_CONFIG = re.compile(
    rb"(?:train|launcher\.py|train\.py|train_bash\.py|sft|dpo|rm)['\",\s]{1,6}"
    rb"([\w./~+@=-]{1,300}\.ya?ml)\b"
)
_TRAINING = re.compile(
    rb"llamafactory|llama_factory|LLaMA-Factory|transformers|torch|Running training|'loss': "
    rb"|it/s\]|s/it\]|Traceback \(most"
)


@dataclass(frozen=True, slots=True)
class Mentions:
    """What the beginning and the end of a log say."""

    configs: tuple[str, ...] = ()
    """Config files that stand on a command line in it, the last first."""
    text: bytes = b""

    @property
    def of_a_training(self) -> bool:
        """Whether it has a word that trainings print and other programs rarely do."""
        return _TRAINING.search(self.text) is not None

    def has_path(self, path: str) -> bool:
        """Tell whether a path stands in it as a word of its own or before a slash."""
        word = path.rstrip("/").encode("utf-8", "replace")
        if len(word) < 3:  # noqa: PLR2004 - "." and "a" are everywhere
            return False
        return re.search(rb"(?<![\w.-])" + re.escape(word) + rb"(?![\w-])", self.text) is not None


def mentions(log: Path) -> Mentions:
    """Read the beginning and the end of a log; one that cannot be read says nothing."""
    try:
        text = _ends(log)
    except (OSError, EOFError, zlib.error):
        return Mentions()
    names = [name.decode("utf-8", "replace") for name in _CONFIG.findall(text)]
    return Mentions(tuple(dict.fromkeys(reversed(names))), text)


def _ends(log: Path) -> bytes:
    if not log.is_file():
        return b""
    with log.open("rb") as file:
        head = file.read(PROBE_BYTES)
        if head.startswith(b"\x1f\x8b"):
            file.seek(0)
            with gzip.open(file) as unpacked:
                return unpacked.read(PROBE_BYTES)
        size = file.seek(0, 2)
        file.seek(max(len(head), size - PROBE_BYTES))
        return head + b"\n" + file.read(PROBE_BYTES)
