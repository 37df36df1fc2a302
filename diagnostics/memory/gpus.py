"""Owns how much memory a GPU has, by its name or by a size that is given.

Sizes are what NVML reports (`nvidia-smi`'s total, in MiB), as seen in users' outputs; capabilities
are CUDA's, from https://developer.nvidia.com/cuda-gpus. bfloat16 needs 8.0.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from diagnostics.errors import LlamavetError

MIB_PER_GIB = 1024
BF16_CAPABILITY = 8.0
_SMALLEST_GIB, _LARGEST_GIB = 1.0, 1024.0
_MAX_CHARS = 64


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card: `sizes_mib` by the size in its trade name; 0 where the name says none."""

    name: str
    capability: float
    sizes_mib: tuple[tuple[int, int], ...]

    @property
    def has_bf16(self) -> bool:
        """Whether it computes in bfloat16."""
        return self.capability >= BF16_CAPABILITY


def _gpu(name: str, capability: float, **sizes_mib: int) -> Gpu:
    return Gpu(name, capability, tuple((int(gb[2:]), mib) for gb, mib in sizes_mib.items()))


GPUS: tuple[Gpu, ...] = (
    _gpu("B200", 10.0, gb180=183_359),
    _gpu("H200", 9.0, gb141=143_771),
    _gpu("H100 NVL", 9.0, gb94=95_830),
    _gpu("H100", 9.0, gb80=81_559),
    _gpu("H800", 9.0, gb80=81_559),
    _gpu("H20", 9.0, gb96=97_871),
    _gpu("GH200", 9.0, gb96=97_871),
    _gpu("A100", 8.0, gb40=40_960, gb80=81_920),
    _gpu("A800", 8.0, gb40=40_960, gb80=81_920),
    _gpu("A30", 8.0, gb24=24_576),
    _gpu("A40", 8.6, gb48=46_068),
    _gpu("A10", 8.6, gb24=23_028),
    _gpu("A10G", 8.6, gb24=23_028),
    _gpu("L4", 8.9, gb24=23_034),
    _gpu("L20", 8.9, gb48=46_068),
    _gpu("L40", 8.9, gb48=46_068),
    _gpu("L40S", 8.9, gb48=46_068),
    _gpu("V100", 7.0, gb16=16_384, gb32=32_768),
    _gpu("T4", 7.5, gb16=15_360),
    _gpu("P100", 6.0, gb16=16_384),
    _gpu("P40", 6.1, gb24=24_576),
    _gpu("RTX PRO 6000", 12.0, gb96=97_887),
    _gpu("RTX 6000 Ada", 8.9, gb48=49_140),
    _gpu("RTX A6000", 8.6, gb48=49_140),
    _gpu("RTX A5000", 8.6, gb24=24_564),
    _gpu("RTX A4000", 8.6, gb16=16_376),
    _gpu("Titan RTX", 7.5, gb24=24_576),
    _gpu("RTX 5090", 12.0, gb32=32_607),
    _gpu("RTX 5080", 12.0, gb16=16_303),
    _gpu("RTX 5070 Ti", 12.0, gb16=16_303),
    _gpu("RTX 4090", 8.9, gb24=24_564),
    _gpu("RTX 4090 D", 8.9, gb24=24_564),
    _gpu("RTX 4080", 8.9, gb16=16_376),
    _gpu("RTX 4080 Super", 8.9, gb16=16_376),
    _gpu("RTX 4070 Ti Super", 8.9, gb16=16_376),
    _gpu("RTX 4070 Ti", 8.9, gb12=12_282),
    _gpu("RTX 4070", 8.9, gb12=12_282),
    _gpu("RTX 4060 Ti", 8.9, gb8=8_188, gb16=16_380),
    _gpu("RTX 4060", 8.9, gb8=8_188),
    _gpu("RTX 3090", 8.6, gb24=24_576),
    _gpu("RTX 3090 Ti", 8.6, gb24=24_564),
    _gpu("RTX 3080", 8.6, gb10=10_240, gb12=12_288),
    _gpu("RTX 3080 Ti", 8.6, gb12=12_288),
    _gpu("RTX 3070", 8.6, gb8=8_192),
    _gpu("RTX 3060", 8.6, gb12=12_288),
    _gpu("RTX 2080 Ti", 7.5, gb11=11_264),
    _gpu("GTX 1080 Ti", 6.1, gb11=11_264),
)

