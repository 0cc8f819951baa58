"""The list of projects."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import LoggedRun, Server

pytestmark = pytest.mark.browser


def test_empty_server_shows_how_to_begin(page: Page) -> None:
    """Before the first run the page shows the lines that log one."""
    expect(page.get_by_text("No runs yet")).to_be_visible()
    expect(page.locator("code", has_text="rd.init(")).to_be_visible()


def test_projects_are_listed(server: Server, page: Page) -> None:
    """A project shows how many runs it has and how many are running, and leads to them."""
    LoggedRun(server, "digits").end()
    LoggedRun(server, "digits")

    page.reload()
    row = page.get_by_role("row").filter(has_text="digits")
    expect(row.get_by_role("cell").nth(1)).to_have_text("2")
    expect(row.get_by_role("cell").nth(2)).to_have_text("1")
    row.get_by_role("link").click()

    expect(page).to_have_url(f"{server.url}/#/p/default-workspace/digits")
