"""Owns what the config screen says of memory, and the fix that its changes are proposed as."""

from collections.abc import Sequence
from dataclasses import replace

from diagnostics.findings import Fix, Language, Text
from diagnostics.memory.forecast import Forecast
from diagnostics.report.model import describe_change
from diagnostics.runs.config_look import ConfigLook
from diagnostics.what_if import WhatIf
from tui import words
from tui.screens.headline import SHORT_KEYS
from tui.widgets.cells import Line
from tui.widgets.memory import Prediction, memory_lines, unknown_lines
from tui.words import say


def memory_block(
    look: ConfigLook | None, what: WhatIf | None, width: int, language: Language, *, in_full: bool
) -> Sequence[Line]:
    """Return the block of the prediction, or why there is none."""
    if look is None:
        return unknown_lines(say(words.READING, language), width, language)
    before = what.before if what is not None else None
    if what is None or look.contradicted or not isinstance(before, Forecast):
        text = _unknown(look, what, language)
        return unknown_lines(text, width, language, simulated=look.simulated)
    told = Prediction(before, what.after, what.facts.no_gpu, look.simulated)
    return memory_lines(told, width, language, in_full=in_full)


def _unknown(look: ConfigLook, what: WhatIf | None, language: Language) -> str:
    if look.fault is not None:
        return say(words.UNREADABLE, language, error=_short(str(look.fault), look))
    if what is None:
        return say(words.NO_CONFIG, language)
    if what.facts.model is None:
        return say(words.MODEL_UNKNOWN, language, reason=what.facts.reason)
    reason = (
        say(words.CONTRADICTED, language) if look.contradicted else _short(str(what.before), look)
    )
    return say(words.NOT_PREDICTED, language, reason=reason)


def _short(error: str, look: ConfigLook) -> str:
    """Return an error with the file's name alone: its folder may be long."""
    return error if look.path is None else error.replace(str(look.path), look.path.name)


def tried_fix(what: WhatIf) -> Fix:
    """Return the changes as a fix with its words."""
    plain = what.as_fix(Text("", ""), words.TRIED_WHY, words.TRIED_PRICE)
    named = (replace(one, key=SHORT_KEYS.get(one.key, one.key)) for one in plain.changes)
    changes = ", ".join(describe_change(one) for one in named)
    title = Text(words.TRIED.en.format(changes=changes), words.TRIED.zh.format(changes=changes))
    return replace(plain, title=title)
