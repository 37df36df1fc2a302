"""Owns what the commands about runs do, over diagnostics; they print here and in tui/plain.py."""

import argparse
import contextlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from diagnostics.config.effective import EffectiveConfig
from diagnostics.demo.gpu import SIMULATED_GPU
from diagnostics.demo.project import launch_argv, make_project
from diagnostics.errors import RunError
from diagnostics.findings import Finding, Fix, Language, Safety
from diagnostics.fixes import plan
from diagnostics.monitor import Watcher
from diagnostics.postmortem import examine
from diagnostics.report.outlook import memory_line
from diagnostics.runs.heal import heal
from diagnostics.runs.launcher import LocalLauncher
from diagnostics.runs.model import Run
from diagnostics.runs.proposal import propose, propose_stop
from diagnostics.runs.resolve import live_runs, recent_runs, resolve
from diagnostics.runs.start import start
from diagnostics.runs.store import attempts
from diagnostics.runs.treatment import carry_out
from diagnostics.runs.treatment import undo as put_back
from diagnostics.runs.watching import make_watcher, refreshed_group
from tui import plain
from tui.loaded_rules import rules_or_warn

DONE, FAILED = 0, 1


def dashboard(args: argparse.Namespace) -> int:
    """Open the dashboard on the one run that is alive, else the picker."""
    live = live_runs()
    return _open(args, live[0] if len(live) == 1 else None)


def watch(args: argparse.Namespace) -> int:
    """Attach to one run."""
    if args.target is None:
        return dashboard(args)
    found = resolve(args.target)
    if args.plain or not _terminal():
        return plain.follow(_watcher(args, found), Language(args.lang))
    return _open(args, found)


def run(args: argparse.Namespace) -> int:
    """Launch a training; watch it on screen, as lines, or not at all."""
    if args.read_only:
        raise RunError("--read-only forbids launching", remedy="leave it out, or use `watch`")
    started = start(args.config, args.overrides, LocalLauncher())
    if started.config is not None and not started.config.is_set("output_dir"):
        default = started.config.value("output_dir")
        print(
            f"llamavet: {args.config}: has no output_dir; LLaMA-Factory writes to {default},"
            " or refuses to start where its transformers is older than 5",
            file=sys.stderr,
        )
    if args.detach:
        print(f"{started.record.name if started.record else started.name}")
        return DONE
    return _see_through(args, started)


def demo(args: argparse.Namespace) -> int:
    """Make the demo's project, launch its trainer, and show the journey."""
    if args.read_only:
        raise RunError("--read-only forbids launching, which is what the demo does")
    folder = args.folder or Path(tempfile.mkdtemp(prefix="llamavet-demo-"))
    config = make_project(folder)
    with contextlib.chdir(folder):
        words = launch_argv(config)
        started = start(
            Path(words[-1]),
            (),
            LocalLauncher(),
            command=words[:-1],
            simulated_gpu=folder.absolute() / SIMULATED_GPU,
        )
        args.heal, args.unsafe_fixes, args.max_attempts = False, False, 6
        args.interval = min(args.interval, 0.5)  # the whole run takes seconds
        if args.plain or not _terminal():
            args.heal, args.plain = True, True
        return _see_through(args, started)


def _see_through(args: argparse.Namespace, started: Run) -> int:
    if args.heal:
        least = Safety.UNSAFE if args.unsafe_fixes else Safety.SAFE
        events = heal(
            started,
            lambda one: _watcher(args, one),
            LocalLauncher(),
            least=least,
            max_attempts=args.max_attempts,
            on_progress=plain.say,
        )
        return plain.tell(events, started, Language(args.lang))
    if args.plain or not _terminal():
        return plain.follow(_watcher(args, started), Language(args.lang))
    return _open(args, started)


def _watcher(args: argparse.Namespace, one: Run) -> Watcher:
    return make_watcher(
        one, interval_s=args.interval, rules=rules_or_warn(args.rules), read_only=args.read_only
    )


