import threading
from pathlib import Path

from diagnostics.errors import RunError
from tests.tui.dashboard_pilot import painted, settled
from tests.tui.fakes import FakeServices
from tests.tui.samples import dead_update, live_update, run
from tui.app import LlamavetApp


async def test_the_list_opens_a_training_and_comes_back() -> None:
    first, second = run("one", record=Path("runs/one")), run("two")
    services = FakeServices({"two": live_update(second)}, runs=(first, second))
    app = LlamavetApp(services, None)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        screen = "\n".join(painted(app))
        assert "one" in screen
        assert "recorded" in screen
        assert "/home/ada/LLaMA-Factory" in screen
        await pilot.press("down", "enter")
        await settled(pilot)
        assert services.asked[-1] == "watch two"
        assert "two" in painted(app)[0]
        await pilot.press("o")
        await settled(pilot)
        assert services.subscriptions[0].stopped
        assert "recorded" in "\n".join(painted(app))


async def test_with_nothing_found_it_says_what_was_looked_for_and_how_to_start() -> None:
    services = FakeServices()
    app = LlamavetApp(services, None)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        screen = "\n".join(painted(app))
        for command in ("llamavet run train.yaml", "llamavet watch DIR", "llamavet demo"):
            assert command in screen
        assert "q  quit" in painted(app)[-1]
        services.runs = (run("late"),)
        await pilot.press("r")
        await settled(pilot)
        assert "late" in "\n".join(painted(app))


async def test_a_list_that_cannot_be_read_shows_why() -> None:
    services = FakeServices(error=RunError("/proc: permission denied", remedy="mount it"))
    app = LlamavetApp(services, None)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "/proc: permission denied; mount it" in "\n".join(painted(app))


async def test_names_with_markup_are_shown_as_they_are() -> None:
    services = FakeServices(runs=(run("[red]x[/red]\x1b[2J"),))
    app = LlamavetApp(services, None)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "[red]x[/red][2J" in "\n".join(painted(app))


async def test_a_long_proposal_scrolls_and_says_so() -> None:
    services = FakeServices({"qwen-lora": dead_update()})
    app = LlamavetApp(services, run())
    async with app.run_test(size=(80, 14)) as pilot:
        await settled(pilot)
        await pilot.press("f")
        await settled(pilot)
        await pilot.pause()
        assert "scroll" in painted(app)[-1]
        await pilot.press("end")
        await pilot.pause()
        assert "starts: llamafactory-cli train train.yaml" in "\n".join(painted(app))


async def test_quitting_waits_for_a_change_that_is_being_carried_out() -> None:
    gate = threading.Event()
    services = FakeServices({"qwen-lora": dead_update()}, gate=gate)
    app = LlamavetApp(services, run())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("f")
        await settled(pilot)
        await pilot.press("y", "q", "escape")
        await pilot.pause()
        screen = "\n".join(painted(app))
        assert "wait: a change is being carried out" in screen
        assert "• wrote train.yaml" in screen
        gate.set()
        await settled(pilot)
        await pilot.pause()
        assert services.asked.count("treat halve_batch") == 1
        assert services.asked[-1] == "watch qwen-lora-2"
