"""What became of what a run logged, and what happened to it."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Locator, Page, expect

from rundial.events import Ledger, Marker, Metrics
from rundial.wire import CONTENT_TYPE, gap_chunk, pack_chunk
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server

pytestmark = pytest.mark.browser


def open_tab(page: Page, server: Server, run: LoggedRun, tab: str) -> None:
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab={tab}")


def summed(page: Page, name: str) -> Locator:
    return page.locator(".sums div").filter(has=page.get_by_text(name, exact=True)).locator("dd")


def close(run: LoggedRun, logged: int, dropped: dict[str, int]) -> None:
    """The client's account, then its end."""
    run.send(Ledger(time.time_ns(), logged, dropped))
    run.end()


def test_an_account_that_adds_up_says_so(server: Server, page: Page) -> None:
    """Logged is acknowledged and dropped together, each drop with its reason; it shows by itself at the end."""
    run = LoggedRun(server, "accounts", "whole").log(range(10), loss=1.0)
    open_tab(page, server, run, "delivery")
    expect(page.get_by_text("● running").first).to_be_visible()
    expect(summed(page, "logged")).to_have_text("told at the end")

    lost = gap_chunk(run.stream, run.next, run.next + 2, "spool_bytes")
    headers = {"content-type": CONTENT_TYPE, "x-rundial-stream": run.stream, "x-rundial-protocol": "2"}
    server.post("/api/v1/ingest/records", data=pack_chunk(lost), headers=headers)
    run.next = lost.next
    close(run, run.next + 4, {"spool_bytes": 3, "queue_full": 4})

    expect(page.locator(".ledger-verdict")).to_contain_text("✓ adds up")
    expect(summed(page, "logged")).to_have_text("18")
    expect(summed(page, "acknowledged")).to_have_text("11")
    expect(summed(page, "pending")).to_have_text("0")
    expect(summed(page, "dropped")).to_have_text("7")
    expect(page.locator(".reasons tr")).to_contain_text(["spool_bytes", "queue_full"])
    page.screenshot(path=SCREENSHOTS / "delivery-whole.png")


def test_what_is_missing_is_counted(server: Server, page: Page) -> None:
    """An account that says more than arrived leaves a rest, with the command that sends it."""
    run = LoggedRun(server, "accounts", "short").log(range(10), loss=1.0)
    close(run, run.next + 90, {})
    open_tab(page, server, run, "delivery")

    expect(page.locator(".ledger-verdict")).to_contain_text("▲ more to come")
    expect(summed(page, "pending")).to_have_text("90")
    expect(page.locator(".copyable").get_by_text("rundial sync")).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "delivery-short.png")


def test_events_are_one_list_in_the_order_of_time(server: Server, page: Page) -> None:
    """Attempts, alerts and other markers, newest first; kinds can be left out; new ones appear by themselves."""
    run = LoggedRun(server, "happened", "eventful", resume="allow")
    run.send(
        Metrics(time.time_ns(), 1, {"loss": 1.0}),
        Marker(time.time_ns(), "alert", "loss is <b>high</b>", 1, {"level": "error", "text": "above 10"}),
        Marker(time.time_ns(), "event", "unfroze the backbone", 2),
    )
    open_tab(page, server, run, "events")
    rows = page.locator(".happenings tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("unfroze the backbone")
    expect(rows.nth(1)).to_contain_text("loss is <b>high</b>")
    expect(rows.nth(2)).to_contain_text("attempt 1 began")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    run.end("failed", "ValueError: no")
    expect(rows).to_have_count(4)
    expect(rows.nth(0)).to_contain_text("attempt 1 failed")
    expect(rows.nth(0)).to_contain_text("ValueError: no")
    page.screenshot(path=SCREENSHOTS / "events.png")

    page.get_by_role("checkbox", name="attempt").uncheck()
    expect(rows).to_have_count(2)
    page.reload()
    expect(rows).to_have_count(2)
    page.get_by_role("searchbox", name="Find an event").fill("BACKBONE")
    expect(rows).to_have_count(1)
