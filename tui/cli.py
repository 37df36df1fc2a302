"""Owns the `llamavet` command: arguments and exit codes.

Exit codes: 0 done; 1 findings at or above --fail-on, or a run that did not end well; 2 usage, or
input that cannot be read. What a command needs is imported once it is known which it is, Textual
only where a screen is opened.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from diagnostics.errors import LlamavetError
from diagnostics.findings import Language, Severity

USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    _take_overrides(parser, args, rest)
    try:
        return int(args.do(args))
    except LlamavetError as error:
        from tui.outputs import remark  # noqa: PLC0415 - rarely needed

        remark(str(error))
        return USAGE
    except BrokenPipeError:
        from tui.outputs import discard_stdout  # noqa: PLC0415 - rarely needed

        discard_stdout()
        return USAGE
    except KeyboardInterrupt:
        print("llamavet: interrupted; a training goes on by itself", file=sys.stderr)
        return 130


def _take_overrides(
    parser: argparse.ArgumentParser, args: argparse.Namespace, rest: list[str]
) -> None:
    """Take `key=value` words that follow an option; argparse knows them only before it."""
    wrong = [word for word in rest if word.startswith("-") or "=" not in word]
    if rest and (wrong or not hasattr(args, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(wrong or rest)}")
    if rest:
        args.overrides = [*args.overrides, *rest]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="llamavet",
        description="Watches LLaMA-Factory trainings, names what is wrong, cures it with one key.",
        epilog="With no command it opens the dashboard on what runs here.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    _screen_options(parser)
    parser.set_defaults(do=later("tui.commands", "dashboard"), target=None)
    commands_parser = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands_parser.add_parser(name, help=text, description=text)

    _launch_commands(command)
    _check_command(command)
    _estimate_command(command)
    _advise_command(command)
    _analyze_command(command)

    fix = command("fix", "Show the fixes of a run as diffs; --relaunch applies one and relaunches.")
    fix.add_argument("target", metavar="DIR|PID|LOG|RUN")
    fix.add_argument("--fix", metavar="ID", help="which fix (default: the first)")
    fix.add_argument("--relaunch", action="store_true", help="apply it and relaunch the run")
    fix.add_argument("--yes", action="store_true", help="do not ask")
    _report_options(fix)
    fix.set_defaults(do=later("tui.commands", "fix"), read_only=False)

    stop = command("stop", "Stop a run and see every process of it gone.")
    stop.add_argument("target", metavar="DIR|PID|LOG|RUN")
    stop.add_argument("--yes", action="store_true", help="do not ask")
    stop.set_defaults(do=later("tui.commands", "stop"))

    relaunch = command("relaunch", "Relaunch a run as it is, from its last whole checkpoint.")
    relaunch.add_argument("target", metavar="DIR|PID|LOG|RUN")
    relaunch.add_argument("--yes", action="store_true", help="do not ask")
    _language_option(relaunch)
    relaunch.set_defaults(do=later("tui.commands", "relaunch"))

    undo = command("undo", "Put a run's config back as it was before the last change.")
    undo.add_argument("target", nargs="?", metavar="DIR|CONFIG|RUN")
    undo.set_defaults(do=later("tui.commands", "undo"))

    runs = command("runs", "List the trainings that run here and those that were recorded.")
    _report_options(runs)
    runs.set_defaults(do=later("tui.commands", "runs"))

    _rules_commands(command("rules", "List, explain and test the rules."))

    return parser


def later(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """Return what carries a command out, imported when it is called."""

    def do(args: argparse.Namespace) -> int:
        return int(getattr(import_module(module), name)(args))

    return do


class _Version(argparse.Action):
    """Looking the version up takes as long as reading a small log."""

    def __call__(self, parser: argparse.ArgumentParser, *_args: Any) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - slow

        print(f"llamavet {version('llamavet')}")
        parser.exit()


def _analyze_command(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    analyze = command(
        "analyze", "Say why a run failed, and what mends it, from the files that it left."
    )
    analyze.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a log, also .gz, its config, an output_dir, a folder of runs, a quoted pattern,"
        " or - for standard input; what belongs to one run makes one report",
    )
    analyze.add_argument(
        "--format",
        choices=["text", "json", "md", "html"],
        default="text",
        help="md is for an issue, html a page of its own with charts (default: text)",
    )
    analyze.add_argument(
        "--write-config", type=Path, metavar="FILE", help="write the mended config to a new file"
    )
    analyze.add_argument("--fix", metavar="ID", help="which fix to show and write")
    analyze.add_argument("--force", action="store_true", help="let --write-config overwrite FILE")
    _fail_on_option(analyze)
    analyze.add_argument(
        "--exit-zero",
        action="store_const",
        const="never",
        dest="fail_on",
        help="the same as --fail-on never",
    )
    _language_option(analyze)
    _rules_option(analyze)
    analyze.set_defaults(do=later("tui.analyze_command", "analyze"))


def _check_command(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    check = command("check", "Say what would stop or harm a training, before it is launched.")
    check.add_argument("config", metavar="CONFIG", help="the YAML file, or - for standard input")
    _overrides(check)
    check.add_argument("--format", choices=["text", "json", "md"], default="text")
    _fail_on_option(check)
    check.add_argument(
        "--fix",
        nargs="?",
        const="",
        metavar="ID",
        help="show what the safe fixes, or the one with this id, change",
    )
    check.add_argument("--unsafe-fixes", action="store_true", help="take the unsafe ones too")
    check.add_argument("--apply", action="store_true", help="write the fixes; `undo` takes it back")
    check.add_argument(
        "--python",
        type=Path,
        metavar="PATH",
        help="the Python that will train (default: that of llamafactory-cli on the PATH)",
    )
    check.add_argument(
        "--no-probe", action="store_true", help="do not ask what is installed for the training"
    )
    _gpu_options(check)
    _language_option(check)
    _rules_option(check)
    check.set_defaults(do=later("tui.check_command", "check"))


def _estimate_command(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    estimate = command("estimate", "Predict a training's peak GPU memory, and say whether it fits.")
    estimate.add_argument("config", type=Path, metavar="CONFIG", help="the YAML of the training")
    _overrides(estimate)
    _gpu_options(estimate)
    estimate.add_argument(
        "--exact",
        action="store_true",
        help="run the real model's code on tensors without data, in the training's Python",
    )
    estimate.add_argument(
        "--python",
        type=Path,
        metavar="PATH",
        help="with --exact: the Python that has torch (default: that of llamafactory-cli)",
    )
    estimate.add_argument("--format", choices=["text", "json"], default="text")
    _language_option(estimate)
    estimate.set_defaults(do=later("tui.estimate_command", "estimate"))


def _advise_command(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    advise = command("advise", "Say which method fits a model and the GPUs, and write its config.")
    advise.add_argument("model", metavar="MODEL|CONFIG", help="a model, or the YAML of a training")
    _gpu_options(advise)
    advise.add_argument("--samples", type=int, metavar="N", help="how many samples the data has")
    advise.add_argument("--dataset", metavar="NAME", help="look at this data instead")
    advise.add_argument("--dataset-dir", metavar="DIR", help="where dataset_info.json is")
    advise.add_argument(
        "--prefer", choices=["quality", "speed", "memory"], help="what counts above all"
    )
    advise.add_argument("--cutoff", type=int, metavar="TOKENS", help="cutoff_len (default: 2048)")
    advise.add_argument("--format", choices=["text", "json"], default="text")
    advise.add_argument("--write", type=Path, metavar="FILE", help="write what is recommended")
    advise.add_argument("--force", action="store_true", help="let --write overwrite FILE")
    _language_option(advise)
    advise.set_defaults(do=later("tui.advise_command", "advise"))


def _overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="values that win over it"
    )


def _fail_on_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fail-on",
        choices=[*(severity.label for severity in reversed(Severity)), "never"],
        default="warning",
        help="exit with 1 where a finding is at least this bad (default: warning)",
    )


def _gpu_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gpu", metavar="GIB|NAME", help='the GPU: 24, 80g, "RTX 4090" (default: the one here)'
    )
    parser.add_argument("--gpus", type=int, metavar="N", help="how many of them (default: all)")


def _launch_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the commands that open a screen or print a journey."""
    run = command("run", "Launch a training under supervision and watch it.")
    run.add_argument("config", type=Path, help="the YAML file of the training")
    _overrides(run)
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
    run.set_defaults(do=later("tui.commands", "run"))

    watch = command("watch", "Attach to a run by its output folder, pid, log, config or name.")
    watch.add_argument("target", nargs="?", metavar="DIR|PID|LOG|RUN")
    watch.add_argument(
        "--plain", action="store_true", help="lines of text instead of the dashboard"
    )
    _screen_options(watch)
    watch.set_defaults(do=later("tui.commands", "watch"))

    demo = command("demo", "See an out-of-memory cured, with no GPU and no LLaMA-Factory.")
    demo.add_argument("--plain", action="store_true", help="lines of text; heals itself")
    demo.add_argument("--folder", type=Path, help="where to put it (default: a temporary folder)")
    _screen_options(demo)
    demo.set_defaults(do=later("tui.commands", "demo"))


