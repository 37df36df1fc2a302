"""How a finding reads where others only followed from it."""

from dataclasses import replace

from diagnostics.findings import Blind, Diagnosis, Evidence, Finding, Language, Severity, Text
from tui.widgets.cells import Line
from tui.widgets.findings import findings_lines, full_lines

LOST = Finding(
    id="nccl.peer_lost",
    severity=Severity.CRITICAL,
    title=Text("A peer was lost", "失去对端"),
    cause=Text("", ""),
    evidence=(Evidence("stdout.log", 9, "Connection reset by peer"),),
)
FULL = Finding(
    id="gpu_oom.train",
    severity=Severity.CRITICAL,
    title=Text("GPU out of memory", "显存不足"),
    cause=Text("It asked for 2 GiB. " * 12, "申请 2 GiB。" * 12),
    evidence=(Evidence("stdout.log", 5, "CUDA out of memory"),),
    primary=True,
    consequences=(LOST,),
)


def text(lines: list[Line]) -> list[str]:
    return ["".join(part for part, _ in line) for line in lines]


def rows(limit: int, language: Language = Language.EN) -> list[str]:
    diagnosis = Diagnosis((FULL,))
    found = findings_lines(diagnosis, 78, language, running=False, can_fix=True, limit=limit)
    return text(list(found))


def test_what_only_followed_stands_under_its_cause_in_one_row():
    assert "  what followed: A peer was lost" in rows(12)
    assert "  随后出现：失去对端" in rows(12, Language.ZH)


def test_no_more_rows_than_there_is_room_for():
    assert len(rows(4)) <= 4
    assert len(rows(6)) <= 6


def test_the_full_form_names_what_followed_too():
    lines = text(list(full_lines(Diagnosis((FULL,)), 78, Language.EN)))

    assert "  what followed: A peer was lost" in lines
    assert any("stdout.log:5" in line for line in lines)


def test_the_full_form_tells_what_to_look_at_to_be_sure():
    sure = replace(FULL, to_be_sure=Text("nvidia-smi shows it full.", "nvidia-smi 会显示已满。"))

    lines = text(list(full_lines(Diagnosis((sure,)), 78, Language.EN)))

    assert "  to be sure: nvidia-smi shows it full." in lines


def test_a_run_that_goes_on_is_not_said_to_lack_its_end():
    diagnosis = Diagnosis(
        (), (Blind("run.killed", ("exit",)), Blind("slow.throttled", ("gpu.name: no",)))
    )

    for running, missing in ((True, "gpu"), (False, "exit, gpu")):
        lines = findings_lines(diagnosis, 78, Language.EN, running=running, can_fix=False, limit=9)
        assert f"  not judged, not seen: {missing}" in text(list(lines))
