"""Owns the signals of where the LLaMA-Factory that ran lies: its traceback's frames tell."""

import re
from collections.abc import Mapping

from diagnostics.signals.context import Context, Reader, Value, plain
from diagnostics.signals.errors import error_chain

_CHECKOUT = re.compile(
    r"(?P<root>/.{1,1000}|[A-Za-z]:\\.{1,1000})[/\\]src[/\\](?:llamafactory|llmtuner)[/\\]"
)
_RELATIVE = "data"


def _data_dir(context: Context) -> Value | None:
    """Return the `data` folder of the checkout that ran; None where a package was installed."""
    for one in error_chain(context):
        for frame in one.frames:
            match = _CHECKOUT.match(frame)
            if match is not None:
                separator = "\\" if "\\" in match["root"] else "/"
                return f"{match['root']}{separator}{_RELATIVE}"
    return None


SIGNALS: Mapping[str, Reader] = {"repository.data_dir": plain(_data_dir)}
