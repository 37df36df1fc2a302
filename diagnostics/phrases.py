"""Owns putting values into the texts of rules: "{oom.free_bytes|bytes}" and their like. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence

from diagnostics.findings import Text
from diagnostics.observations import Missing
from diagnostics.signals import SIGNALS, Context, read_signal

FORMS = ("bytes", "pct", "seconds", "number")
_GIB = 1024**3
_MIB = 1024**2
_FIELD = re.compile(r"\{([\w.]+)(?:\|(\w+))?\}")


def fields_of(text: Text) -> Iterator[tuple[str, str]]:
    """Return what a text asks for: (name, form) of each field, the form "" where none is given."""
    yield from _FIELD.findall(text.en)
    yield from _FIELD.findall(text.zh)


def joined(sentences: Sequence[Text | None]) -> Text:
    """Join the sentences that could be filled."""
    known = [sentence for sentence in sentences if sentence is not None]
    return Text(" ".join(text.en for text in known), "".join(text.zh for text in known))


def filled(text: Text, context: Context, captures: Mapping[str, str]) -> Text | None:
    """Put values in; None where one is not known, so that nothing half-said is shown."""
    values: dict[str, str] = {}
    for name, form in fields_of(text):
        shown = _shown(name, form, context, captures)
        if shown is None:
            return None
        values["{" + name + (f"|{form}" if form else "") + "}"] = shown

    def put(template: str) -> str:
        return _FIELD.sub(lambda match: values[match.group(0)], template)

    return Text(put(text.en), put(text.zh))


def _shown(name: str, form: str, context: Context, captures: Mapping[str, str]) -> str | None:
    if name.startswith("match."):
        return captures.get(name.removeprefix("match."))
    if name.startswith("config."):
        key = name.removeprefix("config.")
        value = context.config.value(key) if context.config is not None else None
        return None if value is None else str(value)
    if name not in SIGNALS:
        return None
    signal = read_signal(name, context)
    if signal is None or isinstance(signal.value, Missing):
        return None
    value = signal.value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_value(value, form)
    return str(value)


def format_value(value: float, form: str) -> str:
    """Format a number: "bytes" picks GiB or MiB, "pct" is whole percent, "number" four digits."""
    match form:
        case "bytes" if value >= _GIB:
            return f"{value / _GIB:.2f} GiB"
        case "bytes":
            return f"{value / _MIB:.0f} MiB"
        case "pct":
            return f"{value:.0f} %"
        case "seconds":
            return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"  # noqa: PLR2004 - two digits
        case "number":
            return f"{value:.4g}"
        case _:
            return str(value)
