"""Owns the config in force: the file, and the command line that wins over it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from diagnostics.config.argv import LaunchArgs, parse_launch, with_value, without_key
from diagnostics.config.document import ConfigDocument, parse_document
from diagnostics.config.edit import set_value, unset_value
from diagnostics.config.schema import default_of
from diagnostics.config.unset import UNSET, Unset


class Origin(StrEnum):
    """Where a key's value comes from."""

    FILE = "file"
    OVERRIDE = "override"
    FLAG = "flag"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class EffectiveConfig:
    """A run's config: its file, its command line, either or both."""

    document: ConfigDocument | None
    args: LaunchArgs | None = None

    def get(self, key: str) -> object | Unset:
        """Return the value that is set, or UNSET."""
        if self.args is not None and key in self.args.values:
            return self.args.values[key]
        if self.document is not None and key in self.document.values:
            return self.document.values[key]
        return UNSET

    def value(self, key: str) -> object:
        """Return the value in force: the one set, else LLaMA-Factory's default, else None."""
        value = self.get(key)
        return default_of(key) if value is UNSET else value

    def is_set(self, key: str) -> bool:
        """Tell whether the file or the command line sets a key."""
        return self.get(key) is not UNSET

    def origin(self, key: str) -> Origin:
        """Tell where a key's value comes from."""
        if self.args is not None:
            if any(item.key == key for item in self.args.overrides):
                return Origin.OVERRIDE
            if any(item.key == key for item in self.args.flags):
                return Origin.FLAG
        if self.document is not None and key in self.document.values:
            return Origin.FILE
        return Origin.DEFAULT

    def as_dict(self) -> dict[str, object]:
        """Return all values that are set."""
        values = dict(self.document.values) if self.document is not None else {}
        return {**values, **(self.args.values if self.args is not None else {})}


def apply(config: EffectiveConfig, changes: Mapping[str, object | Unset]) -> EffectiveConfig:
    """Return the config with keys changed, each where it is set.

    Raises:
        ConfigError: where the file cannot be edited without touching something else.
    """
    near: str | None = None
    for key, value in changes.items():
        config = _applied(config, key, value, near)
        near = key
    return config


def _applied(
    config: EffectiveConfig, key: str, value: object | Unset, near: str | None
) -> EffectiveConfig:
    origin = config.origin(key)
    on_command_line = origin in {Origin.OVERRIDE, Origin.FLAG}
    if config.args is not None and (on_command_line or config.document is None):
        words = (
            without_key(config.args, key) if value is UNSET else with_value(config.args, key, value)
        )
        config = replace(config, args=parse_launch(words))
        if value is not UNSET or config.document is None:
            return config
    document = config.document if config.document is not None else parse_document(b"")
    if value is UNSET:
        return replace(config, document=unset_value(document, key))
    neighbour = near if near in document.places else None
    return replace(config, document=set_value(document, key, value, near=neighbour))
