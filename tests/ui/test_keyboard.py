"""Everything without a mouse: keys that lead from view to view, focus that is seen, and the list of keys."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import LoggedRun, Server

pytestmark = pytest.mark.browser


def test_keys_lead_through_a_project(server: Server, page: Page) -> None:
    """g and a letter go to a view; the letter does nothing else; < and > turn the tabs of a run."""
    run = LoggedRun(server, "keys", "only").log(range(2), loss=1.0)
    page.goto(f"{server.url}/#/p/default-workspace/keys")
    expect(page.get_by_role("link", name="only")).to_be_visible()

    page.keyboard.press("g")
    page.keyboard.press("a")
    expect(page.get_by_text("No run has raised an alert.")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page.get_by_text("No evaluation in this project yet.")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.get_by_role("link", name="only")).to_be_visible()
    expect(page.locator(".plot[data-loaded=true]")).to_be_visible()  # the table then listens to keys
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    tab = page.locator(".tabs [aria-current]")
    expect(tab).to_have_text("Charts")
    page.keyboard.press(">")
    expect(tab).to_have_text("System")
    page.keyboard.press("<")
    page.keyboard.press("<")
    expect(tab).to_have_text("Overview")
    assert run.run_id in page.url
    page.keyboard.press("g")
    page.keyboard.press("p")
    expect(page.locator("table.projects")).to_be_visible()


def test_the_list_of_keys_opens_and_closes(page: Page) -> None:
    """A question mark opens it from anywhere but a field, Escape closes it, and focus is where it was."""
    expect(page.get_by_role("link", name="settings")).to_be_visible()
    page.get_by_role("link", name="settings").focus()
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_be_visible()
    expect(keys).to_contain_text("previous, next tab")

    page.keyboard.press("Escape")

    expect(keys).to_have_count(0)
    expect(page.get_by_role("link", name="settings")).to_be_focused()


def test_focus_is_seen_and_reaches_everything(server: Server, page: Page) -> None:
    """By Tab alone one comes from the head of a run to its last tab, and each stop is outlined."""
    run = LoggedRun(server, "keys", "focus").log(range(2), loss=1.0)
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab=delivery")
    expect(page.locator(".ledger-verdict")).to_be_visible()
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        words, outline = page.evaluate(
            "() => { const it = document.activeElement; return [it.textContent, getComputedStyle(it).outlineStyle] }"
        )
        assert outline != "none", f"no outline around {words!r}"
        seen.append(words)
        if words == "Delivery":
            break

    assert [words for words in seen if words in ("runs", "alerts", "settings", "Overview", "Delivery")] == [
        "runs",
        "alerts",
        "settings",
        "Overview",
        "Delivery",
    ]
