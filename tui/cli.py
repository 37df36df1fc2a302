"""Owns the `llamavet` command: arguments, exit codes and what goes to stdout.

Exit codes: 0 done; 1 findings at or above --fail-on, or a run that did not end well; 2 usage, or
input that cannot be read. Textual is imported only where a screen is opened.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from diagnostics.errors import LlamavetError, RunError
from diagnostics.findings import Language, Safety, Severity
from tui import commands

DONE, FOUND, USAGE = 0, 1, 2
STDIN_BYTES = 64 * 1024 * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        return int(args.do(args))
    except LlamavetError as error:
        print(f"llamavet: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return USAGE
    except KeyboardInterrupt:
        print("llamavet: interrupted; a training goes on by itself", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="llamavet",
        description="Watches LLaMA-Factory trainings, names what is wrong, cures it with one key.",
        epilog="With no command it opens the dashboard on what runs here.",
    )
    parser.add_argument("--version", action="version", version=f"llamavet {version('llamavet')}")
    _screen_options(parser)
    parser.set_defaults(do=commands.dashboard, target=None)
    commands_parser = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands_parser.add_parser(name, help=text, description=text)

    _launch_commands(command)
    analyze = command(
        "analyze", "Diagnose the files that a run left: a folder, a log, or - (stdin)."
    )
    analyze.add_argument("paths", nargs="+", metavar="PATH")
    analyze.add_argument("--fail-on", choices=[s.label for s in Severity], default="warning")
    analyze.add_argument("--exit-zero", action="store_true", help="exit 0 whatever is found")
    _report_options(analyze)
    analyze.set_defaults(do=analyze_paths)

    fix = command("fix", "Show the fixes of a run as diffs; apply one with --apply or --relaunch.")
    fix.add_argument("target", metavar="DIR|PID|LOG|RUN")
    fix.add_argument("--fix", metavar="ID", help="which fix (default: the first)")
    fix.add_argument("--relaunch", action="store_true", help="apply it and relaunch the run")
    fix.add_argument("--yes", action="store_true", help="do not ask")
    _report_options(fix)
    fix.set_defaults(do=commands.fix, read_only=False)

    stop = command("stop", "Stop a run and see every process of it gone.")
    stop.add_argument("target", metavar="DIR|PID|LOG|RUN")
    stop.add_argument("--yes", action="store_true", help="do not ask")
    stop.set_defaults(do=commands.stop)

    relaunch = command("relaunch", "Relaunch a run as it is, from its last whole checkpoint.")
    relaunch.add_argument("target", metavar="DIR|PID|LOG|RUN")
    relaunch.add_argument("--yes", action="store_true", help="do not ask")
    _language_option(relaunch)
    relaunch.set_defaults(do=commands.relaunch)

    undo = command("undo", "Put a run's config back as it was before the last change.")
    undo.add_argument("target", nargs="?", metavar="DIR|CONFIG|RUN")
    undo.set_defaults(do=commands.undo)

    runs = command("runs", "List the trainings that run here and those that were recorded.")
    _report_options(runs)
    runs.set_defaults(do=commands.runs)

    _rules_commands(command("rules", "List, explain and test the rules."))

    return parser


def _launch_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the commands that open a screen or print a journey."""
    run = command("run", "Launch a training under supervision and watch it.")
    run.add_argument("config", type=Path, help="the YAML file of the training")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="values that win over it")
    run.add_argument("--heal", action="store_true", help="apply safe fixes and relaunch by itself")
    run.add_argument(
        "--unsafe-fixes",
        action="store_true",
        help="with --heal: fixes that change the training too",
    )
    run.add_argument("--max-attempts", type=int, default=6, help="with --heal (default: 6)")
    run.add_argument("--plain", action="store_true", help="lines of text instead of the dashboard")
    run.add_argument("--detach", action="store_true", help="launch and return at once")
    _screen_options(run)
    run.set_defaults(do=commands.run)

    watch = command("watch", "Attach to a run by its output folder, pid, log, config or name.")
    watch.add_argument("target", nargs="?", metavar="DIR|PID|LOG|RUN")
    watch.add_argument(
        "--plain", action="store_true", help="lines of text instead of the dashboard"
    )
    _screen_options(watch)
    watch.set_defaults(do=commands.watch)

    demo = command("demo", "See an out-of-memory cured, with no GPU and no LLaMA-Factory.")
    demo.add_argument("--plain", action="store_true", help="lines of text; heals itself")
    demo.add_argument("--folder", type=Path, help="where to put it (default: a temporary folder)")
    _screen_options(demo)
    demo.set_defaults(do=commands.demo)


def _screen_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval", type=_seconds, default=2.0, metavar="SECONDS", help="refresh (default: 2)"
    )
    parser.add_argument(
        "--read-only", action="store_true", help="forbid every write, launch and signal"
    )
    _language_option(parser)


def _report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=["text", "json"], default="text")
    _language_option(parser)


def _language_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lang", choices=["en", "zh"], default=default_language().value)


def _rules_commands(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = parts.add_parser("list", help="all rules, a line each")
    _report_options(listing)
    listing.set_defaults(do=commands.rules_list)
    show = parts.add_parser("show", help="one rule, explained")
    show.add_argument("id")
    _language_option(show)
    show.set_defaults(do=commands.rules_show)
    test = parts.add_parser("test", help="run the cases beside the rules")
    test.add_argument("folders", nargs="*", type=Path, help="your own rules (default: ours)")
    test.set_defaults(do=commands.rules_test)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:  # noqa: PLR2004 - the range is said in the message
        raise argparse.ArgumentTypeError("must be from 0.1 to 3600 seconds")
    return value


def default_language() -> Language:
    """Return the language of the locale; English for all but Chinese."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)
        if value:
            return Language.ZH if value.startswith("zh") else Language.EN
    return Language.EN


def analyze_paths(args: argparse.Namespace) -> int:
    """Diagnose each path; print one report, or a list of them for several."""
    language = Language(args.lang)
    worst = -1
    reports = []
    for path in args.paths:
        data = sys.stdin.buffer.read(STDIN_BYTES) if path == "-" else None
        if data == b"":
            raise RunError("-: standard input is empty")
        found = commands.examine_target(path, data)
        if not found.recognised:
            print(f"llamavet: {path}: nothing in it is of a training", file=sys.stderr)
        worst = max([worst, *(finding.severity for finding in found.diagnosis.findings)])
        reports.append(commands.render(found, args.format, language))
    if args.format == "json":
        value = reports[0] if len(reports) == 1 else reports
        print(json.dumps(value, ensure_ascii=False))
    else:
        print("\n".join(str(report) for report in reports), end="")
    if args.exit_zero:
        return DONE
    return FOUND if worst >= Severity[args.fail_on.upper()] else DONE


def least_safety(args: argparse.Namespace) -> Safety:
    """Return the lowest safety of a fix that was consented to on the command line."""
    return Safety.UNSAFE if args.unsafe_fixes else Safety.SAFE


if __name__ == "__main__":
    sys.exit(main())
