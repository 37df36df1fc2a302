"""The config screen on real files: what it shows."""

import os
from pathlib import Path

import pytest

from diagnostics.findings import Language
from tests.tui.config_pilot import Services, opened, screen_of, services_of
from tests.tui.dashboard_pilot import SIZES, app_with, painted
from tests.tui.real_configs import CONFIG, training_in
from tui.app import LlamavetApp


@pytest.fixture(autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.mark.parametrize("size", SIZES)
async def test_the_file_stands_beside_what_it_needs_of_memory(size, tmp_path: Path) -> None:
    run = training_in(tmp_path)
    app = app_with(services_of(run), run)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        for part in (
            "─ memory ",
            "GiB of 23.6",
            "DOES NOT FIT",
            "loss phase",
            "weights",
            "optimizer states",
            "logits and loss",
            "─ train.yaml ",
            "12   per_device_train_batch_size: ◂ 4 ▸  # samples at once",
            "13   gradient_accumulation_steps: 2",
            "a  advisor",
        ):
            assert part in screen, part
        assert "Enter  propose" not in screen


async def test_the_wide_screen_tells_phases_and_assumptions_too(tmp_path: Path) -> None:
    run = training_in(tmp_path)
    app = app_with(services_of(run), run)
    async with app.run_test(size=(200, 50)) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        assert "by phase: load" in screen
        assert "LoRA rank 8" in screen
        assert "taken as given: the longest batch fills cutoff_len" in screen
        assert "not set, worth a try" in screen
        assert "enable_liger_kernel: false  not set (default false)" in screen


async def test_a_finding_stands_under_its_line_with_its_cause_where_it_is_selected(
    tmp_path: Path,
) -> None:
    text = CONFIG.replace("learning_rate", "per_device_batchsize: 2\nlearning_rate")
    run = training_in(tmp_path, text)
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        rows = painted(app)
        line = next(n for n, row in enumerate(rows) if "14 ✖ per_device_batchsize: 2" in row)
        assert "✖ A config key is not known" in rows[line + 1]
        assert "It refused ['per_device_batchsize']" in rows[line + 2]
        assert "✖ 1 critical" in screen_of(app)
        await pilot.press("up")
        await pilot.pause()
        assert "It refused" not in screen_of(app)
        assert "✖ A config key is not known" in screen_of(app)


async def test_a_finding_that_no_line_shows_comes_first(tmp_path: Path) -> None:
    run = training_in(tmp_path, CONFIG, "per_device_batchsize=2")
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 50)) as pilot:
        await opened(pilot)
        rows = painted(app)
        head = next(n for n, row in enumerate(rows) if row.startswith("─ train.yaml"))
        first = next(n for n, row in enumerate(rows) if "# an 8B model" in row)
        assert any("✖" in row or "▲" in row for row in rows[head + 1 : first])


async def test_a_config_without_faults_is_calm(tmp_path: Path) -> None:
    run = training_in(tmp_path)
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        assert "✖" not in screen
        assert "▲" not in screen


async def test_all_of_it_is_there_in_chinese(tmp_path: Path) -> None:
    run = training_in(tmp_path)
    app = app_with(services_of(run, language=Language.ZH), run)
    async with app.run_test(size=(200, 50)) as pilot:
        await opened(pilot)
        await pilot.press("left")
        await pilot.pause()
        screen = screen_of(app)
        for part in (
            "GiB，共 23.6",
            "损失阶段",
            "激活",
            "原为 4",
            "未设置，可以一试",
            "提出更改",
            "方法建议",
        ):
            assert part in screen, part


async def test_a_simulated_run_says_so(tmp_path: Path) -> None:
    run = training_in(tmp_path, simulated_gpu=Path("simulated_gpu.json"))
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert "SIMULATED" in painted(app)[0]


async def test_the_list_of_trainings_opens_it_too(tmp_path: Path) -> None:
    run = training_in(tmp_path, environ={"PATH": os.devnull})
    services = Services(runs=(run,))
    app = LlamavetApp(services, None)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert "◂ 4 ▸" in screen_of(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "trainings" in painted(app)[0]
