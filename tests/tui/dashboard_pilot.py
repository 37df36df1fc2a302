"""An app on fake services, and what stands on its screen."""

from tests.tui.fakes import FakeServices
from tests.tui.samples import START, run
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
