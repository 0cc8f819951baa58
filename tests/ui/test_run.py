"""One run: its charts while it trains, and what is known of it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.ui.conftest import LoggedRun, Server

pytestmark = pytest.mark.browser


def open_run(page: Page, server: Server, run: LoggedRun, query: str = "") -> None:
    page.goto(f"{server.url}/#/runs/{run.run_id}{query}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def plot(page: Page, metric: str) -> Locator:
    return page.locator(f'.plot[data-metric="{metric}"]')


def test_curve_grows_while_the_run_logs(server: Server, page: Page) -> None:
    """New points reach the open chart by themselves, and the value beside its title is the newest."""
    run = LoggedRun(server, "live").log(range(5), train__loss=4.0)
    open_run(page, server, run)
    expect(plot(page, "train/loss")).to_have_attribute("data-points", "5")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    run.log(range(5, 12), train__loss=0.25)

    expect(plot(page, "train/loss")).to_have_attribute("data-points", "12")
    expect(page.locator(".chart .value")).to_have_text("0.2500")
    expect(page.locator(".run-line")).to_contain_text("step 11")


def test_new_metric_gets_a_chart(server: Server, page: Page) -> None:
    """A metric that is first logged while one looks appears."""
    run = LoggedRun(server, "live").log(range(2), train__loss=1.0)
    open_run(page, server, run)
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    run.log(range(2, 4), val__acc=0.5)

    expect(plot(page, "val/acc")).to_have_attribute("data-points", "2")


def test_status_follows_the_run(server: Server, page: Page) -> None:
    """The end of the run shows in the open page, with its reason and traceback."""
    run = LoggedRun(server, "live").log(range(2), loss=1.0)
    open_run(page, server, run, "?tab=overview")
    expect(page.locator(".run-line .status")).to_have_text("running")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    run.end("failed", "ValueError: no such column", "Traceback (most recent call last):\n  File 'train.py'")

    expect(page.locator(".run-line .status")).to_have_text("failed")
    expect(page.locator(".run-line .reason")).to_have_text("ValueError: no such column")
    expect(page.locator("pre.traceback")).to_contain_text("File 'train.py'")


def test_overview_shows_the_config(server: Server, page: Page) -> None:
    """Nested configuration is listed by dotted names with exact values, beside what was delivered."""
    run = LoggedRun(server, "known", config={"optimizer": {"lr": 0.00031, "name": "adam"}, "layers": [64, 32]})
    run.log(range(3), loss=1.0)
    open_run(page, server, run, "?tab=overview")

    expect(page.get_by_role("row", name="optimizer.lr")).to_contain_text("0.00031")
    expect(page.get_by_role("row", name="layers")).to_contain_text("[64,32]")
    expect(page.locator(".delivery")).to_contain_text("0 dropped")


def test_drag_zooms_every_chart(server: Server, page: Page) -> None:
    """Dragging over one chart narrows x for all of them and is in the address; a double click undoes it."""
    run = LoggedRun(server, "zoomed").log(range(100), loss=1.0, acc=0.5)
    open_run(page, server, run)
    loss = plot(page, "loss")
    expect(loss).to_have_attribute("data-points", "100")
    area = loss.locator(".u-over").bounding_box()
    assert area is not None

    page.mouse.move(area["x"] + area["width"] * 0.25, area["y"] + 40)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.75, area["y"] + 40, steps=4)
    page.mouse.up()
    expect(loss).not_to_have_attribute("data-points", "100")
    expect(plot(page, "acc")).not_to_have_attribute("data-points", "100")
    assert "zoom=" in page.url
    loss.locator(".u-over").dblclick()

    expect(plot(page, "acc")).to_have_attribute("data-points", "100")
    assert "zoom=" not in page.url


def test_cursor_shows_the_value(server: Server, page: Page) -> None:
    """The value under the pointer stands beside the title of every chart of the view."""
    run = LoggedRun(server, "cursor").log(range(50), loss=2.5, acc=0.125)
    run.log(range(50, 101), loss=7.5, acc=0.875)
    open_run(page, server, run)
    expect(plot(page, "loss")).to_have_attribute("data-points", "101")
    area = plot(page, "loss").locator(".u-over").bounding_box()
    assert area is not None

    page.mouse.move(area["x"] + area["width"] * 0.2, area["y"] + 40)

    values = page.locator(".chart .value")
    expect(values.filter(has_text="2.500")).to_contain_text("step 20")
    expect(values.filter(has_text="0.1250")).to_contain_text("step 20")


def test_non_finite_value_is_told(server: Server, page: Page) -> None:
    """A value that was not a number is a mark on the axis which says so under the pointer."""
    run = LoggedRun(server, "broken").log(range(101), loss=1.0)
    run.mark("non_finite", "loss", 50)
    open_run(page, server, run)
    expect(plot(page, "loss")).to_have_attribute("data-points", "101")
    area = plot(page, "loss").locator(".u-over").bounding_box()
    assert area is not None

    page.mouse.move(area["x"] + area["width"] * 0.5, area["y"] + 40)

    expect(page.locator(".tooltip")).to_contain_text("loss was not finite at step 50")


def test_view_is_in_the_address(server: Server, page: Page) -> None:
    """Axis, scale, smoothing and filter survive a reload, because the address holds them."""
    run = LoggedRun(server, "address").log(range(5), train__loss=1.0, val__loss=2.0)
    open_run(page, server, run)

    page.get_by_label("x axis").select_option("relative")
    page.get_by_label("log y").check()
    page.keyboard.press("]")
    page.get_by_placeholder("filter metrics").fill("^val")
    page.reload()

    expect(page.get_by_label("x axis")).to_have_value("relative")
    expect(page.get_by_label("log y")).to_be_checked()
    expect(page.locator(".controls output")).to_have_text("0.10")
    expect(page.locator(".plot")).to_have_count(1)
    expect(plot(page, "val/loss")).to_have_attribute("data-points", "5")
