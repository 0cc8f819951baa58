"""Getting into the page, and being shown the door."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import Server

pytestmark = pytest.mark.browser


def test_link_signs_in_once(server: Server, stranger: Page) -> None:
    """A login link opens the projects and is forgotten; opened again it says how to get a new one."""
    link = server.link()
    stranger.goto(link)
    stranger.wait_for_url(f"{server.url}/#/")
    expect(stranger.get_by_role("link", name="rundial")).to_be_visible()

    stranger.goto(link)

    expect(stranger.get_by_role("heading")).to_have_text("This link does not work any more")
    expect(stranger.get_by_text("rundial ui")).to_be_visible()


def test_stranger_sees_the_door(server: Server, stranger: Page) -> None:
    """Without a session the page shows no data and says what to do."""
    stranger.goto(server.url)

    expect(stranger.get_by_role("heading")).to_have_text("You are signed out")
    expect(stranger.get_by_text("rundial ui")).to_be_visible()
