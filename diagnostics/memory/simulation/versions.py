"""Owns which packages took part."""

import sys
from importlib import metadata


def versions() -> dict[str, str]:
    """Return the versions of what the simulation ran on."""
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for name in ("torch", "transformers", "peft"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
