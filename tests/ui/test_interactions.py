"""What every view has in common: the way back, the address, focus, titles, and what a browser asks for its reader."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from rundial.events import Metrics
from tests.ui.conftest import LoggedRun, Server

pytestmark = pytest.mark.browser

PROJECT = "p/default-workspace/interactions"
VIEWS = ("", PROJECT, f"{PROJECT}/alerts", f"{PROJECT}/sweeps", f"{PROJECT}/evals", f"{PROJECT}/settings", "settings")
TABS = ("overview", "logs", "media", "traces", "code", "delivery")


@pytest.fixture(scope="module")
def three(server: Server) -> list[LoggedRun]:
    """Runs of one project, oldest first."""
    runs = []
    for number, rate in enumerate((0.1, 0.01, 0.001)):
        run = LoggedRun(server, "interactions", f"calm-oak-{number}", config={"lr": rate})
        rows = ({"train/loss": 1 / (step + 1 + number), "train/acc": step / 20} for step in range(20))
        run.send(*(Metrics(time.time_ns(), step, dict(values)) for step, values in enumerate(rows)))
        runs.append(run)
    runs[0].end()
    return runs


def open_project(page: Page, server: Server, query: str = "") -> None:
    page.goto("about:blank")
    page.goto(f"{server.url}/#/{PROJECT}{query}")
    expect(page.locator(".plot[data-loaded=true]").first).to_be_visible()


def test_every_interaction_has_its_test() -> None:
    """What interactions.md names is there."""
    here = Path(__file__).parent
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (here / "interactions.md").read_text())
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (here / file).read_text()]
    assert len(named) > 80 and not missing


def test_back_undoes_each_step(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """Sorting, a run, its tab, a zoom: back takes them away one by one."""
    open_project(page, server)
    page.get_by_role("button", name="Sort by name").or_(
        page.get_by_role("button", name="Name", exact=True)
    ).first.click()
    page.get_by_role("link", name="calm-oak-2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("calm-oak-2")
    page.get_by_role("button", name="Overview").click()
    expect(page.get_by_text(three[2].run_id)).to_be_visible()
    page.get_by_role("button", name="Charts").click()
    plot = page.locator('.plot[data-metric="train/loss"][data-loaded=true]')
    plot.hover()
    page.keyboard.press("+")
    expect(page.get_by_role("button", name="reset zoom")).to_be_visible()

    page.go_back()
    expect(page.get_by_role("button", name="reset zoom")).to_have_count(0)
    page.go_back()
    expect(page.get_by_text(three[2].run_id)).to_be_visible()
    page.go_back()
    expect(plot).to_be_visible()
    page.go_back()
    expect(page.locator("th[aria-sort], [role=columnheader][aria-sort]")).to_have_count(1)
    page.go_back()
    expect(page.locator("th[aria-sort], [role=columnheader][aria-sort]")).to_have_count(0)


def test_a_chart_is_zoomed_by_keys(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """Plus, minus, Shift with an arrow and 0, under the pointer or with the focus in the chart; all charts follow."""
    page.goto(f"{server.url}/#/runs/{three[2].run_id}")
    loss = page.locator('.plot[data-metric="train/loss"][data-loaded=true]')
    acc = page.locator('.plot[data-metric="train/acc"][data-loaded=true]')
    expect(loss).to_have_attribute("data-shown", "0~19")
    page.get_by_role("button", name="Full screen train/loss").focus()

    page.keyboard.press("+")
    expect(acc).to_have_attribute("data-shown", "4.75~14.25")
    page.keyboard.press("Shift+ArrowRight")
    expect(acc).to_have_attribute("data-shown", "7.125~16.625")
    page.keyboard.press("-")
    expect(acc).to_have_attribute("data-shown", "2.375~21.375")
    page.keyboard.press("0")
    expect(acc).to_have_attribute("data-shown", "0~19")
    assert "zoom" not in page.url


def test_escape_closes_a_panel_and_focus_returns(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """It opens by Enter with the focus inside, and Escape leads back to its button."""
    open_project(page, server)
    panel = page.locator(".menu-panel")
    for words in ("columns", "views", "options"):
        button = page.get_by_role("button", name=re.compile(f"^{words}"))
        button.focus()
        page.keyboard.press("Enter")
        expect(panel.locator(":focus")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(panel).to_have_count(0)
        expect(button).to_be_focused()


def test_full_screen_gives_the_focus_back(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """A chart that was enlarged by its button has it again after Escape."""
    page.goto(f"{server.url}/#/runs/{three[2].run_id}")
    button = page.get_by_role("button", name="Full screen train/loss")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="train/loss")).to_be_visible()

    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog", name="train/loss")).to_have_count(0)
    expect(button).to_be_focused()


def test_x_is_time_since_the_start_or_of_the_day(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """Each axis is drawn over what was chosen; the address says which."""
    open_project(page, server)
    plot = page.locator('.plot[data-metric="train/loss"][data-loaded=true]')
    for name in ("relative", "wall", "metric:train/acc", "step"):
        page.get_by_label("x axis").select_option(name)
        expect(plot).to_have_attribute("data-x", name)
        query = {} if name == "step" else {"x": name}
        assert page.evaluate("new URLSearchParams(location.hash.split('?')[1]).get('x')") == query.get("x")


def test_several_runs_are_selected_at_once(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """Shift takes all between two boxes; the box in the head takes all, and lets go of them."""
    open_project(page, server)
    page.get_by_role("checkbox", name="Select calm-oak-2").click()
    page.get_by_role("checkbox", name="Select calm-oak-0").click(modifiers=["Shift"])
    expect(page.get_by_text("3 selected")).to_be_visible()
    page.get_by_role("button", name="clear", exact=True).click()
    expect(page.get_by_role("toolbar", name="Selected runs")).to_have_count(0)
    page.get_by_role("checkbox", name="Select all runs of the list").click()
    expect(page.get_by_text("3 selected")).to_be_visible()


def test_a_status_is_live_in_the_table_and_in_the_tab(server: Server, page: Page) -> None:
    """When a run ends its row says so, and so does the icon of the window that shows it."""
    run = LoggedRun(server, "iconic", "only").log(range(2), loss=1.0)
    page.goto(f"{server.url}/#/p/default-workspace/iconic")
    icon = page.locator("link[rel=icon]")
    expect(page.locator(".status.running")).to_be_visible()
    expect(icon).to_have_attribute("href", re.compile("running-"))
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    run.end("failed", "ValueError: no")
    expect(page.locator(".status.failed")).to_be_visible()
    expect(icon).to_have_attribute("href", re.compile("icon-"))

    page.get_by_role("link", name="only").click()
    expect(icon).to_have_attribute("href", re.compile("failed-"))
    expect(page).to_have_title("only · Rundial")
    page.get_by_role("button", name="Logs").click()
    expect(page).to_have_title("only · Logs · Rundial")
    page.goto(f"{server.url}/#/")
    expect(icon).to_have_attribute("href", re.compile("icon-"))
    expect(page).to_have_title("Rundial")


def test_what_was_looked_for_stays_in_its_tab(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """A search in the events is not one in the logs."""
    page.goto(f"{server.url}/#/runs/{three[0].run_id}?tab=events")
    page.get_by_role("searchbox", name="Find an event").fill("nothing like it")
    expect(page.get_by_text("No event matches.")).to_be_visible()
    page.get_by_role("button", name="Logs").click()
    page.get_by_role("button", name="Events").click()
    expect(page.get_by_text("No event matches.")).to_have_count(0)


@pytest.fixture(scope="module")
def narrow(server: Server, browser: Browser) -> Iterator[Page]:
    """A desk of 1440 pixels at a zoom of 200 %, for someone who wants contrast and no motion."""
    page = browser.new_page(
        viewport={"width": 720, "height": 450}, device_scale_factor=2, reduced_motion="reduce", contrast="more"
    )
    page.goto(server.link())
    page.wait_for_url(f"{server.url}/#/")
    yield page
    page.close()


def test_twice_as_large_nothing_sticks_out(server: Server, narrow: Page, three: list[LoggedRun]) -> None:
    """At a zoom of 200 % no view scrolls sideways, and the present tab is in sight."""
    both = ",".join(run.run_id for run in three)
    views = [*VIEWS, f"{PROJECT}/compare?runs={both}", *(f"runs/{three[0].run_id}?tab={tab}" for tab in TABS)]
    for view in views:
        narrow.goto("about:blank")
        narrow.goto(f"{server.url}/#/{view}")
        expect(narrow.get_by_text("Loading")).to_have_count(0)
        expect(narrow.locator("main")).to_be_visible()
        assert narrow.evaluate("document.documentElement.scrollWidth") <= 720, view
        if "tab=" in view:
            expect(narrow.locator(".tabs [aria-current]")).to_be_in_viewport(ratio=0.9)


def test_contrast_and_stillness_are_given(server: Server, narrow: Page, three: list[LoggedRun]) -> None:
    """Lines are darker for those who ask for contrast; for those who ask for stillness nothing moves."""
    narrow.goto(f"{server.url}/#/runs/{three[2].run_id}")
    expect(narrow.get_by_text("live", exact=True)).to_be_visible()
    style = "(name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()"
    assert narrow.evaluate(style, "--text") == "#000000"
    assert narrow.evaluate(style, "--line") != "#e3e6ea"
    assert narrow.evaluate("document.getAnimations().length") == 0
