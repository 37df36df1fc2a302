"""Owns what a look at the data foretells of the training's own words about them."""

from collections.abc import Iterator

from diagnostics.config.effective import EffectiveConfig
from diagnostics.datasets import DatasetReport, Use
from diagnostics.precheck.foreseen import PARSER, Foreseen
from diagnostics.precheck.surroundings import Surroundings

_CONVERTING = (PARSER[0], "llamafactory/data/converter.py:__call__")
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


def _split(config: EffectiveConfig, trained: list[DatasetReport]) -> Iterator[Foreseen]:
    """Foresee a val_size that leaves nothing to train on."""
    size = config.value("val_size")
    known = trained and all(one.exact for one in trained)
    if not known or not isinstance(size, int | float) or size <= 1:
        return
    samples = sum(one.samples for one in trained)
    if 0 < samples <= size:
        said = f"test_size={size:g} should be either positive and smaller than the number of"
        yield Foreseen(f"ValueError: {said} samples {samples}", ("val_size",), _LOADING)


def _loses_all(report: DatasetReport) -> bool:
    readable = not (report.missing_columns or report.stage_mismatch or report.partial)
    return readable and report.exact and 0 < report.read <= report.dropped
