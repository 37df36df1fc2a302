"""Owns what is told of a prediction: figures in GiB, a verdict, a range, and how sure it is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from diagnostics.findings import Language, Prediction, Text
from diagnostics.memory.architecture import Architecture, Confidence
from diagnostics.memory.calibration import Calibration
from diagnostics.memory.estimate import predict
from diagnostics.memory.peak import GIB, Peak, Phase, Terms
from diagnostics.memory.rules_of_thumb import RulesOfThumb, rules_of_thumb
from diagnostics.memory.verdict import CONTEXT_GIB, HOST_BASE_GIB, WORKSPACE, Verdict, verdict_of
from diagnostics.memory.workload import Attention, Workload

SPREAD = {Confidence.HIGH: 0.03, Confidence.MEDIUM: 0.12, Confidence.LOW: 0.35}
"""Relative error of the allocated peak: measured where confidence is high, else set by care."""
ANCHORED_SPREAD = {Confidence.HIGH: 0.02, Confidence.MEDIUM: 0.05, Confidence.LOW: 0.10}
"""The same for a change of a run that is seen not to fit: what it needed is a fixed point."""
_RESERVED = {Attention.EAGER: 1.17}
_RESERVED_DEFAULT = 1.10
"""Reserved over allocated memory: the medians of 59 runs (fitcheck-llm 0.3.1, a T4)."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """A prediction for one GPU. `device_gib` is what nvidia-smi would show at the peak."""

    model: Architecture
    work: Workload
    peak: Peak
    allocated_gib: float
    reserved_gib: float
    device_gib: float
    low_gib: float
    high_gib: float
    capacity_gib: float | None
    verdict: Verdict
    confidence: Confidence
    method: str
    """"closed_form", "simulated" or "calibrated"."""
    assumptions: tuple[Text, ...]
    rules: RulesOfThumb
    anchored: bool = False
    name: str = ""
    """What the config calls the model."""

    @property
    def needed_gib(self) -> float:
        """What a card must have: the allocated peak, workspaces and the context."""
        if self.work.on_cpu:
            return self.allocated_gib + HOST_BASE_GIB
        return self.allocated_gib * WORKSPACE + CONTEXT_GIB

    @property
    def phase(self) -> Phase:
        """The phase that needs most."""
        return self.peak.phase

    @property
    def terms(self) -> Terms:
        """Where the bytes of that phase are."""
        return self.peak.terms


def forecast(
    model: Architecture,
    work: Workload,
    *,
    capacity_gib: float | None = None,
    calibration: Calibration | None = None,
    anchored: bool = False,
    name: str = "",
) -> Forecast:
    """Predict one GPU's peak and judge it against the GPU's size.

    `anchored` tells that the same training was seen to run out of memory: a change of it is
    judged by how it differs.
    """
    peak = predict(model, work)
    confidence = confidence_of(model, work)
    allocated, method = peak.allocated_gib, "closed_form"
    notes: tuple[Text, ...] = ()
    if calibration is not None:
        allocated, method = calibration.corrected(allocated), "calibrated"
        notes = (calibration.text,)
    return _told(
        Forecast(
            model=model,
            work=work,
            peak=peak,
            allocated_gib=allocated,
            reserved_gib=0.0,
            device_gib=0.0,
            low_gib=0.0,
            high_gib=0.0,
            capacity_gib=capacity_gib,
            verdict=Verdict.UNKNOWN,
            confidence=confidence,
            method=method,
            assumptions=(*notes, *work.assumptions, *model.remarks, *peak.remarks),
            rules=rules_of_thumb(work, peak.total_params),
            anchored=anchored,
            name=name,
        )
    )


def with_simulated(
    told: Forecast, allocated_gib: float, reserved_gib: float | None, notes: tuple[Text, ...] = ()
) -> Forecast:
    """Return the forecast with the peak that an exact simulation found."""
    exact = replace(
        told,
        allocated_gib=allocated_gib,
        method="simulated",
        confidence=Confidence.HIGH,
        assumptions=(*notes, *told.assumptions),
    )
    return _told(exact, reserved_gib=reserved_gib)


def _told(one: Forecast, *, reserved_gib: float | None = None) -> Forecast:
    """Work out what follows from the allocated peak."""
    allocated = one.allocated_gib
    spread = (ANCHORED_SPREAD if one.anchored else SPREAD)[one.confidence]
    ratio = _RESERVED.get(one.work.attention, _RESERVED_DEFAULT)
    context = CONTEXT_GIB
    if one.work.on_cpu:
        ratio, context = 1.0, HOST_BASE_GIB  # malloc gives large blocks back at once
    reserved = allocated * ratio if reserved_gib is None else reserved_gib
    return replace(
        one,
        reserved_gib=reserved,
        device_gib=reserved + context,
        low_gib=allocated * (1 - spread) + context / 2,
        high_gib=reserved * (1 + spread) + context,
        verdict=verdict_of(allocated, one.capacity_gib, spread=spread, context_gib=context),
    )


def confidence_of(model: Architecture, work: Workload) -> Confidence:
    """Tell how far the closed form can be trusted: as far as its weakest part."""
    worst = [model.confidence]
    sharding = work.sharding
    if sharding.zero_stage or sharding.fsdp or sharding.gpus > 1:
        worst.append(Confidence.MEDIUM)
    if work.attention is Attention.EAGER or work.liger or work.optimizer.variant:
        worst.append(Confidence.MEDIUM)
    if work.stage in {"dpo", "kto", "rm"} or model.experts is not None or model.tower_params:
        worst.append(Confidence.MEDIUM)
    if not model.gated_mlp:
        worst.append(Confidence.MEDIUM)  # older decoders, each with ways of its own
    if work.stage == "ppo" or work.train_tower:
        worst.append(Confidence.LOW)
    order = [Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW]
    return max(worst, key=order.index)


def prediction_of(before: Forecast, after: Forecast) -> Prediction:
    """Return what a fix carries of the forecasts of the config without it and with it."""
    return Prediction(
        before_gib=before.needed_gib,
        peak_gib=after.needed_gib,
        capacity_gib=after.capacity_gib,
        verdict=after.verdict.value,
        confidence=after.confidence.value,
        method=after.method,
    )


def as_json(told: Forecast, language: Language = Language.EN) -> Mapping[str, object]:
    """Return the forecast as other programs read it: sizes in GiB of one GPU."""
    terms = told.terms
    return {
        "schema": 1,
        "allocated_gib": round(told.allocated_gib, 4),
        "reserved_gib": round(told.reserved_gib, 4),
        "device_gib": round(told.device_gib, 4),
        "low_gib": round(told.low_gib, 4),
        "high_gib": round(told.high_gib, 4),
        "phase": told.phase.value,
        "terms": terms_json(terms),
        "phases": {
            phase.value: round(one.total / GIB, 4) for phase, one in told.peak.phases.items()
        },
        "trainable_params": told.peak.trainable_params,
        "total_params": told.peak.total_params,
        "capacity_gib": None if told.capacity_gib is None else round(told.capacity_gib, 4),
        "verdict": told.verdict.value,
        "confidence": told.confidence.value,
        "method": told.method,
        "assumptions": [text.to(language) for text in told.assumptions],
        "rule_of_thumb_gib": {
            "article": told.rules.article_gib,
            "llamafactory_readme": told.rules.llamafactory_readme_gib,
        },
    }


def terms_json(terms: Terms) -> dict[str, float]:
    """Return terms in GiB."""
    return {
        "weights": round(terms.weights / GIB, 4),
        "gradients": round(terms.gradients / GIB, 4),
        "optimizer": round(terms.optimizer / GIB, 4),
        "activations": round(terms.activations / GIB, 4),
        "logits": round(terms.logits / GIB, 4),
        "other": round(terms.other / GIB, 4),
    }
