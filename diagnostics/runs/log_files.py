"""Owns what names of log files tell: which are logs, and which are parts of one. Pure names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

USUAL = ("stdout.log", "output.log", "train.log", "nohup.out", "out.log", "running_log.txt")
"""Names that people and LLaMA-Factory give to a training's console, best first."""
_LOG = re.compile(
    r".*\.(?:log|out|err)|nohup.*|(?:stdout|stderr|output|console|train|log|running_log)[\w.-]*\.txt",
    re.IGNORECASE,
)
_ROTATED = re.compile(r"(.+?)[.-](\d{1,3}|\d{4}-?\d\d-?\d\d(?:[.T-]?\d{2,9})?)")
_ERRORS = re.compile(r"\.err$|(^|[._-])stderr(?=[._-]|$)", re.IGNORECASE)
_OUTPUT = re.compile(r"\.(?:out|log)$|(^|[._-])stdout(?=[._-]|$)", re.IGNORECASE)
_NEVER = re.compile(r"events\.out\.tfevents.*|.*\.(?:ya?ml|jsonl?|py|sh|md|safetensors|bin|pt)")


@dataclass(frozen=True, slots=True)
class LogName:
    """A log's name taken apart: `base` is shared by all parts that rotation made of it."""

    base: str
    part: str = ""
    """The rotation's own word: "1", "20250802"; empty for the one that is written to."""

    @property
    def age(self) -> tuple[int, int, str]:
        """What sorts parts from the oldest on: dates rise, numbers fall, the present one last."""
        if not self.part:
            return (2, 0, "")
        if len(self.part) <= 3:  # noqa: PLR2004 - longer is a date
            return (1, -int(self.part), "")
        return (0, 0, self.part)


def read_name(name: str) -> LogName | None:
    """Take a name apart; None where it is no log's."""
    whole = name.removesuffix(".gz")
    if _NEVER.fullmatch(whole):
        return None
    match = _ROTATED.fullmatch(whole)
    if match is not None and _LOG.fullmatch(match.group(1)):
        return LogName(match.group(1), match.group(2))
    return LogName(whole) if _LOG.fullmatch(whole) else None


def stem_of(base: str) -> str:
    """Return what a log's base shares with the file that the same run's errors go to."""
    plain = _ERRORS.sub(r"\1std", base)
    return _OUTPUT.sub(r"\1std", plain)


def base_of(path: Path) -> str:
    """Return the name that a log's parts share."""
    name = read_name(path.name)
    return name.base if name is not None else path.name.removesuffix(".gz")


def is_error_log(base: str) -> bool:
    """Tell whether a name says that only standard error is in it."""
    return _ERRORS.search(base) is not None


def families(paths: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Group logs of one folder that belong to one run, each group's oldest part first.

    Parts that rotation made are one log; standard output and standard error are one run's. A part
    that is there packed and unpacked counts once.
    """
    groups: dict[tuple[Path, str], dict[tuple[str, str], Path]] = {}
    for path in sorted(paths):
        name = read_name(path.name) or LogName(path.name.removesuffix(".gz"))
        group = groups.setdefault((path.parent, stem_of(name.base)), {})
        known = group.get((name.base, name.part))
        if known is None or known.name.endswith(".gz"):
            group[name.base, name.part] = path
    return [
        tuple(sorted(group.values(), key=_order))
        for _, group in sorted(groups.items(), key=lambda item: item[0])
    ]


def _order(path: Path) -> tuple[bool, tuple[int, int, str]]:
    name = read_name(path.name) or LogName(path.name)
    return is_error_log(name.base), name.age
