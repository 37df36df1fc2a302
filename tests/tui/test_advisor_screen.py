"""The advisor on real files: the table, the reasons, the YAML of a row, and that it only reads."""

from pathlib import Path

import pytest

from diagnostics.errors import RunError
from diagnostics.findings import Language
from diagnostics.runs.model import Run
from tests.tui.dashboard_pilot import SIZES, app_with, painted, settled
from tests.tui.fakes import FakeServices
from tests.tui.real_configs import CONFIG, training_in
from tests.tui.samples import live_update
from tui.app import LlamavetApp


@pytest.fixture(autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def app_of(run: Run, **kinds) -> LlamavetApp:
    return app_with(FakeServices({run.name: live_update(run)}, **kinds), run)


async def opened(pilot) -> None:
    for key in ("c", "a"):
        await settled(pilot)
        await pilot.press(key)
        await settled(pilot)
        await settled(pilot)


def screen_of(app: LlamavetApp) -> str:
    return "\n".join(row.rstrip() for row in painted(app))


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", SIZES)
async def test_the_table_is_of_the_runs_model_gpu_and_data(size, tmp_path: Path) -> None:
    app = app_of(training_in(tmp_path))
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        for part in (
            "─ which method ",
            "meta-llama/Llama-3.1-8B-Instruct  8.03 B",
            "23.6 GiB; cutoff_len 2,048; 3,000 samples",
            "method                    GiB  fits",
            "> LoRA rank 8 ",
            "QLoRA 4-bit rank 8",
            "Begin with LoRA rank 8, per_device_train_batch_size 1:",
            "Enter  its YAML",
        ):
            assert part in screen, part


async def test_enter_shows_the_yaml_and_the_command_that_writes_it_and_writes_nothing(
    tmp_path: Path,
) -> None:
    run = training_in(tmp_path)
    before = files_in(tmp_path)
    app = app_of(run)
    async with app.run_test(size=(100, 50)) as pilot:
        await opened(pilot)
        await pilot.press("enter")
        await pilot.pause()
        screen = screen_of(app)
        assert "─ LoRA rank 8 ─" in screen
        assert "--write new.yaml writes this" in " ".join(screen.split())
        assert "# LoRA rank 8, by llamavet advise; predicted peak" in screen
        assert "finetuning_type: lora" in screen
        assert "dataset: mine" in screen
        await pilot.press("escape")
        await pilot.pause()
        assert "─ which method ─" in screen_of(app)
        assert files_in(tmp_path) == before


async def test_another_row_says_which_one_the_command_writes(tmp_path: Path) -> None:
    app = app_of(training_in(tmp_path))
    async with app.run_test(size=(100, 50)) as pilot:
        await opened(pilot)
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        screen = screen_of(app)
        assert "─ QLoRA 4-bit rank 8 ─" in screen
        assert "the one marked >" in screen
        assert "quantization_bit: 4" in screen


async def test_the_wide_screen_shows_the_yaml_of_the_row_beside_the_table(tmp_path: Path) -> None:
    app = app_of(training_in(tmp_path))
    async with app.run_test(size=(200, 50)) as pilot:
        await opened(pilot)
        assert "lora_rank: 8" in screen_of(app)
        await pilot.press("up", "up", "up", "up", "up", "up", "up")
        await pilot.pause()
        assert "finetuning_type: full" in screen_of(app)


async def test_without_a_gpu_nothing_is_recommended(tmp_path: Path) -> None:
    run = training_in(tmp_path, environ={"CUDA_VISIBLE_DEVICES": ""})
    app = app_with(FakeServices(), run)
    async with app.run_test(size=(80, 40)) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        assert "no GPU: " in screen
        assert "No recommendation: the size of the GPU is not known." in screen


async def test_what_cannot_be_weighed_is_one_line(tmp_path: Path) -> None:
    class Failing(FakeServices):
        def advise(self, run, look):
            del run, look
            raise RunError("cutoff_len: [x] is no number", remedy="correct it")

    run = training_in(tmp_path)
    app = app_with(Failing({run.name: live_update(run)}), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert "✖ cutoff_len: [x] is no number; correct it" in screen_of(app)
        await pilot.press("enter", "up", "down", "escape")
        await pilot.pause()
        assert "─ memory " in screen_of(app)


async def test_names_from_the_config_are_inert(tmp_path: Path) -> None:
    text = CONFIG.replace("dataset: mine", 'dataset: "[red]\\e[2J"')
    app = app_of(training_in(tmp_path, text))
    async with app.run_test(size=(80, 50)) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        assert "\x1b" not in screen
        assert "> LoRA rank 8 " in screen


@pytest.mark.parametrize("language", list(Language))
async def test_a_narrow_terminal_does_not_break(language, tmp_path: Path) -> None:
    app = app_of(training_in(tmp_path), language=language)
    async with app.run_test(size=(60, 20)) as pilot:
        await opened(pilot)
        await pilot.press("down", "enter", "escape", "up")
        await pilot.pause()
        assert "LoRA" in screen_of(app)


async def test_all_of_it_is_there_in_chinese(tmp_path: Path) -> None:
    app = app_of(training_in(tmp_path), language=Language.ZH)
    async with app.run_test(size=(80, 40)) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        for part in ("选择方法", "建议先用", "查看 YAML"):
            assert part in screen, part
