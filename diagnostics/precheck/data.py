"""Owns what a look at the data foretells of the training's own words about them."""

from collections.abc import Iterator

from diagnostics.config.effective import EffectiveConfig
from diagnostics.datasets import DatasetReport, Use
from diagnostics.findings import KeyChange, Severity, Text
from diagnostics.precheck.foreseen import PARSER, Foreseen, Named
from diagnostics.precheck.surroundings import Surroundings

_CONVERTING = (PARSER[0], "llamafactory/data/converter.py:__call__")
_SPLITS_STREAMS = (0, 9, 5)
_LOADING = (PARSER[0], "llamafactory/data/loader.py:get_dataset")


def foresee_data(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    """Yield what would be printed because of what is in the data."""
    reports = around.datasets or ()
    for report in reports:
        key = "eval_dataset" if report.use is Use.EVAL else "dataset"
        if report.missing_columns:
            column = report.missing_columns[0].rpartition(".")[2]
            yield Foreseen(f"KeyError: '{column}'", (key,), _CONVERTING)
        elif report.stage_mismatch:
            said = "The dataset is not applicable in the current training stage."
            yield Foreseen(f"ValueError: {said}", (key, "stage"), _LOADING)
    trained = [one for one in reports if one.use is Use.TRAIN]
    if config.value("stage") != "pt" and trained and all(map(_loses_all, trained)):
        said = "Cannot find valid samples, check `data/README.md` for the data format."
        yield Foreseen(f"RuntimeError: {said}", ("dataset",), _LOADING)
    yield from _split(config, trained)
    yield from _stream(config, around, trained)


def _split(config: EffectiveConfig, trained: list[DatasetReport]) -> Iterator[Foreseen]:
    """Foresee a val_size that leaves nothing to train on: 1.0 is a share, and 1 a count."""
    size = config.value("val_size")
    known = trained and all(one.exact for one in trained)
    if not known or not isinstance(size, int | float) or config.value("streaming") is True:
        return
    samples = sum(one.samples for one in trained)
    is_all = isinstance(size, float) and size == 1
    if is_all or (size > 1 and 0 < samples <= size):
        said = f"test_size={size} should be either positive and smaller than the number of"
        yield Foreseen(f"ValueError: {said} samples {samples}", ("val_size",), _LOADING)


def _stream(
    config: EffectiveConfig, around: Surroundings, trained: list[DatasetReport]
) -> Iterator[Foreseen]:
    """Foresee a streamed file that is split into as many parts as there are workers: into none."""
    key = "dataloader_num_workers"
    if config.value("streaming") is not True or config.value(key) != 0:
        return
    environment = around.environment
    installed = environment.version("llamafactory") if environment is not None else None
    if (installed or ()) < _SPLITS_STREAMS or not any(one.read for one in trained):
        return
    cause = Text(
        "A file that is streamed is split among the workers, and dataloader_num_workers 0 leaves"
        " nothing of it.",
        "流式读取的本地文件会按 dataloader_num_workers 分片，为 0 时没有任何数据。",
    )
    named = Named("data.streaming", {}, cause, Severity.CRITICAL)
    change = KeyChange(key, config.get(key), 1)
    yield Foreseen(cause.en, (key, "streaming"), (), named=named, change=change)


def _loses_all(report: DatasetReport) -> bool:
    readable = not (report.missing_columns or report.stage_mismatch or report.partial)
    return readable and report.exact and 0 < report.read <= report.dropped
