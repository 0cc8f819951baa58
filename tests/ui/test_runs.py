"""A project: its runs in a table beside the charts over all of them."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Locator, Page, expect

from rundial.events import Metrics
from tests.ui.conftest import LoggedRun, Server

pytestmark = pytest.mark.browser


def open_project(page: Page, server: Server, project: str) -> None:
    page.goto(f"{server.url}/#/p/default-workspace/{project}")
    expect(page.locator("table.runs")).to_be_visible()


def plot(page: Page, metric: str) -> Locator:
    return page.locator(".plot").and_(page.locator(f'[data-metric="{metric}"]'))


def test_chart_draws_the_runs_that_are_shown(server: Server, page: Page) -> None:
    """A chart has the points of every shown run; hiding one takes its points away and is in the address."""
    LoggedRun(server, "pair", "first").log(range(10), train__loss=1.0)
    LoggedRun(server, "pair", "second").log(range(20), train__loss=2.0)
    open_project(page, server, "pair")
    expect(plot(page, "train/loss")).to_have_attribute("data-points", "30")

    page.get_by_role("switch", name="Show second in the charts").click()

    expect(plot(page, "train/loss")).to_have_attribute("data-points", "10")
    page.reload()
    expect(plot(page, "train/loss")).to_have_attribute("data-points", "10")


def test_rows_sort_by_a_metric(server: Server, page: Page) -> None:
    """A click on a metric's column puts the best first, another click the worst."""
    for name, loss in (("middle", 2.0), ("low", 1.0), ("high", 3.0)):
        LoggedRun(server, "sorted", name).log(range(2), val__loss=loss)
    open_project(page, server, "sorted")
    names = page.locator("table.runs td.name")

    page.get_by_role("button", name="val/loss").click()
    expect(names).to_have_text(["high", "middle", "low"])
    page.get_by_role("button", name="val/loss").click()

    expect(names).to_have_text(["low", "middle", "high"])


def test_slash_leads_to_the_filter(server: Server, page: Page) -> None:
    """Typing after `/` leaves the runs whose name contains it."""
    LoggedRun(server, "filtered", "quiet-fox").log(range(2), loss=1.0)
    LoggedRun(server, "filtered", "odd-lake").log(range(2), loss=1.0)
    open_project(page, server, "filtered")

    page.keyboard.press("/")
    page.keyboard.type("LAKE")

    expect(page.locator("table.runs td.name")).to_have_text(["odd-lake"])


def test_new_run_waits_to_be_asked_for(server: Server, page: Page) -> None:
    """A run that begins while one looks moves nothing until its notice is clicked."""
    LoggedRun(server, "growing", "old").log(range(2), loss=1.0)
    open_project(page, server, "growing")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    LoggedRun(server, "growing", "new").log(range(2), loss=1.0)
    notice = page.get_by_role("button", name="1 new run")
    expect(notice).to_be_visible()
    expect(page.locator("table.runs td.name")).to_have_text(["old"])
    notice.click()

    expect(page.locator("table.runs td.name")).to_have_text(["new", "old"])


def test_hostile_names_are_text(server: Server, page: Page) -> None:
    """Names that would be markup, script or a property of every object are shown as they were written."""
    name = "<img src=x onerror=document.title='taken'>"
    run = LoggedRun(server, "hostile", name, config={"__proto__": {"<b>": "<i>"}})
    run.log(range(3), **{"<script>x</script>": 1.0, "constructor": 2.0})
    open_project(page, server, "hostile")
    expect(page.locator("table.runs td.name")).to_have_text([name])
    expect(plot(page, "constructor")).to_have_attribute("data-points", "3")

    page.get_by_role("link", name=name).click()
    page.get_by_role("button", name="Overview").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.get_by_role("row", name="__proto__.<b>")).to_contain_text("<i>")
    assert page.locator("main img, main script").count() == 0
    assert "taken" not in page.title().split()


def test_metric_named_like_a_prototype_is_a_metric(server: Server, page: Page) -> None:
    """`__proto__` is a key like any other."""
    run = LoggedRun(server, "proto")
    run.send(*(Metrics(time.time_ns(), step, {"__proto__": 1.0}) for step in range(4)))
    open_project(page, server, "proto")

    expect(plot(page, "__proto__")).to_have_attribute("data-points", "4")


def test_empty_project_shows_how_to_begin(server: Server, page: Page) -> None:
    """A project without runs shows the lines that log into it."""
    page.goto(f"{server.url}/#/p/default-workspace/default-project")

    expect(page.locator("code", has_text='rd.init(project="default-project")')).to_be_visible()


def test_unknown_project_is_an_answer(server: Server, stranger: Page) -> None:
    """A project that does not exist is said to be unknown, with a way to try again."""
    stranger.goto(server.link())  # not `page`: the browser itself reports the 404 on its console
    stranger.wait_for_url(f"{server.url}/#/")

    stranger.goto(f"{server.url}/#/p/default-workspace/no-such-project")

    expect(stranger.get_by_role("alert")).to_be_visible()
    expect(stranger.get_by_role("button", name="Retry")).to_be_visible()
