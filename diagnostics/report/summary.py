"""Owns the few words that sum a run up: how it stands, what it learned."""

from diagnostics.findings import Evidence, Finding, Fix, Language, Safety, Severity, Text
from diagnostics.report import words
from diagnostics.report.clean import shown
from diagnostics.report.model import Report, describe_changes
from diagnostics.report.numbers import number


def status_line(report: Report, language: Language) -> str:
    """Return how a run stands: "failed at step 3 of 90, exit code 1"."""
    run = report.run
    parts = [words.STATUS.get(run.status, words.STATUS["unknown"]).to(language)]
    if run.step is not None and run.total_steps:
        place = words.AT_STEP_OF.to(language).format(step=run.step, total=run.total_steps)
        parts.append(place)
    elif run.step is not None:
        parts.append(words.AT_STEP.to(language).format(step=run.step))
    line = (" " if language is Language.EN else "，").join(parts)
    if run.exit_code is not None:
        separator = ", " if language is Language.EN else "，"
        line += separator + words.EXIT_CODE.to(language).format(code=run.exit_code)
    return line


def facts(report: Report, language: Language) -> list[tuple[str, str]]:
    """Return what is known of the run itself, each with its name."""
    run = report.run
    logs = ", ".join(report.logs[-3:])
    found = [
        (words.CONFIG, run.config),
        (words.LOG, logs or None),
        (words.OUTPUT, run.output_dir),
        (words.VERSION, run.llamafactory),
        (words.LOSS, loss_line(report, language) or None),
    ]
    return [(name.to(language), shown(value)) for name, value in found if value is not None]


def loss_line(report: Report, language: Language) -> str:
    """Return where the loss began and where it is: empty where none was logged."""
    points = [(p.step, p.loss) for p in report.snapshot.steps if p.loss is not None]
    if not points:
        return ""
    (begin, first), (end, last) = points[0], points[-1]
    form = words.FROM_TO if len(points) > 1 else words.ONE_POINT
    line = form.to(language).format(first=number(first), begin=begin, last=number(last), end=end)
    evals = [point.eval_loss for point in report.snapshot.evals if point.eval_loss is not None]
    if evals:
        separator = "; " if language is Language.EN else "；"
        line += separator + words.EVAL_LAST.to(language).format(loss=number(evals[-1]))
    return line


def other_fixes(finding: Finding, report: Report) -> list[Fix]:
    """Return the fixes of a finding that are not shown in full, the harmless first."""
    full = report.remedy.fix if _is_shown(finding, report) and report.remedy else None
    rest = [fix for fix in finding.fixes if full is None or fix.id != full.id]
    return sorted(rest, key=lambda fix: -fix.safety)


def fixes_heading(finding: Finding, report: Report) -> Text:
    """Return what stands above the fixes that are not shown in full."""
    return words.OTHER_FIXES if _is_shown(finding, report) else words.FIXES


def price_line(fix: Fix, language: Language) -> str:
    """Return what an unsafe fix costs; empty for the others."""
    price = fix.price.to(language)
    if fix.safety is not Safety.UNSAFE or not price:
        return ""
    return shown(words.PRICE.to(language).format(text=price))


def _is_shown(finding: Finding, report: Report) -> bool:
    return report.remedy is not None and report.remedy.finding_id == finding.id


def fix_line(fix: Fix, language: Language) -> str:
    """Return a fix in one line: what to do, and what it changes."""
    title = fix.title.to(language)
    changes = describe_changes(fix, language)
    line = words.labelled(title, changes, language) if changes else title
    caveat = fix.caveat.to(language)
    return shown(line + words.aside(caveat, language) if caveat else line)


def remedy_heading(fix: Fix, language: Language) -> str:
    """Return the title of a fix with what its safety means."""
    if fix.safety is Safety.MANUAL:
        return shown(fix.title.to(language))
    return shown(
        fix.title.to(language) + words.aside(words.SAFETY_MEANS[fix.safety].to(language), language)
    )


def place_of(item: Evidence) -> str:
    """Return where evidence stands: "stdout.log:120"."""
    return shown(item.source if item.line is None else f"{item.source}:{item.line}")


def capital(text: str) -> str:
    """Return a sentence with its first letter large."""
    return text[:1].upper() + text[1:]


def short_name(report: Report) -> str:
    """Return the last part of a run's name; nothing where that says nothing."""
    name = report.name.rstrip("/").rpartition("/")[2]
    says_nothing = name in {".", "..", "-"} or report.name.startswith("/dev/")
    return "" if says_nothing else shown(name)


def counted(count: int, severity: Severity, language: Language) -> str:
    """Return how many findings of a severity there are: "1 warning", "2 notes"."""
    if language is Language.ZH:
        return f"{count} 项{words.SEVERITIES[severity].zh}"
    plural = "" if count == 1 or severity is Severity.CRITICAL else "s"
    return f"{count} {severity.label}{plural}"
