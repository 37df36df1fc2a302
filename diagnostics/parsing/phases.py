"""Owns what a training is doing, as its bars and its header tell, and what each bar counts."""

import re

from diagnostics.observations import BarKind, Phase
from diagnostics.parsing.bars import Bar

_DATASET = re.compile(
    r"tokeniz|Converting format|Generating|^Map\b|^Filter|Resolving data|Downloading|num_proc"
    r"|Saving the dataset|Grouping|Packing|preprocess",
    re.IGNORECASE,
)
_WEIGHTS = re.compile(r"Loading (?:checkpoint|weights|safetensors|adapter)|Materializ|Fetching")
_EVAL = re.compile(r"^(?:Evaluat|Predict)", re.IGNORECASE)
_BEFORE_TRAINING = frozenset({Phase.STARTING, Phase.PREPROCESSING, Phase.LOADING})
_BETWEEN_STEPS = frozenset({Phase.EVALUATING, Phase.SAVING})


class PhaseTracker:
    """Follows one log."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.train_total: int | None = None
        self.train_done: int | None = None
        """Steps done in the present training; None before its first bar."""
        self._eval_total: int | None = None
        self._eval_done: int | None = None
        self._eval_told = False
        self._failed = False

    def see_start(self) -> None:
        """A process of a training starts: what came before is over."""
        self.phase = Phase.STARTING
        self.train_total = self.train_done = self._eval_total = self._eval_done = None
        self._eval_told = self._failed = False

    def see_header(self, phase: Phase) -> None:
        """Take a line that announces a phase."""
        late = phase in _BEFORE_TRAINING and self.phase not in _BEFORE_TRAINING
        last_save = phase is Phase.SAVING and self.phase is Phase.FINISHED
        if late or last_save:
            return
        if phase is Phase.TRAINING:
            self.train_done = None
        elif phase is Phase.EVALUATING:
            self._eval_total = self._eval_done = None
            self._eval_told = False
        self.phase = phase

    def see_total(self, total: int) -> None:
        """Take the header's number of steps."""
        self.train_total = total

    def see_eval_metrics(self) -> None:
        """Take note that an evaluation has told its result."""
        self._eval_told = True

    def see_failure(self) -> None:
        """Take note that the run failed: the next bar may be another training's."""
        self._failed = True

    def goes_on(self, done: int, total: int) -> bool:
        """Take a training bar without a description that tells nothing new; False for another."""
        known = self.train_done
        plain = self.phase is Phase.TRAINING and not self._failed and total == self.train_total
        if not plain or known is None or done < known:
            return False
        self.train_done = done
        return True

    def see_bar(self, bar: Bar) -> BarKind:
        """Take a bar; return what it counts."""
        kind = self._kind(bar)
        if kind is BarKind.TRAIN:
            self._see_train(bar)
        elif kind is BarKind.EVAL:
            self._eval_total, self._eval_done = bar.total, bar.done
            if self.phase is Phase.TRAINING:
                self.phase = Phase.EVALUATING
                self._eval_told = False
        elif kind is BarKind.DATASET and self.phase is Phase.STARTING:
            self.phase = Phase.PREPROCESSING
        elif kind is BarKind.WEIGHTS and self.phase in _BEFORE_TRAINING:
            self.phase = Phase.LOADING
        return kind

    def _see_train(self, bar: Bar) -> None:
        before, self.train_done = self.train_done, bar.done
        unfinished = bar.done < bar.total
        begins = self.phase in _BEFORE_TRAINING and unfinished
        goes_on = self.phase in _BETWEEN_STEPS and (
            (before is not None and bar.done > before)
            or (self.phase is Phase.EVALUATING and self._eval_told and unfinished)
        )
        again = self.phase is Phase.FINISHED and before is not None and bar.done < before
        if begins or goes_on or again:
            self.phase = Phase.TRAINING

    def _kind(self, bar: Bar) -> BarKind:
        if bar.description:
            return _kind_by_name(bar.description)
        if self.train_total is None:
            if self.phase is Phase.EVALUATING:
                return BarKind.EVAL  # evaluation alone, with no training before
            self.train_total = bar.total
        if self._failed and bar.done == 0 and self.phase is not Phase.EVALUATING:
            self._failed = False
            self.train_total = bar.total
        if bar.total != self.train_total:
            return BarKind.EVAL
        return BarKind.EVAL if self._is_eval_of_same_length(bar) else BarKind.TRAIN

    def _is_eval_of_same_length(self, bar: Bar) -> bool:
        """Tell the bars apart where an evaluation has as many batches as the training has steps."""
        if self.phase is not Phase.EVALUATING or self._eval_told or self.train_done is None:
            return False
        if self._eval_total not in {None, bar.total}:
            return False
        if self._eval_done is None:
            return bar.done < self.train_done or bar.done <= 1
        return self._eval_done <= bar.done and self._eval_done < bar.total


def _kind_by_name(description: str) -> BarKind:
    if _DATASET.search(description):
        return BarKind.DATASET
    if _WEIGHTS.search(description):
        return BarKind.WEIGHTS
    return BarKind.EVAL if _EVAL.search(description) else BarKind.OTHER
