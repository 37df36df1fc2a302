"""Owns a diagnosis as a person and a program read it: text, JSON, Markdown, HTML. Pure."""

from diagnostics.report.json import SCHEMA, as_json
from diagnostics.report.model import Remedy, Report, RunFacts, describe_change
from diagnostics.report.text import as_text

__all__ = [
    "SCHEMA",
    "Remedy",
    "Report",
    "RunFacts",
    "as_json",
    "as_text",
    "describe_change",
]
