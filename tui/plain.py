"""Owns the journey as lines of text, for pipes, logs and terminals that take no screen."""

import sys
from collections.abc import Iterable

from diagnostics.findings import Finding, Language
from diagnostics.monitor import Watcher
from diagnostics.monitor_update import MonitorUpdate, Proposal
from diagnostics.observations import Missing
from diagnostics.report import describe_change
from diagnostics.report.outlook import memory_line
from diagnostics.runs.heal import Ended, HealEvent, Treated, until_end
from diagnostics.runs.model import Attempt, Outcome, Run
from diagnostics.status import RunStatus

DONE, FAILED = 0, 1
_GIB = 1024**3


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def asks(question: str) -> bool:
    """Ask for consent; anything but yes is no, and so is no terminal."""
    if not sys.stdin.isatty():
        say(f"{question} no terminal to ask: use --yes")
        return False
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def show_proposal(proposal: Proposal, language: Language) -> None:
    """Print what would be done, for consent."""
    say(proposal.title.to(language))
    if proposal.fix is not None and proposal.fix.predicted is not None:
        say(f"  {memory_line(proposal.fix, language)}")
    if proposal.diff:
        say(proposal.diff.rstrip("\n"))
    for text in proposal.consequences:
        say(f"  - {text.to(language)}")
    if proposal.warning.to(language):
        say(f"  ! {proposal.warning.to(language)}")


def follow(watcher: Watcher, language: Language) -> int:
    """Print a run's progress until it ends; the exit code says whether it ended well."""
    teller = _Teller(watcher.run, language)
    last: MonitorUpdate | None = None
    try:
        for last in until_end(watcher):
            teller.tell(last)
    finally:
        watcher.close()
    return DONE if last is not None and last.status is RunStatus.FINISHED else FAILED


def tell(events: Iterable[HealEvent], run: Run, language: Language) -> int:
    """Print a healing journey; 0 where the run finished in the end."""
    teller = _Teller(run, language)
    for event in events:
        match event:
            case MonitorUpdate():
                teller.tell(event)
            case Treated(plan, treated):
                show_proposal(plan, language)
                teller = _Teller(treated, language)
            case Ended(update, reason):
                _tell_ledger(update.attempts)
                if reason:
                    say(f"gave up: {reason}")
                return DONE if update.status is RunStatus.FINISHED else FAILED
    return FAILED


class _Teller:
    """Says each thing once: a phase, a step now and then, a finding, the end."""

    def __init__(self, run: Run, language: Language) -> None:
        self._language = language
        self._found: set[str] = set()
        self._phase = ""
        self._step = -1
        self._ended = False
        simulated = "SIMULATED " if run.simulated_gpu is not None else ""
        say(f"{simulated}run {run.name}: log {run.log_path or run.no_log_reason}")

    def tell(self, update: MonitorUpdate) -> None:
        snapshot = update.snapshot
        if snapshot.phase.value != self._phase:
            self._phase = snapshot.phase.value
            say(f"phase: {self._phase}")
        step = snapshot.step
        if step is not None and step > self._step:
            self._step = step
            say(self._progress(update, step))
        for finding in update.diagnosis.findings:
            if finding.id not in self._found:
                self._found.add(finding.id)
                self._finding(finding)
        if update.status is not RunStatus.RUNNING and not self._ended:
            self._ended = True
            code = snapshot.ended.exit_code if snapshot.ended is not None else None
            shown = "" if code is None or isinstance(code, Missing) else f", exit code {code}"
            say(f"{update.status.value} at step {step if step is not None else 'unknown'}{shown}")

    def _progress(self, update: MonitorUpdate, step: int) -> str:
        snapshot = update.snapshot
        parts = [f"step {step}" + (f"/{snapshot.total_steps}" if snapshot.total_steps else "")]
        if snapshot.steps and snapshot.steps[-1].loss is not None:
            parts.append(f"loss {snapshot.steps[-1].loss:.4g}")
        for sample in snapshot.gpus.values():
            used, total = sample.memory_used_bytes, sample.memory_total_bytes
            if not isinstance(used, Missing) and not isinstance(total, Missing):
                mark = " (simulated)" if sample.simulated else ""
                parts.append(f"GPU {sample.index} {used / _GIB:.1f}/{total / _GIB:.1f} GiB{mark}")
        return ", ".join(parts)

    def _finding(self, finding: Finding) -> None:
        say(f"{finding.severity.label}: {finding.title.to(self._language)} [{finding.id}]")
        if finding.cause.to(self._language):
            say(f"  {finding.cause.to(self._language)}")
        for item in finding.evidence[:1]:
            place = f":{item.line}" if item.line is not None else ""
            say(f"  {item.source}{place}: {item.text[:160]}")


def _tell_ledger(attempts: tuple[Attempt, ...]) -> None:
    say("attempts:")
    for attempt in attempts:
        change = "as launched"
        if attempt.treatment is not None:
            change = ", ".join(describe_change(c) for c in attempt.treatment.changes) or (
                attempt.treatment.title_en
            )
        verdict = "" if attempt.outcome is Outcome.UNKNOWN else f": {attempt.outcome.value}"
        step = f" at step {attempt.step}" if attempt.step is not None else ""
        why = f" ({attempt.finding_id})" if attempt.finding_id else ""
        say(f"  {attempt.number}  {change}; {attempt.status.value}{step}{why}{verdict}")
