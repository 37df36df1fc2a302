"""Which values exclude each other, or ask for another one: the software's own checks.

Most stand in LLaMA-Factory's hparams/parser.py and the `__post_init__` of its arguments, the others
in transformers' TrainingArguments and where model and optimizer are made.
https://github.com/hiyouga/LLaMA-Factory/tree/v0.9.5/src/llamafactory/hparams
"""

from collections.abc import Iterator

from diagnostics.config.exclusions.data import DATA
from diagnostics.config.exclusions.exclusion import Exclusion
from diagnostics.config.exclusions.method import METHOD
from diagnostics.config.exclusions.model import MODEL
from diagnostics.config.exclusions.stage import STAGE
from diagnostics.config.exclusions.trainer import TRAINER
from diagnostics.config.settings import Settings

EXCLUSIONS = (*MODEL, *DATA, *METHOD, *STAGE, *TRAINER)

__all__ = ["EXCLUSIONS", "Exclusion", "broken"]


def broken(settings: Settings) -> Iterator[Exclusion]:
    """Yield the checks that a config does not pass, in their own order."""
    for one in EXCLUSIONS:
        if (settings.works or not one.in_training) and one.breaks(settings):
            yield one
