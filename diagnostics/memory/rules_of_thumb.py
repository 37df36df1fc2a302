"""Owns the rules of thumb that a prediction is shown beside; they are not used for a verdict.

The article's rule: parameters (in billions) x 20, 10 or 6 GB for full, LoRA and freeze, its stated
figures including 20 % headroom. LLaMA-Factory's README: bytes a parameter by method and bits
(https://github.com/hiyouga/LLaMA-Factory#hardware-requirement).
"""

from dataclasses import dataclass

from diagnostics.memory.workload import Method, Workload

GIB = 2**30
_ARTICLE_GB = {Method.FULL: 20.0, Method.LORA: 10.0, Method.FREEZE: 6.0}


@dataclass(frozen=True, slots=True)
class RulesOfThumb:
    """What the rules say of a whole training, over all GPUs; None where a rule is silent."""

    article_gib: float | None
    llamafactory_readme_gib: float | None


def rules_of_thumb(work: Workload, total_params: int) -> RulesOfThumb:
    """Work both rules out. The rules' GB are decimal; they are given in GiB here."""
    billions = total_params / 1e9
    gigabytes = _ARTICLE_GB.get(work.method)
    article = None if gigabytes is None or work.quantization else billions * gigabytes
    readme = billions * _readme_gb(work)
    return RulesOfThumb(
        None if article is None else article * 1e9 / GIB, round(readme * 1e9 / GIB, 4)
    )


def _readme_gb(work: Workload) -> float:
    if work.quantization is not None:
        return {8: 1.0, 4: 0.5, 2: 0.25}.get(work.quantization.bits, work.quantization.bits / 8)
    if work.method is Method.FULL and work.optimizer.variant not in {"galore", "apollo", "badam"}:
        return 18.0 if work.trainable_bytes == 4 else 8.0  # noqa: PLR2004
    return 2.0
