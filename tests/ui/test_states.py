"""Empty, failing and stale: each view says what is the matter and what to do, and keeps what it had."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.ui.conftest import LoggedRun, Server

pytestmark = pytest.mark.browser

PROJECT = "p/default-workspace/states"
TABS = ("logs", "dials", "media", "tables", "artifacts", "traces", "evals", "code", "events")
REFUSAL = {
    "requestId": "1",
    "error": {"code": "INTERNAL_ERROR", "message": "It broke.", "details": {"hint": "Mend it."}},
}


@pytest.fixture
def sturdy(server: Server, browser: Browser) -> Page:
    """A page that may complain on its console: failing requests do so by themselves."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(server.link())
    page.wait_for_url(f"{server.url}/#/")
    return page


def test_an_empty_view_says_how_to_fill_it(server: Server, page: Page) -> None:
    """Lines to copy stand in every tab and view that has nothing yet."""
    run = LoggedRun(server, "states", "bare")
    views = [f"runs/{run.run_id}?tab={tab}" for tab in TABS]
    for view in [*views, f"{PROJECT}/alerts", f"{PROJECT}/sweeps", f"{PROJECT}/evals"]:
        page.goto(f"{server.url}/#/{view}")
        try:
            expect(page.locator(".copyable.block code, .empty code").first).to_be_visible()
        except AssertionError as error:
            raise AssertionError(f"{view} says nothing") from error
    for view, words in ((f"runs/{run.run_id}", "metric"), (f"{PROJECT}/nothing", "nothing at this address")):
        page.goto(f"{server.url}/#/{view}")
        expect(page.get_by_text(words).first).to_be_visible()


def test_a_failing_view_says_why_and_tries_again(server: Server, sturdy: Page) -> None:
    """What the server said, with its hint, and a button that asks once more; in every view that fetches."""
    run = LoggedRun(server, "states", "failing").log(range(2), loss=1.0)
    views = {
        f"runs/{run.run_id}?tab=artifacts": "**/runs/*/artifacts*",
        f"runs/{run.run_id}?tab=code": "**/runs/*/artifacts*",
        f"runs/{run.run_id}?tab=media": "**/runs/*/media*",
        f"runs/{run.run_id}?tab=evals": "**/runs/*/evals*",
        f"runs/{run.run_id}?tab=events": "**/runs/*/commands*",
        f"{PROJECT}/alerts": "**/alerts*",
        f"{PROJECT}/evals": "**/evals*",
        f"{PROJECT}/settings": "**/deleted*",
        f"{PROJECT}/sweeps": "**/runs/query*",
        "settings?tab=audit": "**/audit*",
    }
    for view, requests in views.items():
        sturdy.goto("about:blank")
        sturdy.route(requests, lambda route: route.fulfill(status=500, json=REFUSAL))
        sturdy.goto(f"{server.url}/#/{view}")
        failure = sturdy.get_by_role("alert").filter(has_text="It broke. Mend it.")
        expect(failure, view).to_be_visible()
        sturdy.unroute(requests)
        failure.get_by_role("button", name="Retry").click()
        expect(failure, view).to_have_count(0)
    sturdy.close()


def test_loading_is_said(server: Server, sturdy: Page) -> None:
    """Until the answer comes there is a word instead of a blank."""
    held: list[Route] = []
    released = threading.Event()
    sturdy.route("**/alerts*", lambda route: route.continue_() if released.is_set() else held.append(route))
    LoggedRun(server, "states", "waiting")
    sturdy.goto(f"{server.url}/#/{PROJECT}/alerts")

    expect(sturdy.get_by_text("Loading the alerts")).to_be_visible()

    released.set()
    for route in held:
        route.continue_()
    expect(sturdy.get_by_text("No run has raised an alert.")).to_be_visible()
    sturdy.close()


def test_stale_data_stays_and_says_since_when(browser: Browser, tmp_path: Path) -> None:
    """When the server goes away the page keeps what it shows, and says that it is not live."""
    command = [sys.executable, "-m", "rundial", "server", "--port", "0", "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        server = Server(url, (tmp_path / "data" / "owner.key").read_text().strip())
        run = LoggedRun(server, "stale", "kept").log(range(3), loss=1.0)
        page = browser.new_page()
        page.goto(server.link())
        page.wait_for_url(f"{url}/#/")
        page.goto(f"{url}/#/runs/{run.run_id}?tab=overview")
        expect(page.get_by_text("live", exact=True)).to_be_visible()
        process.kill()

    expect(page.get_by_text("not live since")).to_be_visible()
    expect(page.get_by_role("heading", name="kept")).to_be_visible()
    expect(page.get_by_text(run.run_id)).to_be_visible()
    page.close()