def _open(args: argparse.Namespace, one: Run | None) -> int:
    if not _terminal():
        raise RunError(
            "the dashboard needs a terminal",
            remedy="use `llamavet watch RUN --plain`, `llamavet runs` or `llamavet analyze PATH`",
        )
    from tui.app import LlamavetApp  # noqa: PLC0415 - Textual is slow to import
    from tui.wiring import LocalServices  # noqa: PLC0415 - the same

    services = LocalServices(
        rules_or_warn(args.rules),
        interval_s=args.interval,
        read_only=args.read_only,
        language=Language(args.lang),
    )
    LlamavetApp(services, one).run()
    return DONE


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def fix(args: argparse.Namespace) -> int:
    """Show a run's fixes as diffs, or apply one and relaunch."""
    language = Language(args.lang)
    one = resolve(args.target)
    found = examine(one, rules_or_warn(args.rules))
    choices = [(item, remedy) for item in found.diagnosis.findings for remedy in item.fixes]
    if args.fix is not None:
        choices = [pair for pair in choices if pair[1].id == args.fix]
        if not choices:
            raise RunError(f"{args.fix}: no such fix for this run")
    if not choices:
        print("nothing to fix was found")
        return DONE
    if not args.relaunch:
        _show_fixes(choices, one.config, language, args.format)
        return DONE
    item, remedy = next(
        ((i, r) for i, r in choices if r.safety > Safety.MANUAL), (choices[0][0], choices[0][1])
    )
    treatment = propose(replace(one, group=refreshed_group(one)), item, remedy)
    plain.show_proposal(treatment, language)
    if not args.yes and not plain.asks("apply this and relaunch?"):
        return FAILED
    _tell_relaunched(carry_out(treatment, LocalLauncher(), on_progress=plain.say))
    return DONE


def _show_fixes(
    choices: list[tuple[Finding, Fix]],
    config: EffectiveConfig | None,
    language: Language,
    form: str,
) -> None:
    shown = []
    for item, remedy in choices:
        diff = ""
        if config is not None and remedy.safety > Safety.MANUAL:
            diff = plan(remedy, config).diff
        shown.append(
            {
                "finding": item.id,
                "fix": remedy.id,
                "safety": remedy.safety.label,
                "title": remedy.title.to(language),
                "memory": memory_line(remedy, language),
                "diff": diff,
            }
        )
    if form == "json":
        print(json.dumps(shown, ensure_ascii=False))
        return
    for entry in shown:
        print(f"{entry['fix']} ({entry['safety']}): {entry['title']}  [{entry['finding']}]")
        if entry["memory"]:
            print(f"  {entry['memory']}")
        print(entry["diff"] or "  (advice: nothing to write)\n")


def stop(args: argparse.Namespace) -> int:
    """Stop a run after consent."""
    one = resolve(args.target)
    treatment = propose_stop(replace(one, group=refreshed_group(one)))
    plain.show_proposal(treatment, Language.EN)
    if not args.yes and not plain.asks("stop it?"):
        return FAILED
    carry_out(treatment, LocalLauncher(), on_progress=plain.say)
    return DONE


def relaunch(args: argparse.Namespace) -> int:
    """Relaunch a run as it is, after consent."""
    one = resolve(args.target)
    treatment = propose(replace(one, group=refreshed_group(one)), None, None)
    plain.show_proposal(treatment, Language(args.lang))
    if not args.yes and not plain.asks("relaunch it?"):
        return FAILED
    _tell_relaunched(carry_out(treatment, LocalLauncher(), on_progress=plain.say))
    return DONE


def _tell_relaunched(one: Run) -> None:
    print(f"watch it with: llamavet watch {one.record.name if one.record is not None else ''}")


def undo(args: argparse.Namespace) -> int:
    """Put back the config of a run; of the newest that has a change, where none is named."""
    if args.target is not None:
        print(put_back(resolve(args.target)))
        return DONE
    for one in [*live_runs(), *recent_runs()]:
        made = attempts(one.record) if one.record is not None else []
        if any(a.treatment and a.treatment.backup for a in made):
            print(put_back(one))
            return DONE
    raise RunError("no change of llamavet's is recorded")


def runs(args: argparse.Namespace) -> int:
    """List runs."""
    rows = [_run_row(one) for one in [*live_runs(), *recent_runs()]]
    if args.format == "json":
        print(json.dumps(rows, ensure_ascii=False))
        return DONE
    if not rows:
        print("no training runs here and none is recorded; start one with `llamavet run CONFIG`")
    for row in rows:
        print(f"{row['status']:<9} {row['record'] or row['pid']}  {row['name']}  {row['cwd']}")
    return DONE


def _run_row(one: Run) -> dict[str, Any]:
    made = attempts(one.record) if one.record is not None else []
    status = "running" if one.group is not None else (made[-1].status.value if made else "unknown")
    return {
        "name": one.name,
        "status": status,
        "pid": one.group.root.pid if one.group is not None else None,
        "ranks": len(one.group.ranks) if one.group is not None else 0,
        "record": one.record.name if one.record is not None else None,
        "attempts": [
            {
                "number": a.number,
                "status": a.status.value,
                "step": a.step,
                "finding": a.finding_id,
                "outcome": a.outcome.value,
                "fix": a.treatment.fix_id if a.treatment is not None else None,
            }
            for a in made
        ],
        "cwd": str(one.cwd),
        "output_dir": str(one.output_dir) if one.output_dir is not None else None,
        "log": str(one.log_path) if one.log_path is not None else None,
    }
