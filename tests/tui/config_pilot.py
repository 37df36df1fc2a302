"""The config screen on real files: how it is opened, and what stands on it."""

from diagnostics.findings import Finding, Fix
from diagnostics.monitor_update import Proposal
from diagnostics.runs.model import Run
from diagnostics.runs.proposal import propose
from tests.tui.dashboard_pilot import painted, settled
from tests.tui.fakes import FakeServices
from tests.tui.samples import live_update
from tui.app import LlamavetApp


class Services(FakeServices):
    """Proposals are the engine's own; carrying them out is only noted."""

    def propose(self, run: Run, finding: Finding | None, fix: Fix) -> Proposal:
        self.asked.append(f"propose {fix.id}")
        return propose(run, finding, fix)


def services_of(run: Run, **kinds) -> Services:
    """The dashboard's GPU, of 23.65 GiB, is what the screen knows."""
    return Services({run.name: live_update(run)}, **kinds)


async def opened(pilot) -> None:
    await settled(pilot)
    await pilot.press("c")
    await settled(pilot)
    await settled(pilot)


def screen_of(app: LlamavetApp) -> str:
    return "\n".join(row.rstrip() for row in painted(app))
