"""Owns the config in force: the file, and the command line that wins over it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from diagnostics.config.argv import LaunchArgs, parse_launch, with_value, without_key
from diagnostics.config.document import ConfigDocument
from diagnostics.config.edit import set_value, unset_value
from diagnostics.config.scalars import same_value
from diagnostics.config.schema import KEYS, default_of
from diagnostics.config.unset import UNSET, Unset
from diagnostics.errors import ConfigError


class Origin(StrEnum):
    """Where a key's value comes from."""

    FILE = "file"
    OVERRIDE = "override"
    FLAG = "flag"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class SetAt:
    """Where a key is set: a line of the file, or an index into the command line's words."""

    line: int | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class EffectiveConfig:
    """A run's config: its file, its command line, either or both."""

    document: ConfigDocument | None
    args: LaunchArgs | None = None

    def get(self, key: str, default: object = UNSET) -> object:
        """Return the value that is set, else `default`."""
        return self.as_dict().get(key, default)

    def value(self, key: str) -> object:
        """Return the value in force: the one set, else LLaMA-Factory's default, else None."""
        value = self.get(key)
        return default_of(key) if value is UNSET else value

    def is_set(self, key: str) -> bool:
        """Tell whether the file or the command line sets a key; null counts."""
        return self.origin(key) is not Origin.DEFAULT

    def origin(self, key: str) -> Origin:
        """Tell where a key's value comes from."""
        if self.args is not None and any(item.root == key for item in self.args.overrides):
            return Origin.OVERRIDE
        if self.args is not None and any(item.key == key for item in self.args.flags):
            return Origin.FLAG
        if self.document is not None and key in self.document.values:
            return Origin.FILE
        return Origin.DEFAULT

    def place(self, key: str) -> SetAt | None:
        """Return where a key is set; None where it is not."""
        if self.args is not None:
            words = [item.index for item in self.args.overrides if item.root == key]
            words += [item.index for item in self.args.flags if item.key == key]
            if words:
                return SetAt(index=max(words))
        if self.document is not None and key in self.document.places:
            return SetAt(line=self.document.places[key].line)
        return None

    def as_dict(self) -> dict[str, object]:
        """Return all values that are set."""
        values = dict(self.document.values) if self.document is not None else {}
        return self.args.over(values) if self.args is not None else values


def apply(config: EffectiveConfig, changes: Mapping[str, object | Unset]) -> EffectiveConfig:
    """Return the config with keys changed, each where it is set; a new one goes to the file.

    UNSET takes a key away from the file and the command line both.

    Raises:
        ConfigError: a change cannot be made without touching something else.
    """
    wanted = config.as_dict()
    for key, value in changes.items():
        if value is UNSET:
            wanted.pop(key, None)
            config = _without(config, key)
        else:
            wanted[key] = value
            config = _with(config, key, value)
    result = config.as_dict()
    for key in wanted.keys() | result.keys():
        if not same_value(result.get(key, UNSET), wanted.get(key, UNSET)):
            raise ConfigError(
                f"{key} cannot be changed without changing something else",
                path=config.document.path if config.document is not None else None,
                remedy="change the file or the command line by hand",
            )
    return config


def _without(config: EffectiveConfig, key: str) -> EffectiveConfig:
    if config.args is not None and config.args.sets(key):
        config = _with_words(config, without_key(config.args, key))
    if config.document is not None:
        config = replace(config, document=unset_value(config.document, key))
    return config


def _with(config: EffectiveConfig, key: str, value: object) -> EffectiveConfig:
    if config.args is not None and (config.args.sets(key) or config.document is None):
        return _with_words(config, with_value(config.args, key, value))
    if config.document is None:
        raise ConfigError(
            f"{key} cannot be set: neither a config file nor a command line is known",
            remedy="name the config's path",
        )
    near = _beside(config.document, key)
    return replace(config, document=set_value(config.document, key, value, near=near))


def _with_words(config: EffectiveConfig, words: tuple[str, ...]) -> EffectiveConfig:
    return replace(config, args=parse_launch(words))


def _beside(document: ConfigDocument, key: str) -> str | None:
    """Return the key after which a new one reads well, so that it joins its own section."""
    seen: set[str] = set()
    info = KEYS.get(key)
    while info is not None and info.beside is not None and info.beside not in seen:
        if info.beside in document.values:
            return info.beside
        seen.add(info.beside)
        info = KEYS.get(info.beside)
    return None
