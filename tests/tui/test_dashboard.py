from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.tui.dashboard_pilot import SIZES, app_with, painted, settled
from tests.tui.fakes import FakeServices
from tests.tui.samples import dead_update, live_update, run
from tui.widgets.panel import Panel


@pytest.mark.parametrize("size", SIZES)
async def test_a_dead_run_shows_everything_at_once(size) -> None:
    app = app_with(FakeServices({"qwen-lora": dead_update()}))
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        screen = "\n".join(painted(app))
        for part in (
            "qwen-lora",
            "FAILED",
            "attempt 1",
            "GPU 0 RTX 4090",
            "0.60/23.6 GiB",
            "66 °C",
            "310/450 W",
            "CPU  35 %",
            "disk 120 GiB free",
            "step 5/500",
            "exit code 1",
            "2.693 at step 5",
            "✖ CRITICAL  Out of GPU memory in a training step",
            "f  fix: halve the batch, double the accumulation  [safe]",
            "torch.OutOfMemoryError: CUDA out of memory. [/]",
            "f  fix",
            "q  quit",
        ):
            assert part in screen, part


@pytest.mark.parametrize("size", SIZES)
async def test_a_healthy_run_is_calm_and_shows_what_the_last_change_did(size) -> None:
    services = FakeServices({"qwen-lora": live_update()})
    app = app_with(services)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        screen = "\n".join(painted(app))
        assert "✔ nothing wrong so far" in screen
        assert "not judged, not seen: gpu" in screen
        assert "exit" not in screen
        assert "batch 8 -> 4 x accumulation 2 -> 4 - cured: passed step 5" in screen
        assert "running" in screen
        assert "◆ eval 1.5" in screen
        assert "f  fix" not in screen
        assert "SIMULATED" not in screen


@pytest.mark.parametrize("size", SIZES)
async def test_no_row_is_wider_than_the_terminal_in_either_language(size) -> None:
    app = app_with(FakeServices({"qwen-lora": dead_update()}))
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        for _ in range(2):
            for panel in app.screen.query(Panel):
                for row in panel.text.split("\n"):
                    assert cell_len(row) <= panel.size.width
            await pilot.press("z")
            await pilot.pause()


async def test_speed_and_time_left_come_from_when_steps_arrive() -> None:
    services = FakeServices({"qwen-lora": live_update(count=120)})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "ETA: measuring" in app.screen.query_one("#progress", Panel).text
        publish = services.subscriptions[0].publish
        assert publish is not None
        publish(live_update(count=124))
        await pilot.pause()
        text = app.screen.query_one("#progress", Panel).text
        # 1.25 s a step, 376 to go; the clock stands before the last arrival.
        assert "1.25 s/step" in text
        assert "ETA 7 min 50 s" in text


async def test_a_simulated_run_says_so_in_the_title() -> None:
    demo = run("demo", simulated_gpu=Path("simulated_gpu.json"))
    app = app_with(FakeServices({"demo": live_update(demo)}), demo)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "SIMULATED" in painted(app)[0]
        await pilot.press("z")
        await pilot.pause()
        assert "模拟" in painted(app)[0]
