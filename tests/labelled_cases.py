"""Owns reading the labelled runs: what must be named in each, and what must not."""

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "labelled"


@dataclass(frozen=True)
class Labelled:
    folder: Path
    symptom: str
    expected: tuple[str, ...]
    banned: tuple[str, ...]
    keys: tuple[str, ...]


def read(path: Path) -> Labelled:
    labels = json.loads(path.read_text(encoding="utf-8"))
    return Labelled(
        folder=path.parent,
        symptom=labels["symptom"],
        expected=tuple(labels["expected_findings"]),
        banned=tuple(labels["must_not_report"]),
        keys=tuple(labels["config_changes"]),
    )


CASES = [read(path) for path in sorted(FOLDER.glob("*/*/labels.json"))]
SICK = [case for case in CASES if case.expected]
HEALTHY = [case for case in CASES if not case.expected]


def name(case: Labelled) -> str:
    return case.folder.name
