"""Owns what a look at a dataset's files tells: one frozen report for each dataset."""

from dataclasses import dataclass
from enum import StrEnum

TO_BE_FILLED_IN = "FILL_IN_YOUR_DATASET"
"""What stands for a dataset in a config that was advised: no dataset has this name."""


class Use(StrEnum):
    """What a dataset is for."""

    TRAIN = "train"
    EVAL = "eval"


class FaultKind(StrEnum):
    """Why the training cannot read a dataset."""

    INFO_MISSING = "info_missing"  # no dataset_info.json in dataset_dir
    INFO_BROKEN = "info_broken"
    UNDEFINED = "undefined"  # dataset_info.json has no such name
    FILE_MISSING = "file_missing"
    FILE_TYPE = "file_type"
    PARSE = "parse"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Fault:
    """A dataset that cannot be read as it is: `text` says why, with the place where it is known."""

    kind: FaultKind
    text: str
    source: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One sample: its file, the line on which it begins, its number in the file from 1."""

    source: str
    line: int
    sample: int
    text: str = ""
    """What is to be seen there, in few words."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many samples have a trait, and where the first of them are."""

    count: int = 0
    places: tuple[Place, ...] = ()


NONE = Tally()


@dataclass(frozen=True, slots=True)
class Lengths:
    """Estimated tokens of the samples, chat template and media left out.

    `cut_surely` samples are longer than cutoff_len by the cautious count, `cut_maybe` by the
    generous one.
    """

    median: int
    p95: int
    longest: int
    longest_places: tuple[Place, ...]
    cutoff_len: int
    cut_surely: int
    cut_maybe: int
    measured: int


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What was seen of one dataset. Counts are of the `read` samples, which training would take."""

    name: str
    use: Use = Use.TRAIN
    not_looked_at: str = ""
    """Why nobody looked; empty where somebody did."""
    dir_missing: str = ""
    """dataset_dir as the config has it, where there is no such folder here."""
    fault: Fault | None = None
    defined: tuple[str, ...] = ()
    """The names in dataset_info.json, where this one is not among them."""
    nearest: str | None = None
    """The defined name that was most likely meant."""
    source: str = ""
    formatting: str = ""
    stage_mismatch: bool = False
    """True where a ranking dataset meets another stage, or the reverse."""
    read: int = 0
    samples: int = 0
    """How many samples training takes: at least, unless `exact`."""
    exact: bool = False
    unused: int = 0
    """Samples that were seen beyond max_samples: at least so many are left out."""
    partial: str = ""
    """Why not all of it was read; empty where it was."""
    columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    """Columns that training reads and no sample has; "messages[].from" is a key of messages."""
    unlisted_columns: tuple[str, ...] = ()
    """Roles that this kind of data needs and `columns` in dataset_info.json does not name."""
    mixed_columns: tuple[str, ...] = ()
    """Columns that hold values of kinds which cannot be one table's."""
    mixed: Tally = NONE
    no_answers: Tally = NONE
    """Dropped by the training: null, or not text."""
    invalid_turns: Tally = NONE
    """Dropped by the training: wrong order or number of turns, or an unknown role."""
    no_pairs: Tally = NONE
    """Dropped by the training: not both of a preference pair, or no true/false tag."""
    empty_answers: Tally = NONE
    """Kept, and the model is taught to say nothing."""
    duplicates: Tally = NONE
    conflicts: Tally = NONE
    """Samples whose prompt has another answer elsewhere."""
    identical_pairs: Tally = NONE
    liked: int = 0
    """Samples with a true KTO tag."""
    disliked: int = 0
    media_mismatch: Tally = NONE
    """Samples with more or fewer media than placeholders."""
    media_missing: Tally = NONE
    """Media of samples that are not there: of `media_checked` that were looked for."""
    media_checked: int = 0
    lengths: Lengths | None = None
    packed: bool = False
    """True where samples are joined and cut into blocks, so that none is truncated."""

    @property
    def dropped(self) -> int:
        """How many samples the training leaves out, with a warning in its log at most."""
        return self.no_answers.count + self.invalid_turns.count + self.no_pairs.count
