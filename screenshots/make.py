"""Draws the pictures of the README from the demo, by the keys a person would press.

usage: python screenshots/make.py
"""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from diagnostics.demo.gpu import SIMULATED_GPU
from diagnostics.demo.project import launch_argv, make_project
from diagnostics.findings import Language
from diagnostics.ruleset import load_rules
from diagnostics.runs.launcher import LocalLauncher
from diagnostics.runs.start import start
from tui.app import LlamavetApp
from tui.wiring import LocalServices

HERE = Path(__file__).parent
SECONDS = 60


def text_of(app: LlamavetApp) -> str:
    """Return what the screen shows, as text."""
    lines = app.screen._compositor.render_strips()  # noqa: SLF001 - Textual has no public way
    return "\n".join(strip.text for strip in lines)


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    """Wait for the screen."""
    for _ in range(SECONDS * 5):
        await pilot.pause(0.2)
        if holds():
            return
    raise TimeoutError


async def draw(folder: Path) -> None:
    """Play the journey and take a picture at each stop."""
    config = make_project(folder)
    words = launch_argv(config)
    with contextlib.chdir(folder):
        run = start(
            Path(words[-1]),
            (),
            LocalLauncher(),
            command=words[:-1],
            simulated_gpu=folder / SIMULATED_GPU,
        )
        services = LocalServices(
            load_rules(), interval_s=1.0, read_only=False, language=Language.EN
        )
        app = LlamavetApp(services, run)
        async with app.run_test(size=(100, 32)) as pilot:
            await until(pilot, lambda: "CRITICAL" in text_of(app))
            app.save_screenshot(str(HERE / "dashboard.svg"))
            await pilot.press("c")
            await until(pilot, lambda: "DOES NOT FIT" in text_of(app))
            await pilot.press("left", "tab", "right")
            await until(pilot, lambda: "20.9 GiB" in text_of(app))
            app.save_screenshot(str(HERE / "what-if.svg"))
            await pilot.press("a")
            await until(pilot, lambda: "Begin with" in text_of(app))
            app.save_screenshot(str(HERE / "advisor.svg"))
            await pilot.press("escape")
            await until(pilot, lambda: "20.9 GiB" in text_of(app))
            await pilot.press("escape")
            await until(pilot, lambda: "CRITICAL" in text_of(app))
            await pilot.press("f")
            await until(pilot, lambda: "gradient_accumulation_steps: 4" in text_of(app))
            app.save_screenshot(str(HERE / "fix.svg"))
            await pilot.press("y")
            await until(pilot, lambda: "cured" in text_of(app))
            await pilot.pause(2)
            app.save_screenshot(str(HERE / "cured.svg"))
            await until(pilot, lambda: "finished" in text_of(app))
    for picture in HERE.glob("*.svg"):
        drawn = picture.read_text(encoding="utf-8")
        picture.write_text(drawn.replace(sys.executable, "python"), encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["LLAMAVET_STATE_DIR"] = str(Path(scratch) / "state")
        asyncio.run(draw(Path(scratch) / "demo"))
