import dataclasses
from pathlib import Path

import pytest
from rich.cells import cell_len

from diagnostics.errors import RunError
from diagnostics.findings import Diagnosis, Language
from diagnostics.observations import GpuUnavailable, Missing
from diagnostics.status import RunStatus
from tests.tui.fakes import (
    FREE,
    HALVE,
    SHORTER,
    START,
    FakeServices,
    dead_update,
    gpu,
    host,
    lines,
    live_update,
    run,
    snapshot_of,
    steps,
)
from tui.app import LlamavetApp
from tui.widgets.panel import Panel

SIZES = [(80, 24), (200, 50)]
NOW = START + 60 + 121 * 1.25


def app_with(services: FakeServices, opening=None) -> LlamavetApp:
    return LlamavetApp(services, opening or run(), now=lambda: NOW)


async def settled(pilot) -> None:
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


def text_of(app: LlamavetApp) -> str:
    return "\n".join(panel.text for panel in app.screen.query(Panel))


def painted(app: LlamavetApp) -> list[str]:
    """The rows as the terminal gets them."""
    width, height = app.size
    rows = app.screen._compositor.render_strips(app.size)
    assert len(rows) == height
    assert all(row.cell_length == width for row in rows)
    return [row.text for row in rows]


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
        assert "not judged, not seen: exit" in screen
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
