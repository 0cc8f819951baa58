"""The page at the sizes and in the themes it is used in: nothing sticks out, and a picture of each to look at."""

from __future__ import annotations

import math

import pytest
from playwright.sync_api import Browser, expect

from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server

pytestmark = pytest.mark.browser

SIZES = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
LONG_NAME = "every hyperparameter in one name " + "learning_rate=0.001_batch_size=256_" * 4


@pytest.fixture(scope="module")
def failed(server: Server) -> LoggedRun:
    """A project with sixty runs of every status, the last failed under a very long name; another with 200 metrics."""
    for number in range(60):
        run = LoggedRun(server, "sixty", f"calm-oak-{number}", config={"lr": 0.001 * (number + 1)})
        decay = 0.05 + number * 0.002
        for step in range(0, 120, 4):
            run.log(range(step, step + 1), train__loss=math.exp(-step * decay), val__acc=1 - math.exp(-step * decay))
        if number % 3:
            run.end("completed" if number % 2 else "aborted")
    wide = LoggedRun(server, "wide", "wide-net")
    wide.log(range(20), **{f"layer.{number // 4}__weight_{number % 4}": float(number) for number in range(200)})
    run = LoggedRun(server, "sixty", LONG_NAME, config={"data": {"path": "s3://bucket/" + "deep/" * 30}})
    run.log(range(200), train__loss=1.0)
    run.end("failed", "ValueError: loss is not finite", "Traceback (most recent call last):\n" + "  File 'x.py'\n" * 30)
    return run


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_sticks_out(server: Server, browser: Browser, failed: LoggedRun, size: str, theme: str) -> None:
    """No view is wider than its window."""
    page = browser.new_page(viewport=SIZES[size], color_scheme=theme)  # type: ignore[arg-type]
    page.goto(server.link())
    page.wait_for_url(f"{server.url}/#/")
    views = {
        "projects": ("/", "table.projects"),
        "sixty": ("/p/default-workspace/sixty", ".plot[data-loaded=true]"),
        "wide": ("/p/default-workspace/wide", ".plot[data-loaded=true]"),
        "empty": ("/p/default-workspace/default-project", ".copyable"),
        "charts": (f"/runs/{failed.run_id}", ".plot[data-loaded=true]"),
        "overview": (f"/runs/{failed.run_id}?tab=overview", ".traceback"),
    }
    SCREENSHOTS.mkdir(exist_ok=True)
    for name, (path, content) in views.items():
        page.goto(f"{server.url}/#{path}")
        expect(page.locator(content).first).to_be_visible()
        page.screenshot(path=SCREENSHOTS / f"{name}-{size}-{theme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"], name
    page.close()
