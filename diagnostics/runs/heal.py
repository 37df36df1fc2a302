"""Owns the journey without a person: watch to the end, apply the first fix allowed, relaunch.

It stops where the run is done, where nothing allowed is left to try, or at a number of attempts.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from diagnostics.findings import Finding, Fix, Safety, Severity
from diagnostics.monitor import LOG_SECONDS, Watcher
from diagnostics.monitor_update import MonitorUpdate
from diagnostics.runs.launcher import Launcher
from diagnostics.runs.model import Run
from diagnostics.runs.proposal import TreatmentPlan, propose
from diagnostics.runs.treatment import carry_out
from diagnostics.status import RunStatus


@dataclass(frozen=True, slots=True)
class Treated:
    """A relaunch that was made: what was done and the run that came of it."""

    plan: TreatmentPlan
    run: Run


@dataclass(frozen=True, slots=True)
class Ended:
    """The journey's end: the last update, and why nothing more is tried (empty: all is well)."""

    update: MonitorUpdate
    reason: str


HealEvent = MonitorUpdate | Treated | Ended


def until_end(watcher: Watcher) -> Iterator[MonitorUpdate]:
    """Yield updates until the run has ended; the last is of the ended run, all logs read."""
    while True:
        update = watcher.tick(time.time())
        if update is not None:
            yield update
            if update.status is not RunStatus.RUNNING:
                break
        time.sleep(LOG_SECONDS)
    watcher.interval_s = 0.0  # one more look at once: the end of the log may just have come
    last = watcher.tick(time.time())
    if last is not None:
        yield last


def heal(
    run: Run,
    watch: Callable[[Run], Watcher],
    launcher: Launcher,
    *,
    least: Safety = Safety.SAFE,
    max_attempts: int = 6,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Iterator[HealEvent]:
    """Yield what is seen and done until the run finishes or cannot be helped.

    `least` is the lowest safety of a fix that may be applied without asking.

    Raises:
        LlamavetError: a change or a relaunch that failed.
    """
    number = 1
    while True:
        watcher = watch(run)
        update: MonitorUpdate | None = None
        try:
            for update in until_end(watcher):
                yield update
        finally:
            watcher.close()
        if update is None:
            return
        chosen = choose(update, least)
        if update.status is RunStatus.FINISHED or chosen is None:
            yield Ended(update, _reason(update, least))
            return
        if number >= max_attempts:
            yield Ended(update, f"{number} attempts were made, the most that were allowed")
            return
        plan = propose(run, *chosen)
        run = carry_out(plan, launcher, on_progress=on_progress)
        number += 1
        yield Treated(plan, run)


def choose(update: MonitorUpdate, least: Safety) -> tuple[Finding, Fix] | None:
    """Return the first fix that may be applied, of the critical findings in their order.

    A lesser finding is no reason to launch anew: its fix would not keep the run from failing.
    """
    if update.status is not RunStatus.FAILED:
        return None
    for finding in update.diagnosis.findings:
        if finding.severity < Severity.CRITICAL:
            break
        for fix in finding.fixes:
            if fix.safety >= least and (fix.changes or fix.env) and not fix.caveat.en:
                if fix.predicted is not None and fix.predicted.verdict == "does_not_fit":
                    continue
                return finding, fix
    return None


def _reason(update: MonitorUpdate, least: Safety) -> str:
    if update.status is RunStatus.FINISHED:
        return ""
    if update.status is RunStatus.STOPPED:
        return "the run was stopped"
    primary = update.diagnosis.primary
    if primary is None:
        return "the run failed, and no rule knows why"
    wanted = "a safe fix" if least is Safety.SAFE else "a fix"
    return f"{primary.title.en}: no rule has {wanted} left"
