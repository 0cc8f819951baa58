"""What leads a run: its primary metric, in every view; its stages; its environment in short."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from rundial.events import Metrics, RunUpdate
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server

pytestmark = pytest.mark.browser


def led(server: Server, name: str, best: float) -> LoggedRun:
    run = LoggedRun(server, "led", name, alias=f"alias of {name}")
    run.send(RunUpdate(time.time_ns(), primary={"name": "val/acc", "mode": "max"}))
    run.send(*(Metrics(time.time_ns(), step, {"val/acc": best - abs(3 - step) / 10}) for step in range(6)))
    return run


def test_the_primary_metric_leads(server: Server, page: Page) -> None:
    """Its best value is in the table, in the head of the run with its step, and where runs are compared."""
    runs = [led(server, "one", 0.75), led(server, "two", 0.875)]
    page.goto(f"{server.url}/#/p/default-workspace/led?sort=-best&cols=best,alias")
    rows = page.locator("table.runs tbody tr")
    expect(rows.nth(0)).to_contain_text("0.8750")
    expect(rows.nth(0)).to_contain_text("alias of two")
    expect(rows.nth(1)).to_contain_text("0.7500")

    page.goto(f"{server.url}/#/runs/{runs[0].run_id}")
    expect(page.locator(".run-line .best")).to_have_text("val/acc 0.7500 at 3")

    page.goto(f"{server.url}/#/p/default-workspace/led/compare?runs={runs[0].run_id},{runs[1].run_id}")
    expect(page.locator("tbody[data-section] tr", has_text="Best")).to_contain_text("0.75000.8750")


def test_stages_and_machine_stand_in_the_overview(server: Server, page: Page) -> None:
    """Each stage with the step it began at; packages are one click away; a new stage appears by itself."""
    run = LoggedRun(server, "staged", "phases")
    run.send(
        RunUpdate(time.time_ns(), environment={"cpu": {"count": 8}, "packages": {"torch": "2.13.0", "numpy": "2.1.0"}})
    )
    for step, stage in ((0, "warmup"), (1, "warmup"), (2, "train")):
        run.send(Metrics(time.time_ns(), step, {"loss": 1.0}, stage))
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab=overview")
    stages = page.locator(".stages tbody tr")
    expect(stages).to_have_count(2)
    expect(stages.nth(1)).to_contain_text("train2")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    run.send(Metrics(time.time_ns(), 10, {"loss": 0.5}, "cooldown"))
    expect(stages).to_have_count(3)
    page.screenshot(path=SCREENSHOTS / "overview-stages.png")
    expect(page.get_by_role("row", name="cpu.count")).to_contain_text("8")
    page.get_by_role("button", name="2 packages").click()
    expect(page.get_by_role("row", name="torch")).to_contain_text("2.13.0")