_SIZE = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(?P<unit>g|gb|gib|m|mb|mib)?")
_NAMED_SIZE = re.compile(r"(?<![0-9a-z])(?P<gb>[0-9]{1,3})\s*(?:gb|gib|g)(?![a-z0-9])")
_NOISE = re.compile(
    r"\b(?:nvidia|geforce|tesla|quadro|graphics|generation|gpu|sxm[0-9]?|pcie|hbm[0-9]e?"
    r"|blackwell|workstation|server|edition|max-q)\b"
)


def parse_gpu(text: str) -> tuple[float, str]:
    """Read what a person says of a GPU: "24", "24GB", "RTX 4090", "a100-80g".

    A size in GB is taken for GiB, as in the trade names of cards.

    Returns:
        Its memory in GiB, and its name; "" where only a size is given.

    Raises:
        LlamavetError: it is no known card and no size that a GPU can have.
    """
    said = text.strip().lower()
    size = _SIZE.fullmatch(said)
    if size is not None and said not in _by_key():
        return _given(size, text), ""
    if len(said) > _MAX_CHARS or not said.isprintable() or not said:
        raise _refusal(text, "is no GPU")
    card, gb = _card(said)
    if card is None:
        near = _near(said)
        raise _refusal(text, "is no GPU that is known here", f" (is it {near}?)" if near else "")
    sizes = dict(card.sizes_mib)
    if gb is None and len(sizes) > 1:
        names = " or ".join(f'"{card.name} {one}GB"' for one in sizes)
        raise LlamavetError(f"{card.name} comes with several sizes", remedy=f"say {names}")
    if gb is not None and gb not in sizes:
        known = " or ".join(str(one) for one in sizes)
        raise LlamavetError(f"{card.name} has {known} GB, not {gb}", remedy=f'or say "{gb}GB"')
    gb = gb if gb is not None else next(iter(sizes))
    name = f"{card.name} {gb}GB" if len(sizes) > 1 else card.name
    return sizes[gb] / MIB_PER_GIB, name


def known_gpu(name: str) -> Gpu | None:
    """Return the card of a name, as a driver or a person writes it; None where it is not known."""
    if len(name) > _MAX_CHARS:
        return None
    return _card(name.lower())[0]


def _given(size: re.Match[str], text: str) -> float:
    gib = float(size["number"])
    if (size["unit"] or "").startswith("m"):
        gib /= MIB_PER_GIB
    if not _SMALLEST_GIB <= gib <= _LARGEST_GIB:
        raise _refusal(text, "is no size of a GPU, in GiB")
    return gib


def _card(said: str) -> tuple[Gpu | None, int | None]:
    """Return the card, and the size in GB that its name says."""
    size = _NAMED_SIZE.search(said)
    gb = int(size["gb"]) if size is not None else None
    rest = said[: size.start()] + said[size.end() :] if size is not None else said
    words = _NOISE.sub(" ", rest.replace("-", " ").replace("_", " "))
    return _by_key().get("".join(words.split())), gb


@cache
def _by_key() -> dict[str, Gpu]:
    return {key: card for card in GPUS for key in _keys(card)}


def _keys(card: Gpu) -> Iterator[str]:
    key = "".join(card.name.lower().split())
    yield key
    short = key.removeprefix("rtx").removeprefix("gtx")
    if short != key:
        yield short  # "4090", "a6000", "4070ti"


def _near(said: str) -> str:
    names = {card.name.lower(): card.name for card in GPUS}
    found = get_close_matches(said, names, n=1, cutoff=0.6)
    return names[found[0]] if found else ""


def _refusal(text: str, what: str, hint: str = "") -> LlamavetError:
    shown = text.strip()[:_MAX_CHARS]
    shown = shown if shown.isprintable() else ascii(shown)
    return LlamavetError(
        f'"{shown}" {what}{hint}', remedy='say its memory, as "24GB", or a name as "RTX 4090"'
    )
