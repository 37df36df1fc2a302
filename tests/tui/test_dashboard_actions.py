"""What the keys of the dashboard do, and what they ask before."""

from diagnostics.errors import RunError
from tests.tui.dashboard_pilot import app_with, painted, settled, text_of
from tests.tui.fakes import FakeServices
from tests.tui.samples import FREE, HALVE, SHORTER, dead_update, live_update, run


async def test_f_then_y_applies_the_first_safe_fix_and_watches_the_new_run() -> None:
    services = FakeServices({"qwen-lora": dead_update(), "qwen-lora-2": live_update(run("second"))})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("f")
        await settled(pilot)
        screen = "\n".join(painted(app))
        assert "-per_device_train_batch_size: 8" in screen
        assert "+per_device_train_batch_size: 4" in screen
        assert "It starts from the beginning" in screen
        assert "starts: llamafactory-cli train train.yaml" in screen
        assert "y  apply & relaunch" in screen
        assert services.asked == ["watch qwen-lora", "propose halve_batch"]
        await pilot.press("y")
        await settled(pilot)
        await settled(pilot)
        assert services.asked[2:] == ["treat halve_batch", "watch qwen-lora-2"]
        assert services.subscriptions[0].stopped
        screen = "\n".join(painted(app))
        assert "done: the new run has started" in screen
        assert "cured: passed step 5" in screen


async def test_escape_leaves_everything_as_it_was() -> None:
    services = FakeServices({"qwen-lora": dead_update()})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("f")
        await settled(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert "FAILED" in painted(app)[0]
        assert not any(asked.startswith("treat") for asked in services.asked)


async def test_an_unsafe_fix_is_chosen_from_the_list_and_warns() -> None:
    services = FakeServices({"qwen-lora": dead_update()})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("f")
        await settled(pilot)
        await pilot.press("l")
        await pilot.pause()
        screen = "\n".join(painted(app))
        assert "[safe]  keeps the training recipe" in screen
        assert "price: long samples lose their end" in screen
        await pilot.press("down", "enter")
        await settled(pilot)
        screen = "\n".join(painted(app))
        assert "▲ What is learned may change." in screen
        assert "[UNSAFE]" in screen
        assert services.asked[-1] == "propose shorter_cutoff"


async def test_without_a_safe_fix_f_opens_the_list() -> None:
    services = FakeServices({"qwen-lora": dead_update(None, FREE, SHORTER)})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "fix: shorten cutoff_len to 1024  [UNSAFE]" in text_of(app)
        await pilot.press("f", "enter")
        await settled(pilot)
        assert services.asked[-1] == "propose shorter_cutoff"


async def test_advice_can_be_read_but_not_applied() -> None:
    services = FakeServices({"qwen-lora": dead_update(None, FREE)})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "advice: end the other process on GPU 0  [by hand]" in text_of(app)
        await pilot.press("f", "enter")
        await settled(pilot)
        assert "advice to follow by hand" in text_of(app)
        assert services.asked == ["watch qwen-lora"]


async def test_a_fix_that_cannot_be_worked_out_shows_why_and_offers_no_yes() -> None:
    error = RunError("train.yaml:12: the key is set twice", remedy="remove one of the two lines")
    services = FakeServices({"qwen-lora": dead_update(None, HALVE)}, error=error)
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("f")
        await settled(pilot)
        screen = "\n".join(painted(app))
        assert "train.yaml:12: the key is set twice; remove one of the two lines" in screen
        await pilot.press("y")
        await settled(pilot)
        assert services.asked[-1] == "propose halve_batch"
        await pilot.press("escape")
        await pilot.pause()
        assert "FAILED" in painted(app)[0]


async def test_a_treatment_that_fails_shows_why_and_hurts_nothing() -> None:
    services = FakeServices(
        {"qwen-lora": dead_update()},
        treat_error=RunError("pid 12 does not end", remedy="nothing was changed"),
    )
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("f")
        await settled(pilot)
        await pilot.press("y")
        await settled(pilot)
        assert "pid 12 does not end; nothing was changed" in "\n".join(painted(app))
        assert not services.subscriptions[0].stopped
        await pilot.press("escape")
        await pilot.pause()
        assert "FAILED" in painted(app)[0]


async def test_an_unexpected_error_is_one_line_too() -> None:
    services = FakeServices({"qwen-lora": dead_update()}, treat_error=ValueError("odd [b]"))
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("f")
        await settled(pilot)
        await pilot.press("y")
        await settled(pilot)
        assert "something unexpected went wrong: ValueError: odd [b]" in "\n".join(painted(app))


async def test_read_only_has_no_key_that_acts() -> None:
    services = FakeServices({"qwen-lora": dead_update()}, read_only=True)
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        footer = painted(app)[-1]
        assert "read-only" in footer
        for word in ("fix", "stop", "relaunch", "undo"):
            assert word not in footer
        await pilot.press("f", "s", "R", "u")
        await settled(pilot)
        assert services.asked == ["watch qwen-lora"]
        assert "fix: halve the batch" in text_of(app)


async def test_stop_asks_first() -> None:
    services = FakeServices({"qwen-lora": live_update()})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("s")
        await settled(pilot)
        screen = "\n".join(painted(app))
        assert "2 processes get SIGTERM." in screen
        assert "y  stop the training" in screen
        await pilot.press("y")
        await settled(pilot)
        assert "treat stop" in services.asked
        assert "done: the training was stopped" in "\n".join(painted(app))


async def test_relaunch_asks_first_and_is_absent_where_only_files_are_known() -> None:
    services = FakeServices({"qwen-lora": dead_update()})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("R")
        await settled(pilot)
        assert "y  relaunch" in painted(app)[-1]
    files = run(launch=None)
    app = app_with(FakeServices({"qwen-lora": dead_update(files)}), files)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "relaunch" not in painted(app)[-1]


async def test_undo_wants_its_key_twice() -> None:
    services = FakeServices({"qwen-lora": live_update()})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("u")
        await pilot.pause()
        assert "press u again" in text_of(app)
        assert services.asked == ["watch qwen-lora"]
        await pilot.press("u")
        await settled(pilot)
        assert services.asked[-1] == "undo qwen-lora"
        assert "train.yaml is as it was before attempt 2" in text_of(app)
