"""Owns what packages that are not installed foretell: the training's own words for each."""

from collections.abc import Iterator, Mapping

from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.packages import PackageNeed, missing_packages
from diagnostics.config.schema import KEYS
from diagnostics.config.settings import Settings
from diagnostics.findings import Severity, Text
from diagnostics.precheck.foreseen import PARSER, TRAINER, Foreseen, Named
from diagnostics.precheck.surroundings import Surroundings

_RAISED_BY: Mapping[str, tuple[str, ...]] = {
    "optim": TRAINER,
    "report_to": TRAINER,
    "use_liger_kernel": TRAINER,
    "quantization_bit": (
        PARSER[0],
        "llamafactory/model/model_utils/quantization.py:configure_quantization",
    ),
}
"""By key; LLaMA-Factory's parser raises the others."""


def foresee_packages(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    """Yield what would be printed because of packages that are not there."""
    environment = around.environment
    if environment is None:
        return
    settings = Settings(config.as_dict(), environment.keys or KEYS)
    ready = around.model is not None and around.model.is_quantized
    for need in missing_packages(settings, environment):
        if need.key == "quantization_bit" and ready:
            continue  # how the checkpoint itself is quantized counts
        if need.rejected:
            said, frames = need.said or _not_found(need.wanted), _RAISED_BY.get(need.key, PARSER)
            yield Foreseen(said, (need.key,), frames, named=_named(need))
        else:
            yield Foreseen(need.said, (need.key,), ())


def _not_found(wanted: str) -> str:
    said = (
        f"The '{wanted}' distribution was not found and is required by this application."
        f" \nTo fix: run `pip install {wanted}`."
    )
    return f"importlib.metadata.PackageNotFoundError: No package metadata was found for {said}"


def _named(need: PackageNeed) -> Named:
    cause = Text(f"{need.message}.", f"{need.key} 需要 {need.package}。")
    return Named("env.missing_package", {"package": need.package}, cause, Severity.CRITICAL)
