"""Owns choosing the fix that a report shows in full, and working it out on the run's config."""

import shlex

from diagnostics.config.argv import parse_launch
from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import LlamavetError
from diagnostics.findings import Diagnosis, Finding, Fix, Safety
from diagnostics.fixes import plan
from diagnostics.report.model import Remedy

MENDED = "mended.yaml"


def find_fix(diagnosis: Diagnosis, fix_id: str) -> tuple[Finding, Fix] | None:
    """Return the fix with an id: the primary finding's where several have it."""
    findings = sorted(diagnosis.findings, key=lambda finding: not finding.primary)
    pairs = ((finding, fix) for finding in findings for fix in finding.fixes)
    return next((pair for pair in pairs if pair[1].id == fix_id), None)


def best_fix(diagnosis: Diagnosis) -> tuple[Finding, Fix] | None:
    """Return the fix to try first: of the primary finding, the first of the safest that acts."""
    finding = diagnosis.primary
    if finding is None or not finding.fixes:
        return None
    best = finding.best_fix
    return None if best is None else (finding, best)


def work_out_remedy(finding: Finding, fix: Fix, config: EffectiveConfig | None) -> Remedy:
    """Apply a fix on paper; where that cannot be done the remedy says why."""
    if fix.safety is Safety.MANUAL or config is None:
        return Remedy(finding.id, fix)
    try:
        change = plan(fix, config)
    except LlamavetError as fault:
        return Remedy(finding.id, fix, fault=str(fault))
    text = None
    if change.edits_file and change.after.document is not None:
        text = change.after.document.text
    return Remedy(finding.id, fix, change.diff, text=text)


def commands(
    remedy: Remedy | None,
    config: EffectiveConfig | None,
    *,
    name: str,
    record: str | None = None,
    written: str | None = None,
    chosen: bool = False,
) -> tuple[str, ...]:
    """Return the command lines that carry a remedy out and start the training again.

    Args:
        remedy: what is to be carried out.
        config: what the run was started with.
        name: what the run's files are called on the command line.
        record: the run's name where llamavet launched it, and can relaunch it.
        written: the mended config where it was written already.
        chosen: whether the fix must be named, as it is not the one that is taken by itself.
    """
    if remedy is None or config is None or remedy.fix.safety is Safety.MANUAL or remedy.fault:
        return ()
    if record is not None and written is None:
        return (shlex.join(["llamavet", "fix", record, "--fix", remedy.fix.id, "--relaunch"]),)
    env = [f"{key}={shlex.quote(value)}" for key, value in remedy.fix.env.items()]
    if remedy.text is None:
        return (" ".join([*env, _as_started(remedy, config)]),)
    target = written or MENDED
    words = _words_with(config, target)
    lines = [" ".join([*env, shlex.join(words)])]
    if written is None and name:
        which = ["--fix", remedy.fix.id] if chosen else []
        line = ["llamavet", "analyze", name, *which, "--write-config", target]
        lines.insert(0, shlex.join(line))
    return tuple(lines)


def _as_started(remedy: Remedy, config: EffectiveConfig) -> str:
    """Return the command line for a remedy that leaves the file as it is."""
    if config.args is None or remedy.fault:
        path = config.document.path if config.document is not None else None
        return shlex.join(["llamafactory-cli", "train", str(path or "config.yaml")])
    after = plan(remedy.fix, config).after
    return shlex.join(after.args.argv if after.args is not None else config.args.argv)


def _words_with(config: EffectiveConfig, target: str) -> tuple[str, ...]:
    args = config.args
    if args is not None and args.config_index is not None:
        words = (*args.argv[: args.config_index], target, *args.argv[args.config_index + 1 :])
        if parse_launch(words) is not None:
            return words
    return ("llamafactory-cli", "train", target)
