"""The config screen where things are missing, broken, hostile or narrow."""

from dataclasses import replace
from pathlib import Path

import pytest

from diagnostics.errors import LlamavetError
from diagnostics.findings import Language
from tests.tui.config_pilot import Services, opened, screen_of, services_of
from tests.tui.dashboard_pilot import app_with, painted, settled
from tests.tui.real_configs import CONFIG, training_in


@pytest.fixture(autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


async def test_without_a_gpu_the_reason_is_said(tmp_path: Path) -> None:
    run = training_in(tmp_path, environ={"CUDA_VISIBLE_DEVICES": ""})
    app = app_with(Services(runs=(run,)), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        assert "GiB needed   no GPU: " in screen
        assert "weights" in screen


async def test_without_a_known_model_the_reason_is_said_and_values_still_step(
    tmp_path: Path,
) -> None:
    run = training_in(
        tmp_path, CONFIG.replace("meta-llama/Llama-3.1-8B-Instruct", "nobody/nothing")
    )
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert "model unknown: " in screen_of(app)
        assert "advisor" not in painted(app)[-1]
        await pilot.press("left")
        await pilot.pause()
        assert "◂ 2 ▸  was 4" in screen_of(app)


async def test_a_value_without_meaning_is_one_line(tmp_path: Path) -> None:
    run = training_in(tmp_path, CONFIG.replace("lora_rank: 8", "lora_rank: -3"))
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert "not predicted: " in screen_of(app)
        assert "lora_rank" in screen_of(app)


async def test_a_broken_config_is_shown_as_it_is_with_its_fault(tmp_path: Path) -> None:
    run = training_in(tmp_path, CONFIG.replace("stage: sft", "stage: [sft"))
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        assert "the config cannot be read: " in screen
        assert "stage: [sft" in screen
        assert "✖" in screen
        await pilot.press("left", "enter", "a", "r", "tab", "down")
        await settled(pilot)
        assert "the config cannot be read: " in screen_of(app)


async def test_a_config_that_is_gone_is_said(tmp_path: Path) -> None:
    run = training_in(tmp_path)
    (tmp_path / "train.yaml").unlink()
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert "No such file or directory" in " ".join(screen_of(app).split())


async def test_a_run_without_a_config_says_so(tmp_path: Path) -> None:
    run = replace(training_in(tmp_path), config=None, launch=None)
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert "the config of this run is not known" in screen_of(app)
        await pilot.press("down", "tab", "left", "enter", "end", "home")
        await pilot.pause()
        assert "the config of this run is not known" in screen_of(app)


async def test_what_cannot_be_looked_at_is_one_line(tmp_path: Path) -> None:
    class Failing(Services):
        def look_at_config(self, run, snapshot):
            del run, snapshot
            raise LlamavetError("the disk is gone", remedy="mount it")

    run = training_in(tmp_path)
    app = app_with(Failing(), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert "✖ the disk is gone; mount it" in screen_of(app)


async def test_a_change_of_the_file_since_the_start_is_what_is_shown(tmp_path: Path) -> None:
    run = training_in(tmp_path)
    (tmp_path / "train.yaml").write_text(CONFIG.replace("size: 4", "size: 16"))
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert "◂ 16 ▸" in screen_of(app)


async def test_text_from_the_file_is_inert(tmp_path: Path) -> None:
    evil = 'template: "[bold]x[/bold] [/nothing] \\e[31m \u4f60\u597d \u202eback"  # [red]\n'
    run = training_in(tmp_path, CONFIG.replace("template: llama3\n", evil))
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 30)) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        assert "[bold]x[/bold] [/nothing] " in screen
        assert "\u4f60\u597d back" in screen
        assert not any(code in screen for code in "\x1b\u202e")


async def test_raw_escapes_and_bytes_that_are_no_text_are_inert(tmp_path: Path) -> None:
    run = training_in(tmp_path, "a: \x1b[2J\x00\udcff[/x]\n")
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        assert "the config cannot be read: " in screen
        assert "[2J" in screen
        assert not any(code in screen for code in "\x1b\x00")


async def test_a_very_long_file_is_cut_and_quick_to_walk(tmp_path: Path) -> None:
    run = training_in(tmp_path, CONFIG + "# comment\n" * 100_000)
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("end")
        await pilot.pause()
        assert "optim: " in screen_of(app)
        while "more lines" not in screen_of(app):
            await pilot.press("pageup")
        assert "98016 more lines" in screen_of(app)
        await pilot.press("home")
        await pilot.pause()
        assert "   1   # an 8B model" in screen_of(app)


@pytest.mark.parametrize("language", list(Language))
async def test_a_narrow_terminal_does_not_break(language, tmp_path: Path) -> None:
    run = training_in(tmp_path)
    app = app_with(services_of(run, language=language), run)
    async with app.run_test(size=(60, 20)) as pilot:
        await opened(pilot)
        await pilot.press("left", "tab", "right", "pageup", "pagedown", "shift+tab")
        await pilot.pause()
        assert "●" in screen_of(app)
        assert "23.6" in screen_of(app)
        await pilot.resize_terminal(24, 6)
        await pilot.press("up", "down")
        await pilot.pause()
        assert len(painted(app)) == 6
