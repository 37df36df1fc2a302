"""Owns the JSON Schema of rule files, for editors that check YAML while it is written. Pure."""

from typing import Any

from diagnostics.conditions import PATTERNS, Operator, Subject
from diagnostics.rule_reader import NEEDS, SAFETIES, SEVERITIES, STATUSES
from diagnostics.signals import SIGNALS

_WORDS = {"type": "string", "minLength": 1}
_VALUE: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}


def rule_schema() -> dict[str, Any]:
    """Return the schema of a rule, of a remedy, and of a file that tunes a rule."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "llamavet rule, remedy or tuning",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in ("rule", "fix", "tuning")],
        "$defs": {
            "text": _object({"en": _WORDS, "zh": _WORDS}, ("en", "zh")),
            "condition": _condition(),
            "edit": _edit(),
            "rule": _rule(),
            "fix": _fix(),
            "tuning": _tuning(),
        },
    }


def _object(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(required),
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _rule() -> dict[str, Any]:
    properties = {
        "id": {"type": "string", "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)*$"},
        "status": {"enum": list(STATUSES)},
        "severity": {"enum": list(SEVERITIES)},
        "title": _ref("text"),
        "needs": _list({"enum": list(NEEDS)}),
        "when": _ref("condition"),
        "cause": _list(_ref("text")),
        "why": _ref("text"),
        "to_be_sure": _ref("text"),
        "false_positives": _list(_WORDS),
        "references": _list(_WORDS),
        "fixes": _list({"anyOf": [_WORDS, _ref("fix")]}),
        "explains": _list(_WORDS),
        "fallback": {"type": "boolean"},
        "thresholds": {"type": "object", "additionalProperties": {"type": ["number", "string"]}},
    }
    return _object(properties, ("id", "status", "severity", "title", "when", "why"))


def _fix() -> dict[str, Any]:
    properties = {
        "id": _WORDS,
        "title": _ref("text"),
        "why": _ref("text"),
        "price": _ref("text"),
        "safety": {"enum": list(SAFETIES)},
        "when": _ref("condition"),
        "edits": _list(_ref("edit")),
        "env": {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
    }
    return _object(properties, ("id", "title", "why", "price", "safety"))


def _tuning() -> dict[str, Any]:
    properties = {
        "tune": _WORDS,
        "severity": {"enum": list(SEVERITIES)},
        "enabled": {"type": "boolean"},
        "thresholds": {"type": "object", "additionalProperties": {"type": ["number", "string"]}},
    }
    return _object(properties, ("tune",))


def _condition() -> dict[str, Any]:
    some = {"type": "array", "items": _ref("condition"), "minItems": 1}
    operators = {
        operator.value: (_list(_VALUE) if operator in {Operator.IN, Operator.NOT_IN} else _VALUE)
        for operator in Operator
    }
    leaves = []
    for subject in Subject:
        name: dict[str, Any] = {"type": "string"}
        if subject is Subject.SIGNAL:
            name = {"enum": sorted(SIGNALS)}
        extra: dict[str, Any] = operators
        if subject in PATTERNS:
            name = {"type": "string", "format": "regex"}
            extra = {"count": {"type": "integer", "minimum": 1}} if subject is Subject.LOG else {}
        leaves.append(_object({subject.value: name, **extra}, (subject.value,)))
    return {
        "oneOf": [
            _object({"all": some}, ("all",)),
            _object({"any": some}, ("any",)),
            _object({"not": _ref("condition")}, ("not",)),
            *leaves,
        ]
    }


def _edit() -> dict[str, Any]:
    number = {"type": ["number", "null"]}
    kinds = {
        "set": _object({"key": _WORDS, "to": {}}, ("key", "to")),
        "unset": _object({"key": _WORDS}, ("key",)),
        "halve": _object({"key": _WORDS, "at_least": {"type": "integer"}}, ("key", "at_least")),
        "scale": _object(
            {"key": _WORDS, "by": {"type": "number"}, "at_least": number, "at_most": number},
            ("key", "by"),
        ),
        "split_batch": _object(
            {"batch": _WORDS, "accumulation": _WORDS}, ("batch", "accumulation")
        ),
        "rename_nearest": _object({"keys": _WORDS}, ("keys",)),
        "set_nearest": _object({"key": _WORDS}, ("key",)),
    }
    return {"oneOf": [_object({name: shape}, (name,)) for name, shape in kinds.items()]}
