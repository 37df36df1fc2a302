"""Owns a look at a training's data files: which they are, and what is in them. Never raises."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO, TypeAlias

from diagnostics.config.effective import EffectiveConfig
from diagnostics.datasets import (
    FORMATTINGS,
    HUB_KEYS,
    TO_BE_FILLED_IN,
    Analysis,
    DatasetReport,
    Fault,
    FaultKind,
    Layout,
    Place,
    Recipe,
    Tally,
    Use,
    read_layout,
)
from diagnostics.observations import Missing
from diagnostics.sources.samples import (
    BrokenFileError,
    Budget,
    GaveUpError,
    csv_samples,
    json_samples,
    text_samples,
)

_INFO = "dataset_info.json"
_MAX_INFO_BYTES = 8 * 1024 * 1024
_MAX_DATASETS = 50
_MAX_FILES = 1_000
_MAX_SAMPLES = 20_000
_DATASET_BYTES = 64 * 1024 * 1024
_TOTAL_BYTES = 128 * 1024 * 1024
_SHOWN_PLACES = 3

_Reader: TypeAlias = Callable[[BinaryIO, Budget], Iterator[tuple[int, Mapping[str, object]]]]
_READERS: Mapping[str, _Reader] = {
    "json": json_samples,
    "jsonl": json_samples,
    "csv": csv_samples,
    "txt": text_samples,
}
_OTHER_TYPES = frozenset({"arrow", "parquet"})
_Info: TypeAlias = dict[str, object] | Fault | Missing


@dataclass(frozen=True, slots=True)
class _Taking:
    """How the config takes its data."""

    folder: str
    """dataset_dir as the config has it."""
    media: str
    cwd: Path
    recipe: Recipe
    max_samples: int | None


def look(config: EffectiveConfig, cwd: Path) -> tuple[DatasetReport, ...]:
    """Look at each dataset that the config names: at 20,000 samples and 64 MiB of it at most."""
    names = [(name, Use.TRAIN) for name in _names(config.value("dataset"))]
    names += [(name, Use.EVAL) for name in _names(config.value("eval_dataset"))]
    reason = _elsewhere(config, cwd)
    if reason:
        return tuple(DatasetReport(name, use, reason) for name, use in names)
    taking = _taking(config, cwd)
    said = config.value("dataset_dir")
    info = said if isinstance(said, dict) else _read_info(taking)
    total = Budget(_TOTAL_BYTES)
    seen: dict[str, DatasetReport] = {}
    reports = []
    for name, use in names[:_MAX_DATASETS]:
        if name not in seen:
            seen[name] = _look_at(name, info, taking, total)
        reports.append(replace(seen[name], use=use))
    return tuple(reports)


def _names(value: object) -> list[str]:
    if isinstance(value, str):
        return [name.strip() for name in value.split(",")] if value.strip() else []
    return [str(name) for name in value] if isinstance(value, list) else []


def _elsewhere(config: EffectiveConfig, cwd: Path) -> str:
    """Return why a training takes its data from somewhere else; "" where it does not."""
    tokenized = config.value("tokenized_path")
    try:
        if isinstance(tokenized, str) and tokenized and any(Path(cwd, tokenized).iterdir()):
            return f"the training reads tokenized data from {tokenized}"
    except (OSError, ValueError):
        pass  # not there yet: it is written by this training
    folder = config.value("dataset_dir")
    if isinstance(folder, str) and (folder == "ONLINE" or folder.startswith("REMOTE:")):
        return f"dataset_dir is {folder}"
    return ""


def _taking(config: EffectiveConfig, cwd: Path) -> _Taking:
    said = config.value("dataset_dir")
    folder = said if isinstance(said, str) else "data"
    media = config.value("media_dir")
    stage = config.value("stage")
    packing = config.value("packing")
    return _Taking(
        folder=folder,
        media=media if isinstance(media, str) else folder,
        cwd=cwd,
        recipe=Recipe(
            stage=stage if isinstance(stage, str) else "sft",
            cutoff_len=_count(config.value("cutoff_len")) or Recipe().cutoff_len,
            packing=packing is True or (packing is None and stage == "pt"),
        ),
        max_samples=_count(config.value("max_samples")),
    )


def _count(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < _COUNT_DIGITS:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


_COUNT_DIGITS = 12


def _read_info(taking: _Taking) -> _Info:
    """Return dataset_info.json, its fault, or why it cannot be looked at."""
    folder = Path(taking.cwd, taking.folder)
    shown = str(Path(taking.folder, _INFO))
    try:
        if not folder.is_dir():
            return Missing(_NO_FOLDER)
        if not (folder / _INFO).is_file():
            return Fault(FaultKind.INFO_MISSING, "is not there", shown)
        with (folder / _INFO).open("rb") as file:
            data = file.read(_MAX_INFO_BYTES + 1)
        if len(data) > _MAX_INFO_BYTES:
            return Missing(f"{shown} is too large")
        value = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _broken_info(shown, f"is not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return _broken_info(shown, f"not JSON: {error.msg[:80]}", error.lineno, error.colno)
    except (OSError, ValueError, RecursionError) as error:
        return Missing(f"{shown}: {_said(error)}")
    return value if isinstance(value, dict) else _broken_info(shown, "is not an object", 1)


_NO_FOLDER = "there is no such folder here"


def _broken_info(
    source: str, text: str, line: int | None = None, column: int | None = None
) -> Fault:
    return Fault(FaultKind.INFO_BROKEN, text, source, line, column)


def _undefined(name: str, path: str) -> Fault:
    return Fault(FaultKind.UNDEFINED, f"has no dataset {name[:80]!r}", path)


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)[:80]


def _look_at(name: str, info: _Info, taking: _Taking, total: Budget) -> DatasetReport:
    path = str(Path(taking.folder, _INFO))
    if name == TO_BE_FILLED_IN:  # wherever the data are
        return DatasetReport(name, fault=_undefined(name, path))
    if isinstance(info, Missing):
        absent = info.reason is _NO_FOLDER
        reason = f"{taking.folder}: {info.reason}" if absent else info.reason
        return DatasetReport(name, not_looked_at=reason, dir_missing=taking.folder * absent)
    if isinstance(info, Fault):
        return DatasetReport(name, fault=info)
    if name not in info:
        defined = tuple(str(one)[:80] for one in list(info)[:_MAX_FILES])
        near = get_close_matches(name[:80], defined, n=1, cutoff=0.7)
        fault = _undefined(name, path)
        return DatasetReport(name, fault=fault, defined=defined, nearest=near[0] if near else None)
    entry = info[name]
    if not isinstance(entry, dict):
        return DatasetReport(name, fault=_broken_info(path, f"{name[:80]} is not an object"))
    hub = next((key for key in HUB_KEYS if key in entry), None)
    if hub is not None:
        return DatasetReport(
            name, not_looked_at=f"{hub} {str(entry[hub])[:80]} is not a local file"
        )
    file_name = entry.get("file_name")
    if not isinstance(file_name, str):
        return DatasetReport(name, fault=_broken_info(path, f"{name[:80]} has no file_name"))
    layout = read_layout(entry)
    if layout.formatting not in FORMATTINGS:
        text = f"{name[:80]} has the unknown formatting {layout.formatting[:40]!r}"
        return DatasetReport(name, fault=_broken_info(path, text))
    pairs = taking.recipe.stage in {"rm", "dpo"}
    report = DatasetReport(
        name,
        source=file_name,
        formatting=layout.formatting,
        stage_mismatch=layout.ranking is not pairs,
    )
    return _read(report, layout, taking, total)


def _read(report: DatasetReport, layout: Layout, taking: _Taking, total: Budget) -> DatasetReport:
    try:
        files, kind = _files(taking, report.source)
    except _FileFaultError as error:
        return replace(report, fault=Fault(error.kind, str(error), error.source))
    except (OSError, ValueError) as error:
        return replace(report, not_looked_at=f"{report.source}: {_said(error)}")
    reader = _READERS.get(kind)
    if reader is None:
        return replace(report, not_looked_at=f"{kind} files are not read")
    analysis = Analysis(layout, taking.recipe)
    budget = Budget(min(_DATASET_BYTES, total.left))
    limit = None if layout.num_samples else taking.max_samples
    reading = _Reading(analysis, report.source, limit)
    reading.run(files, reader, budget)
    total.use(budget.spent)
    report = analysis.report(reading.close(report))
    if layout.num_samples:
        report = replace(report, samples=layout.num_samples, exact=True)
    missing, checked = _missing_media(analysis.media, taking)
    return replace(report, media_missing=missing, media_checked=checked)


class _Reading:
    """Feeds an analysis from files, and keeps how far it came."""

    def __init__(self, analysis: Analysis, source: str, limit: int | None) -> None:
        self._analysis = analysis
        self._source = source
        self._limit = limit
        self._count = 0
        self._unused = 0
        self._partial = ""
        self._fault: Fault | None = None
        self._current = source
        """The file that is being read, as it is to be named."""

    def run(self, files: list[Path], reader: _Reader, budget: Budget) -> None:
        """Read the files until their end, a bound, or a fault."""
        for path in files:
            self._current = self._source
            if len(files) > 1 or path.name != Path(self._source).name:
                self._current = str(Path(self._source, path.name))
            try:
                with path.open("rb") as file:
                    going = self._take(reader(file, budget))
            except BrokenFileError as error:
                self._fault = Fault(
                    FaultKind.PARSE, str(error), self._current, error.line, error.column
                )
                return
            except (GaveUpError, OSError, ValueError) as error:
                self._partial = f"{self._current}: {_said(error)}"
                return
            if not going:
                return

    def close(self, report: DatasetReport) -> DatasetReport:
        """Return the report with what is known of the whole put in."""
        empty = not self._count and not self._partial and self._fault is None
        fault = Fault(FaultKind.EMPTY, "holds no samples", self._source) if empty else self._fault
        whole = not self._partial and fault is None
        return replace(
            report,
            fault=fault,
            samples=self._count,
            exact=whole or self._unused > 0,
            unused=self._unused,
            partial=self._partial,
        )

    def _take(self, samples: Iterator[tuple[int, Mapping[str, object]]]) -> bool:
        """Take samples; False where no more are wanted."""
        for number, (line, sample) in enumerate(samples, start=1):
            if self._limit is not None and self._count >= self._limit:
                self._unused += 1
                return False
            if self._count >= _MAX_SAMPLES:
                self._partial = f"only the first {_MAX_SAMPLES:,} samples were read"
                return False
            self._count += 1
            self._analysis.add(Place(self._current, line, number), sample)
        return True


class _FileFaultError(Exception):
    """Files that a training cannot take."""

    def __init__(self, kind: FaultKind, text: str, source: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.source = source


def _files(taking: _Taking, file_name: str) -> tuple[list[Path], str]:
    """Return a dataset's files and their type.

    Raises:
        _FileFaultError: where LLaMA-Factory refuses them.
    """
    path = Path(taking.cwd, taking.folder, file_name)
    shown = str(Path(taking.folder, file_name))
    if path.is_dir():
        files = sorted(path.iterdir())[:_MAX_FILES]
    elif path.is_file():
        files = [path]
    else:
        raise _FileFaultError(FaultKind.FILE_MISSING, "is not there", shown)
    if not files:
        raise _FileFaultError(FaultKind.EMPTY, "is an empty folder", shown)
    kinds = {"json" if one.suffix == ".jsonl" else one.suffix[1:] for one in files}
    unknown = next((kind for kind in sorted(kinds) if kind not in {*_READERS, *_OTHER_TYPES}), None)
    if unknown is not None:
        text = f"is of type {unknown[:20]!r}; arrow, csv, json, jsonl, parquet or txt is needed"
        raise _FileFaultError(FaultKind.FILE_TYPE, text, shown)
    if len(kinds) > 1:
        text = f"holds files of several types: {', '.join(sorted(kinds))}"
        raise _FileFaultError(FaultKind.FILE_TYPE, text, shown)
    return files, next(iter(kinds))


def _missing_media(media: list[tuple[Place, str]], taking: _Taking) -> tuple[Tally, int]:
    """Return which media are neither in media_dir nor where their own path says."""
    absent: list[Place] = []
    checked = 0
    known: dict[str, bool] = {}
    for place, name in media:
        if "://" in name or name.startswith("data:"):
            continue
        checked += 1
        if name not in known:
            known[name] = _is_file(Path(taking.cwd, taking.media, name)) or _is_file(
                Path(taking.cwd, name)
            )
        if not known[name]:
            shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in name[:80])
            absent.append(replace(place, text=f"{shown} is not there"))
    return Tally(len(absent), tuple(absent[:_SHOWN_PLACES])), checked


def _is_file(path: Path) -> bool:
    try:
        return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises where a name is too long
    except ValueError:
        return False  # a name with a NUL