def _screen_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval", type=_seconds, default=2.0, metavar="SECONDS", help="refresh (default: 2)"
    )
    parser.add_argument(
        "--read-only", action="store_true", help="forbid every write, launch and signal"
    )
    _language_option(parser)
    _rules_option(parser)


def _report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=["text", "json"], default="text")
    _language_option(parser)
    _rules_option(parser)


def _language_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lang", choices=["en", "zh"], default=default_language().value)


def _rules_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rules",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="a folder of rules of your own, which win over ours (may be given again)",
    )


def _rules_commands(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = parts.add_parser("list", help="all rules, a line each")
    _report_options(listing)
    listing.set_defaults(do=later("tui.rule_commands", "rules_list"))
    show = parts.add_parser("show", help="one rule, explained")
    show.add_argument("id")
    _rules_option(show)
    show.set_defaults(do=later("tui.rule_commands", "rules_show"))
    test = parts.add_parser("test", help="run the cases beside the rules")
    test.add_argument("paths", nargs="*", type=Path, help="your own rules (default: all)")
    test.set_defaults(do=later("tui.rule_commands", "rules_test"))
    schema = parts.add_parser("schema", help="the JSON Schema of rule files, for editors")
    schema.set_defaults(do=later("tui.rule_commands", "rules_schema"))


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


if __name__ == "__main__":
    sys.exit(main())
