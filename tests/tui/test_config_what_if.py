"""Changes tried on the config screen: what is shown, proposed, and asked before."""

from dataclasses import replace
from pathlib import Path

import pytest

from diagnostics.runs.proposal import TreatmentPlan
from tests.tui.config_pilot import opened, screen_of, services_of
from tests.tui.dashboard_pilot import app_with, painted, settled
from tests.tui.real_configs import CONFIG, training_in


@pytest.fixture(autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


async def test_a_stepped_value_shows_before_and_after_and_marks_its_line(tmp_path: Path) -> None:
    run = training_in(tmp_path)
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        before = screen_of(app).split(" GiB of")[0].splitlines()[-1]
        await pilot.press("left", "minus")
        await pilot.pause()
        screen = screen_of(app)
        assert "● per_device_train_batch_size: ◂ 1 ▸  was 4  # samples at once" in screen
        assert f"{before} → " in screen
        assert "GiB of 23.6" in screen
        assert "  fits" in screen or "tight" in screen
        await pilot.press("right", "plus")
        await pilot.pause()
        screen = screen_of(app)
        assert "●" not in screen
        assert "→" not in screen.replace("←→", "")
        assert (tmp_path / "train.yaml").read_text() == CONFIG


async def test_r_takes_every_change_back(tmp_path: Path) -> None:
    run = training_in(tmp_path)
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("left", "tab", "right", "tab", "right")
        await pilot.pause()
        assert screen_of(app).count("was ") == 3
        await pilot.press("r")
        await pilot.pause()
        assert "was " not in screen_of(app)
        assert "r  reset" not in painted(app)[-1]


async def test_a_key_that_is_not_set_can_be_tried_too(tmp_path: Path) -> None:
    run = training_in(tmp_path)
    app = app_with(services_of(run), run)
    async with app.run_test(size=(80, 40)) as pilot:
        await opened(pilot)
        rows = painted(app)
        assert any("quantization_bit: null  not set (default null)" in row for row in rows)
        while "disable_gradient_checkpointing: ◂" not in screen_of(app):
            await pilot.press("tab")
        await pilot.press("right")
        await pilot.pause()
        assert "● disable_gradient_checkpointing: ◂ true ▸  was false" in screen_of(app)


async def test_enter_proposes_exactly_the_changes_and_y_is_needed(tmp_path: Path) -> None:
    run = training_in(tmp_path)
    services = services_of(run)
    app = app_with(services, run)
    async with app.run_test(size=(80, 40)) as pilot:
        await opened(pilot)
        await pilot.press("left", "tab", "right")
        await pilot.press("enter")
        await settled(pilot)
        screen = screen_of(app)
        for part in (
            "your change: batch 4 -> 2, accumulation 2 -> 4  [safe]",
            "-per_device_train_batch_size: 4  # samples at once",
            "+per_device_train_batch_size: 2  # samples at once",
            "+gradient_accumulation_steps: 4",
            "starts: llamafactory-cli train train.yaml",
            "y  apply & relaunch",
        ):
            assert part in screen, part
        assert services.asked == [f"watch {run.name}", "propose what_if"]
        assert (tmp_path / "train.yaml").read_text() == CONFIG
        proposal = app.screen._proposal  # type: ignore[attr-defined] # it is the question
        assert isinstance(proposal, TreatmentPlan)
        assert [(one.key, one.old, one.new) for one in proposal.changes] == [
            ("per_device_train_batch_size", 4, 2),
            ("gradient_accumulation_steps", 2, 4),
        ]
        await pilot.press("y")
        await settled(pilot)
        await settled(pilot)
        assert services.asked[2:] == ["treat what_if", "watch qwen-lora-2"]
        assert "done: the new run has started" in screen_of(app)


async def test_escape_from_the_question_comes_back_to_the_changes(tmp_path: Path) -> None:
    run = training_in(tmp_path)
    services = services_of(run)
    app = app_with(services, run)
    async with app.run_test(size=(80, 40)) as pilot:
        await opened(pilot)
        await pilot.press("left", "enter")
        await settled(pilot)
        assert "[UNSAFE]" in screen_of(app)
        assert "▲ what is learned may change" in screen_of(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "◂ 2 ▸  was 4" in screen_of(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "attempt 2" in painted(app)[0]
        assert not any(asked.startswith("treat") for asked in services.asked)


async def test_what_llamafactory_would_refuse_is_said_and_not_proposed(tmp_path: Path) -> None:
    run = training_in(tmp_path, CONFIG.replace("lora_rank", "quantization_bit: 4\nlora_rank"))
    services = services_of(run)
    app = app_with(services, run)
    async with app.run_test(size=(80, 30)) as pilot:
        await opened(pilot)
        while "finetuning_type: ◂" not in screen_of(app):
            await pilot.press("tab")
        await pilot.press("left")
        await pilot.pause()
        assert "finetuning_type: ◂ full ▸  was lora" in screen_of(app)
        assert "LLaMA-Factory would refuse this: " in screen_of(app)
        await pilot.press("enter")
        await settled(pilot)
        assert services.asked == [f"watch {run.name}"]


@pytest.mark.parametrize(
    ("kinds", "launch"), [({"read_only": True}, True), ({}, False)], ids=["read-only", "files"]
)
async def test_nothing_is_proposed_where_nothing_can_be_carried_out(
    kinds, launch, tmp_path: Path
) -> None:
    run = training_in(tmp_path)
    run = run if launch else replace(run, launch=None)
    services = services_of(run, **kinds)
    app = app_with(services, run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("left")
        await pilot.pause()
        assert "was 4" in screen_of(app)
        assert "propose" not in painted(app)[-1]
        await pilot.press("enter")
        await settled(pilot)
        assert services.asked == [f"watch {run.name}"]


async def test_a_value_of_the_command_line_wins_and_is_stepped_there(tmp_path: Path) -> None:
    run = training_in(tmp_path, CONFIG, "per_device_train_batch_size=1")
    services = services_of(run)
    app = app_with(services, run)
    async with app.run_test(size=(80, 40)) as pilot:
        await opened(pilot)
        screen = screen_of(app)
        assert "per_device_train_batch_size: 4  # samples at once  command line: 1" in screen
        assert "─ command line ─" in screen
        while "per_device_train_batch_size: ◂ 1" not in screen_of(app):
            await pilot.press("tab")
        await pilot.press("right", "enter")
        await settled(pilot)
        assert "+per_device_train_batch_size=2" in screen_of(app)
