"""The demo, as a newcomer sees it: a real training, watched in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.ui.conftest import SCREENSHOTS

pytestmark = pytest.mark.browser

DEMO = Path(__file__).parent.parent.parent / "examples" / "demo.py"


@pytest.mark.frameworks
def test_demo_shows_a_training_that_grows(browser: Browser) -> None:
    """The address it prints signs in; the training's charts grow while one looks, and the screenshot shows them."""
    environment = os.environ | {"DEMO_SECONDS": "12"}
    with subprocess.Popen([sys.executable, DEMO], stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        link = next(found.group() for line in demo.stdout if (found := re.search(r"http\S+login\S+", line)))
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(link)
        page.get_by_text("digits").first.click()
        chart = page.locator('.plot[data-metric="train/loss"]')
        expect(chart).to_be_visible(timeout=15_000)
        seen = int(chart.get_attribute("data-points") or 0)
        expect(chart).not_to_have_attribute("data-points", str(seen), timeout=10_000)
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "demo.png")
        assert int(chart.get_attribute("data-points") or 0) > seen
        page.close()
        assert "are read right" in demo.stdout.read()
    assert demo.returncode == 0
