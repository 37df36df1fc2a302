"""Owns how a fix's prediction reads: "memory 23.9 -> 17.2 of 24.0 GiB: fits". Pure."""

from diagnostics.findings import Fix, Language, Prediction, Text

VERDICTS = {
    "fits": Text("fits", "放得下"),
    "tight": Text("tight", "勉强"),
    "does_not_fit": Text("does not fit", "放不下"),
    "unknown": Text("", ""),
}
ROUGH = Text("rough", "粗略")
MEMORY = Text("memory", "显存")


def memory_line(fix: Fix, language: Language) -> str:
    """Return what a fix does to memory; empty where that is not known."""
    return "" if fix.predicted is None else predicted_line(fix.predicted, language)


def predicted_line(predicted: Prediction, language: Language) -> str:
    """Return a prediction in one line."""
    zh = language is Language.ZH
    line = f"{MEMORY.to(language)} {predicted.before_gib:.1f} -> {predicted.peak_gib:.1f} GiB"
    if predicted.capacity_gib is not None:
        size = f"{predicted.capacity_gib:.1f}"
        line += f"（共 {size}）" if zh else f" of {size}"
    notes = [VERDICTS[predicted.verdict].to(language)]
    if predicted.confidence == "low":
        notes.append(ROUGH.to(language))
    said = ("，" if zh else ", ").join(note for note in notes if note)
    return line + (("：" if zh else ": ") + said if said else "")
