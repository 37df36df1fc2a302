"""Owns the signals of the chat template: the one set, and the one that belongs to the model."""

import re
from collections.abc import Mapping

from diagnostics.signals.context import Context, Reader, Value, plain
from diagnostics.signals.errors import error_chain
from diagnostics.templates import ANY_MODEL, NAMES, Model, find_model, is_former, nearest_template

_REFUSED = re.compile(r"Template (?P<name>\S{1,100}) does not exist")


def _template(context: Context) -> str | None:
    """Return the template that is set, or that the training refused."""
    value = context.config.value("template") if context.config is not None else None
    if isinstance(value, str) and value:
        return value
    found = (_REFUSED.search(one.message) for one in error_chain(context))
    return next((match["name"] for match in found if match is not None), None)


def _model(context: Context) -> Model | None:
    value = context.config.value("model_name_or_path") if context.config is not None else None
    return find_model(value) if isinstance(value, str) else None


def _family(context: Context) -> Value | None:
    model = _model(context)
    return None if model is None else model.family.name


def _expected(context: Context) -> Value | None:
    model = _model(context)
    return None if model is None else model.expected


def _fits(context: Context) -> Value | None:
    """Whether the template may be meant for the model; None where either is not known."""
    model, template = _model(context), _template(context)
    if model is None or template not in NAMES:
        return None
    return model.accepts(template)


def _is_plain(context: Context) -> Value | None:
    """Whether a model that was taught to chat gets a template that belongs to no model."""
    model, template = _model(context), _template(context)
    return None if model is None or template is None else model.is_chat and template in ANY_MODEL


def _is_known(context: Context) -> Value | None:
    template = _template(context)
    return None if template is None else template in NAMES


def _nearest(context: Context) -> Value | None:
    template = _template(context)
    return None if template is None else nearest_template(template)


def _is_former(context: Context) -> Value | None:
    template = _template(context)
    return None if template is None else is_former(template)


SIGNALS: Mapping[str, Reader] = {
    "template.name": plain(_template),
    "template.known": plain(_is_known),
    "template.former": plain(_is_former),
    "template.nearest": plain(_nearest),
    "template.family": plain(_family),
    "template.expected": plain(_expected),
    "template.fits": plain(_fits),
    "template.plain_for_chat": plain(_is_plain),
}
