"""The dashboard where text is hostile, values are missing, or much is to show."""

import dataclasses

from diagnostics.findings import Diagnosis, Language
from diagnostics.observations import GpuUnavailable, Missing
from diagnostics.status import RunStatus
from tests.tui.dashboard_pilot import NOW, app_with, painted, settled
from tests.tui.fakes import FakeServices
from tests.tui.samples import (
    START,
    dead_update,
    gpu,
    host,
    lines,
    live_update,
    run,
    snapshot_of,
    steps,
)


async def test_text_from_outside_is_inert() -> None:
    evil = "\x1b[31mred\x1b[0m [bold]x[/bold] [/nothing] \x00\x9b2J \u202eback \ud800"
    update = live_update()
    snapshot = snapshot_of(gpu(name=evil), host(), *steps(3, 9), *lines(evil))
    update = dataclasses.replace(update, snapshot=snapshot, run=run(evil, no_log_reason=evil))
    app = app_with(FakeServices({"qwen-lora": update}))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        screen = "\n".join(painted(app))
        assert "[31mred[0m [bold]x[/bold] [/nothing] 2J back" in screen
        assert not any(code in screen for code in "\x1b\x00\x9b\u202e\ud800")
        await pilot.press("l")
        await pilot.pause()
        assert "[bold]x[/bold]" in "\n".join(painted(app))


async def test_a_missing_gpu_and_missing_values_show_their_reasons() -> None:
    nothing = snapshot_of(GpuUnavailable(START, "node", "driver not loaded"))
    app = app_with(FakeServices({"qwen-lora": live_update(snapshot=nothing)}))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "no GPU: driver not loaded" in "\n".join(painted(app))
    odd = snapshot_of(
        gpu(power_watts=Missing("not supported"), memory_used_bytes=Missing("no permission"))
    )
    app = app_with(FakeServices({"qwen-lora": live_update(snapshot=odd)}))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        row = painted(app)[1]
        assert "mem: no permission" in row
        assert "power: not supported" in row


async def test_many_gpus_leave_room_on_a_small_terminal() -> None:
    snapshot = snapshot_of(*(gpu(n, used_gib=2.0 * n) for n in range(8)), host(), *steps(9, 90))
    app = app_with(FakeServices({"qwen-lora": live_update(snapshot=snapshot)}))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        rows = painted(app)
        assert "GPU 6" in rows[1]
        assert "GPU 7" in rows[2]
        assert "6 more GPUs, memory 0-42 %" in rows[3]
        assert "q  quit" in rows[-1]


async def test_a_monitor_that_went_silent_is_named_and_keys_still_work() -> None:
    services = FakeServices({"qwen-lora": live_update(at=NOW - 60)})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "no news for 1 min 00 s" in painted(app)[0]
        await pilot.press("question_mark")
        await pilot.pause()
        assert "leave llamavet; the training goes on" in "\n".join(painted(app))


async def test_quitting_ends_the_watching_and_says_that_the_training_goes_on(capsys) -> None:
    services = FakeServices({"qwen-lora": live_update()})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("q")
    assert services.subscriptions[0].stopped
    assert services.asked == ["watch qwen-lora"]
    assert "the training goes on" in capsys.readouterr().err


async def test_details_show_evidence_and_every_fix() -> None:
    app = app_with(FakeServices({"qwen-lora": dead_update()}))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("d")
        await pilot.pause()
        screen = "\n".join(painted(app))
        assert "stdout.log:120" in screen
        assert "[by hand]" in screen
        await pilot.press("escape")
        await pilot.pause()
        assert "FAILED" in painted(app)[0]


async def test_all_of_it_is_there_in_chinese() -> None:
    services = FakeServices({"qwen-lora": dead_update()}, language=Language.ZH)
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        screen = "\n".join(painted(app))
        for part in ("失败", "训练步中显存不足", "修复：批大小减半，梯度累积加倍", "退出码 1"):
            assert part in screen
        await pilot.press("f")
        await settled(pilot)
        assert "应用并重启" in painted(app)[-1]


async def test_a_late_update_of_the_run_watched_before_is_dropped() -> None:
    services = FakeServices({"qwen-lora": dead_update(), "second": live_update(run("second"))})
    app = app_with(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.screen.watch_run(run("second"))  # type: ignore[attr-defined] # it is a dashboard
        await settled(pilot)
        publish = services.subscriptions[0].publish
        assert publish is not None
        publish(dead_update())
        await pilot.pause()
        assert "second" in painted(app)[0]
        assert "FAILED" not in painted(app)[0]


async def test_nothing_found_in_a_finished_run_is_said_in_the_past() -> None:
    update = live_update(status=RunStatus.FINISHED, diagnosis=Diagnosis())
    app = app_with(FakeServices({"qwen-lora": update}))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "nothing wrong was found" in "\n".join(painted(app))
