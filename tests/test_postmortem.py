"""What the files of a dead run tell, however they were left."""

import gzip
import io
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from diagnostics.errors import RunError
from diagnostics.findings import Language
from diagnostics.observations import SourceFault
from diagnostics.postmortem import PostMortem, examine_remains
from diagnostics.report import as_json, as_text
from diagnostics.report.html import section
from diagnostics.report.markdown import as_markdown
from diagnostics.ruleset import load_rules
from diagnostics.runs import log_parts
from diagnostics.runs.gather import gather
from diagnostics.runs.mended import write_mended
from diagnostics.runs.remains import Remains
from diagnostics.sources.console import read_stream

RULES = load_rules()
START = (
    "[INFO|2026-05-01 10:00:00] llamafactory.hparams.parser:406 >> Process rank: 0, world size: 1, "
    "device: cuda:0, distributed training: False, compute dtype: torch.bfloat16\n"
)
HEADER = (
    "[INFO|trainer.py:2519] 2026-05-01 10:00:05,000 >> ***** Running training *****\n"
    "[INFO|trainer.py:2520] 2026-05-01 10:00:05,000 >>   Num examples = 100\n"
    "[INFO|trainer.py:2521] 2026-05-01 10:00:05,000 >>   Num Epochs = 1\n"
    "[INFO|trainer.py:2526] 2026-05-01 10:00:05,000 >>   Total optimization steps = 50\n"
)
BARS = "\r 10%|#   | 5/50 [00:10<01:30,  2.00s/it]\r 20%|##  | 10/50 [00:20<01:20,  2.00s/it]\n"
OOM = (
    "Traceback (most recent call last):\n"
    '  File "/env/site-packages/transformers/trainer.py", line 3, in training_step\n'
    "    loss = self.compute_loss(model, inputs)\n"
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
    "capacity of 23.65 GiB of which 1.20 GiB is free. Of the allocated memory 20.00 GiB is "
    "allocated by PyTorch, and 1.00 GiB is reserved by PyTorch but unallocated.\n"
)
BAD_ARGUMENT = (
    "Traceback (most recent call last):\n"
    '  File "/env/site-packages/llamafactory/hparams/parser.py", line 3, in get_train_args\n'
    "    raise ValueError\n"
    "ValueError: Some keys are not used by the HfArgumentParser: ['lora_rnk']\n"
)
CONFIG = (
    "model_name_or_path: m\nstage: sft\nfinetuning_type: lora\nper_device_train_batch_size: 4\n"
)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMAVET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def examined(*words: str) -> PostMortem:
    (left,) = gather(words).runs
    return examine_remains(left, RULES)


def ids(found: PostMortem) -> list[str]:
    return [finding.id for finding in found.diagnosis.findings]


def rows(last: int) -> str:
    return "".join(
        f'{{"current_steps": {n}, "total_steps": 50, "loss": {2 / n}, "lr": 1e-4,'
        f' "epoch": {n / 50}, "percentage": 1.0, "elapsed_time": "0:{n // 6:02}:{n % 6 * 10:02}",'
        ' "remaining_time": "0:01:00"}\n'
        for n in range(1, last + 1)
    )


def test_a_log_its_config_and_its_metrics_make_one_report():
    Path("stdout.log").write_text(START + HEADER + BARS + OOM)
    Path("config.yaml").write_text(CONFIG)
    Path("trainer_log.jsonl").write_text(rows(10))

    found = examined(".")

    assert ids(found)[0] == "gpu_oom.train"
    assert (found.facts.status, found.facts.step, found.facts.total_steps) == ("failed", 10, 50)
    assert found.facts.config == "config.yaml"
    report = found.report()
    assert report.remedy is not None
    assert "+per_device_train_batch_size: 2" in report.remedy.diff
    assert report.pace


def test_the_pace_comes_from_the_metrics_where_the_log_has_no_bar():
    Path("trainer_log.jsonl").write_text(rows(50))

    found = examined(".")

    pace = found.report().pace
    assert pace
    assert {round(each) for _, each in pace} == {10}


def test_metrics_of_an_earlier_attempt_are_not_those_of_a_run_that_never_trained():
    Path("stdout.log").write_text(START + BAD_ARGUMENT)
    Path("trainer_log.jsonl").write_text(rows(40))

    found = examined(".")

    assert found.facts.step is None
    assert found.facts.status == "failed"


def test_metrics_count_where_only_the_end_of_the_log_was_kept():
    Path("stdout.log").write_text(OOM)
    Path("trainer_log.jsonl").write_text(rows(40))

    assert examined(".").facts.step == 40


def test_an_older_part_of_a_rotated_log_tells_how_the_training_began():
    Path("out.log.1").write_text(START + HEADER)
    Path("out.log").write_text(BARS + OOM)

    found = examined("out.log")

    assert found.snapshot.facts["num_examples"] == 100
    assert ids(found)[0] == "gpu_oom.train"
    evidence = found.diagnosis.findings[0].evidence[0]
    assert (evidence.source, evidence.line) == ("out.log", 5)


def test_an_older_part_of_another_run_is_left_out():
    Path("out.log.1").write_text(START + HEADER + BARS + OOM)
    Path("out.log").write_text(START + BAD_ARGUMENT)

    found = examined("out.log")

    assert not [name for name in ids(found) if name.startswith("gpu_oom")]


