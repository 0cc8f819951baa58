"""Media of all runs of a project in one grid: by key, at the same step, as far as one scrolls, live."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.server.uploader import entry as file_entry
from tests.server.uploader import finalize, initiate, put_missing
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server
from tests.ui.test_artifacts import Api

pytestmark = pytest.mark.browser

RUNS = 130


def picture(shade: int) -> bytes:
    y, x = np.mgrid[:60, :80]
    file = io.BytesIO()
    Image.fromarray(np.stack([x * 3, y * 4, 0 * x + shade % 255], axis=-1).astype(np.uint8)).save(file, "png")
    return file.getvalue()


def log(
    server: Server, run: LoggedRun, content: bytes, key: str, step: int, kind: str = "image", index: int = 0
) -> None:
    media = {"key": key, "step": step, "mediaType": kind, "index": index, "width": 80, "height": 60}
    kinds = {"contentType": "image/png" if kind == "image" else "application/json"}
    begun = initiate(Api(server), run.run_id, {}, files=[file_entry("item", content) | kinds], media=media)
    put_missing(begun, {"item": content})
    assert finalize(Api(server), run.run_id, begun).status_code == 200


@pytest.fixture(scope="module")
def runs(server: Server) -> list[LoggedRun]:
    """Three runs with pictures over steps, one with histograms alone, one with nothing."""
    found = [LoggedRun(server, "gallery", f"run-{name}") for name in "abcde"]
    for place, run in enumerate(found[:3]):
        for step in (0, 10, 20)[: place + 1]:
            log(server, run, picture(40 * step + place), "val/samples", step)
    log(server, found[0], picture(7), "val/samples", 0, index=1)
    log(server, found[3], json.dumps({"edges": [0, 1, 2], "counts": [3, 5]}).encode(), "weights", 4, "histogram")
    return found


def tiles(page: Page) -> Locator:
    return page.locator("figure[data-run]")


def tile(page: Page, name: str) -> Locator:
    return page.locator(f'figure[data-run="{name}"]')


def open_media(page: Page, server: Server, project: str = "gallery", query: str = "") -> None:
    page.goto(f"{server.url}/#/p/default-workspace/{project}/media{query}")


def test_pictures_of_all_runs_at_the_same_step(server: Server, page: Page, runs: list[LoggedRun]) -> None:
    """Of each run its newest up to the step; a run that begins later is there with its first, and says so."""
    page.goto(f"{server.url}/#/p/default-workspace/gallery")
    page.get_by_role("navigation", name="Project").get_by_role("link", name="media").click()

    expect(tiles(page)).to_have_count(3)
    expect(tiles(page).locator("figcaption .name")).to_have_text(["run-c", "run-b", "run-a"])
    expect(tile(page, "run-a")).to_contain_text("step 0")
    expect(tile(page, "run-b")).to_contain_text("step 10")
    page.screenshot(path=SCREENSHOTS / "project-media.png")
    page.get_by_role("button", name="Earlier step").click()
    expect(page.locator("output")).to_have_text("10")
    expect(tile(page, "run-b").locator("figcaption")).to_have_text("run-b")
    expect(tile(page, "run-c").get_by_role("img")).to_have_attribute("alt", "val/samples, step 10, 1")
    page.reload()
    expect(page.locator("output")).to_have_text("10")
    page.get_by_role("button", name="Next item").click()
    expect(tile(page, "run-a").get_by_role("img")).to_have_attribute("alt", "val/samples, step 0, 2")
    page.get_by_role("combobox", name="as").select_option("rows")
    expect(tile(page, "run-a").get_by_role("img")).to_have_count(2)
    page.get_by_role("combobox", name="key").select_option("weights")
    expect(tiles(page)).to_have_count(1)
    expect(tile(page, "run-d").locator(".histogram")).to_be_visible()
    page.go_back()
    expect(tiles(page)).to_have_count(3)


def test_a_picture_beside_that_of_another_run(server: Server, page: Page, runs: list[LoggedRun]) -> None:
    """Enlarged, with another run's under a slider; a run's name leads to its own media."""
    open_media(page, server)
    tile(page, "run-c").get_by_role("button").click()

    dialog = page.get_by_role("dialog").filter(has_text="run-c")
    dialog.get_by_label("Beside the same picture of run").select_option(label="run-b, step 10")
    expect(dialog.get_by_role("img")).to_have_count(2)
    dialog.get_by_role("button", name="close").click()
    expect(dialog).to_have_count(0)
    tile(page, "run-b").get_by_role("link", name="run-b").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("run-b")
    expect(page.locator('[data-key="val/samples"]')).to_be_visible()


def test_runs_are_filtered_as_in_their_table(server: Server, page: Page, runs: list[LoggedRun]) -> None:
    """By the same language, in the address; without a match it says so."""
    open_media(page, server, query="?q=run-b")

    expect(tiles(page)).to_have_count(1)
    page.get_by_label("Filter runs").fill("name != run-b")
    expect(tiles(page)).to_have_count(2)
    page.get_by_label("Filter runs").fill("run-e")
    expect(page.get_by_text("has media")).to_be_visible()


def test_what_is_logged_appears_by_itself(server: Server, page: Page) -> None:
    """Before there is anything it says how to log a picture; new pictures and steps come without a reload."""
    run = LoggedRun(server, "live-gallery", "early")
    open_media(page, server, "live-gallery")
    expect(page.get_by_text("rd.Image(array")).to_be_visible()
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    log(server, run, picture(1), "samples", 1)
    expect(tile(page, "early")).to_be_visible()
    log(server, run, picture(2), "samples", 2)

    expect(page.locator("output")).to_have_text("2")
    expect(tile(page, "early").get_by_role("img")).to_have_attribute("alt", "samples, step 2, 1")


def test_many_runs_come_as_one_scrolls(server: Server, page: Page) -> None:
    """A part of them at first, the rest at the end of the page; those without the key are passed over."""
    content = picture(9)
    for number in range(RUNS):
        run = LoggedRun(server, "crowd", f"run-{number}")
        if number % 10:
            log(server, run, content, "samples", number)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/query/media") else None)
    open_media(page, server, "crowd", "?size=large")

    expect(page.get_by_text("so far")).to_be_visible()
    first = tiles(page).count()
    assert 0 < first < RUNS * 9 // 10
    before = len(asked)
    page.mouse.move(700, 500)
    for _ in range(8):
        page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(50)
    expect(tiles(page)).to_have_count(RUNS * 9 // 10)
    assert len(asked) > before
    expect(page.get_by_text("so far")).to_have_count(0)
    expect(tiles(page).last.locator(".name")).to_have_text("run-1")
