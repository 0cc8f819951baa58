"""Markers in the charts of a project, as they happen."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from rundial.events import Marker, RunStart
from tests.ui.conftest import LoggedRun, Server

pytestmark = pytest.mark.browser


def test_markers_arrive_in_the_charts_of_a_project(server: Server, page: Page) -> None:
    """Checkpoints, alerts, dials, stages and resumes are drawn without a reload, each once, and only on shown runs."""
    run = LoggedRun(server, "marked", "shown").log(range(10), loss=1.0)
    page.goto(f"{server.url}/#/p/default-workspace/marked")
    plot = page.locator('[data-metric="loss"]')
    expect(plot).to_have_attribute("data-markers", "0")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    run.mark("checkpoint", "last.ckpt", 3)
    expect(plot).to_have_attribute("data-markers", "1")
    run.mark("alert", "loss is high", 4)
    run.mark("control", "lr", 5)
    expect(plot).to_have_attribute("data-markers", "3")
    run.mark("stage", "finetune", 6)
    expect(plot).to_have_attribute("data-markers", "4")
    again = LoggedRun.__new__(LoggedRun)
    again.server, again.run_id, again.stream, again.next = server, run.run_id, run.stream[::-1], 0
    again.send(RunStart(time.time_ns(), run.run_id, "default-workspace", "marked", "shown", resume="allow"))
    expect(plot).to_have_attribute("data-markers", "5")
    same = Marker(time.time_ns(), "event", "same", 7)
    again.send(same)
    expect(plot).to_have_attribute("data-markers", "6")
    page.reload()
    expect(plot).to_have_attribute("data-markers", "6")