def test_a_packed_older_part_is_read_as_well():
    Path("out.log.1.gz").write_bytes(gzip.compress((START + HEADER + BARS + OOM).encode()))
    Path("out.log").write_text(START + HEADER)

    assert ids(examined("out.log")) == []


def test_a_packed_log_is_read_with_its_own_line_numbers():
    Path("out.log.gz").write_bytes(gzip.compress((START + HEADER + BARS + OOM).encode()))

    evidence = examined("out.log.gz").diagnosis.findings[0].evidence[0]

    assert (evidence.source, evidence.line) == ("out.log.gz", 10)


def test_the_output_folder_that_the_log_speaks_of_is_read():
    folder = Path("saves/x")
    (folder / "checkpoint-10").mkdir(parents=True)
    (folder / "trainer_log.jsonl").write_text(rows(12))
    saved = "[INFO|trainer.py:4] 2026-05-01 10:00:09,000 >> Saving model checkpoint to "
    Path("my.log").write_text(START + HEADER + BARS + saved + "saves/x/checkpoint-10\n")

    found = examined("my.log")

    assert found.facts.output_dir == "saves/x"
    assert len(found.snapshot.steps) == 12


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_a_log_comes_through_a_pipe(pack: Callable[[bytes], bytes]):
    data = (START + HEADER + BARS + OOM).encode()
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_bytes, args=(pack(data),))
    writer.start()

    found = examined("pipe")
    writer.join()

    assert ids(found)[0] == "gpu_oom.train"


def test_a_torn_packed_stream_is_read_as_far_as_it_goes():
    text = "".join(f"line {random.Random(n).random()}\n" for n in range(40_000))
    torn = gzip.compress((START + HEADER + text).encode())[:-100]

    seen = list(read_stream(io.BytesIO(torn), 1.0, "x"))

    assert any(getattr(one, "name", "") == "num_examples" for one in seen)
    assert isinstance(seen[-1], SourceFault)
    assert "ends" in seen[-1].reason


def test_an_empty_stream_says_so():
    Path("empty").write_bytes(b"")

    with pytest.raises(RunError, match="it is empty"):
        examine_remains(Remains("empty", Path(), stream=True), RULES)


def test_a_log_with_a_hole_in_it_is_read():
    Path("my.log").write_bytes(
        START.encode() + b"\0" * 300_000 + (HEADER + BARS).encode() + b"\0" * 9000 + OOM.encode()
    )
    log_parts.check_readable((Path("my.log"),))

    assert ids(examined("my.log"))[0] == "gpu_oom.train"


def test_a_terminal_capture_is_read_and_shown_without_its_escape_codes():
    coloured = (START + HEADER + BARS + OOM).replace(
        "CUDA out", "\x1b[31mCUDA\x1b[0m\x1b]0;x\x07 out"
    )
    Path("my.log").write_text("\x1b[2J\x1b[H" + coloured)

    found = examined("my.log")

    assert ids(found)[0] == "gpu_oom.train"
    assert "\x1b" not in as_text(found.report(), Language.EN)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_file_holds_every_form_of_the_report_comes_out(seed: int):
    dice = random.Random(seed)
    parts = [START, HEADER, BARS, OOM, BAD_ARGUMENT, "{'loss': nan, 'epoch': 1e400}\n", "\0" * 99]
    data = b"".join(
        dice.choice([dice.choice(parts).encode(), dice.randbytes(dice.randrange(400))])
        for _ in range(60)
    )
    Path("my.log").write_bytes(data)
    Path("trainer_log.jsonl").write_bytes(data + rows(9).encode())
    Path("config.yaml").write_bytes(CONFIG.encode())

    report = examined(".").report()

    for language in Language:
        for text in (
            as_text(report, language),
            as_markdown(report, language),
            section(report, language),
            str(as_json(report, language)),
        ):
            assert "\x1b" not in text
            text.encode()


def test_an_unknown_fix_is_told_with_those_that_there_are():
    Path("my.log").write_text(START + HEADER + BARS + OOM)

    with pytest.raises(
        RunError, match=r"nosuch: no such fix for this run; its fixes are halve_batch"
    ):
        examined("my.log").report("nosuch")


def test_the_mended_config_keeps_all_else_of_the_file():
    Path("my.log").write_text(START + HEADER + BARS + OOM)
    text = "# mine\r\n" + CONFIG.replace("\n", "   # why\r\n").rstrip()
    Path("c.yaml").write_bytes(text.encode())
    found = examined("my.log", "c.yaml")

    write_mended(found.left, found.report().remedy, Path("mended.yaml"), force=False)

    mended = Path("mended.yaml").read_bytes().decode()
    assert mended.startswith("# mine\r\nmodel_name_or_path: m   # why\r\n")
    assert "per_device_train_batch_size: 2" in mended
    assert Path("c.yaml").read_bytes() == text.encode()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["c.yaml", "./c.yaml", "hard.yaml", "soft.yaml"])
def test_the_own_config_is_never_written_under_whatever_name(name: str, *, force: bool):
    Path("my.log").write_text(START + HEADER + BARS + OOM)
    Path("c.yaml").write_text(CONFIG)
    os.link("c.yaml", "hard.yaml")
    Path("soft.yaml").symlink_to("c.yaml")
    found = examined("my.log", "c.yaml")

    with pytest.raises(RunError, match="own config"):
        write_mended(found.left, found.report().remedy, Path(name), force=force)

    assert Path("c.yaml").read_text() == CONFIG
