"""`rundial export --html`: one file that shows runs without a server, and in which nothing runs that runs carry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from rundial.events import RunUpdate
from rundial.exports.html import embedded
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server
from tests.ui.test_hostile import PAYLOADS

pytestmark = pytest.mark.browser

TRAIN = """
    import json, math, sys
    import numpy as np
    import rundial as rd

    endpoint, key, payloads = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    for number in range(3):
        config = {"lr": 10.0 ** -number, "layers": {"width": 64, "depth": number}, "seed": 7}
        with rd.init(project="paper", config=config, run_id=f"run_paper{number}", quiet=True,
                     name=f"wide-{number}", endpoint=endpoint, api_key=key, tags=["paper"],
                     notes="first try" if number else None, system_metrics=False) as run:
            noise = np.random.default_rng(number)
            for step in range(3000):
                loss = math.exp(-step / (300 * (number + 1))) + noise.normal() * 0.05
                run.log({"train/loss": loss, "val/acc": 1 - loss / 2, "lr": 0.1 / (1 + step)}, step=step)
            run.event("halved", step=1000, kind="checkpoint")
            ramp = np.linspace(0, 255, 64 * 96).reshape(64, 96).astype(np.uint8)
            run.log({"samples": [rd.Image(np.roll(ramp, 20 * i + 7 * number), caption=f"sample {i}") for i in range(2)],
                     "errors": rd.Table(columns=["label", "score"], data=[[f"class {i}", i / 7] for i in range(120)])},
                    step=2999)
            run.finish(30)
    for number, text in enumerate(payloads):
        run = rd.init(project="hostile", run_id=f"run_hostile{number}", name=text, quiet=True,
                      endpoint=endpoint, api_key=key, system_metrics=False)
        for start in ("i", "j"):
            run.log({start + text: rd.Image(np.zeros((2, 2, 3), np.uint8), caption=text)}, step=0)
        cells = [[text, {"type": text, text: text}]]
        run.log({"t" + text: rd.Table(columns=[text, "b"], data=cells, caption=text)}, step=0)
        run.finish(30, status="failed", reason=text)
"""


@pytest.fixture(scope="module")
def logged(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which a script has logged three runs of a project, and many whose every text is an attack."""
    folder = tmp_path_factory.mktemp("logged")
    arguments = [server.url, server.key, json.dumps(["\n".join(PAYLOADS[start::3]) for start in range(3)])]
    subprocess.run([sys.executable, "-c", textwrap.dedent(TRAIN), *arguments], cwd=folder, check=True, timeout=120)
    for text in PAYLOADS:
        shown = "".join(character if character.isprintable() else "-" for character in text)
        config: dict[str, Any] = {text: text, "list": [text, {text: text}], "deep": {text: {text: 1}}}
        run = LoggedRun(server, "hostile", shown, config=config, tags=[text], notes=text, group=text, path=text)
        run.log(range(2), **{shown: 1.0, f"x__{shown}": 2.0})
        run.mark(text, text, 0)
        run.mark("non_finite", shown, 1)
        run.send(RunUpdate(0, summary={text: text}, alias=text, environment={text: {text: text}}))
        run.end("failed", text, text)
    return folder


@pytest.fixture
def reader(browser: Browser) -> Iterator[Page]:
    """A browser without a server. The page must neither complain nor ask anybody for anything."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append("a dialog"), dialog.dismiss()))
    page.on("request", lambda it: None if it.url.startswith(("file:", "data:")) else complaints.append(it.url))
    yield page
    page.close()
    assert complaints == []


def exported(server: Server, folder: Path, *targets: str) -> tuple[Path, dict[str, Any]]:
    """The page of some runs, and what the command said."""
    out = folder / "page.html"
    command = [sys.executable, "-m", "rundial", "export", *targets, "--html", "-o", str(out), "--json"]
    environment = os.environ | {"RUNDIAL_ENDPOINT": server.url, "RUNDIAL_API_KEY": server.key}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_a_page_shows_runs_without_a_server(server: Server, logged: Path, reader: Page, tmp_path: Path) -> None:
    """Charts that zoom and smooth, what differs, images and tables: all in one file."""
    out, said = exported(server, tmp_path, "paper")
    reader.goto(out.as_uri())

    plots = reader.locator(".plot")
    expect(plots).to_have_count(3)
    assert [plots.nth(number).get_attribute("data-lines") for number in range(3)] == ["3", "3", "3"]
    expect(reader.get_by_role("region", name="Runs").get_by_role("row")).to_have_count(4)
    differences = reader.get_by_role("region", name="Differences")
    expect(differences.locator("[data-name='lr']").first.get_by_role("cell")).to_have_text(["1", "0.1", "0.01"])
    expect(differences.locator("[data-name='seed']")).to_have_count(0)
    differences.get_by_role("checkbox").check()
    expect(differences.locator("[data-name='seed']").first).to_be_visible()
    differences.get_by_role("checkbox").uncheck()
    pictures = reader.get_by_role("region", name="Images").locator("img")
    expect(pictures).to_have_count(6)
    pictures.last.scroll_into_view_if_needed()
    assert reader.wait_for_function("[...document.images].every((it) => it.complete && it.naturalWidth === 96)")
    expect(reader.get_by_role("region", name="Tables").get_by_text("120 rows, the first 100 here")).to_have_count(3)
    reader.evaluate("scrollTo(0, 0)")
    reader.screenshot(path=SCREENSHOTS / "export.png", full_page=True)

    loss = reader.locator("[data-metric='train/loss']")
    loss.scroll_into_view_if_needed()
    before = loss.screenshot()
    reader.get_by_label("smoothing").fill("0.9")
    reader.mouse.move(0, 0)
    smoothed = loss.screenshot()
    assert smoothed != before
    box = loss.bounding_box()
    assert box is not None
    reader.mouse.move(box["x"] + 100, box["y"] + 60)
    reader.mouse.down()
    reader.mouse.move(box["x"] + 250, box["y"] + 60, steps=5)
    reader.mouse.up()
    expect(loss).not_to_have_attribute("data-zoom", "")
    low, high = map(float, str(loss.get_attribute("data-zoom")).split())
    assert 0 < low < high < 3000
    loss.scroll_into_view_if_needed()
    reader.screenshot(path=SCREENSHOTS / "export-zoomed.png")
    reader.get_by_text("reset zoom").click()
    expect(loss).to_have_attribute("data-zoom", "")
    reader.get_by_label("x axis").select_option("relative")
    expect(reader.locator("[data-metric='train/loss']")).to_have_attribute("data-lines", "3")
    reader.get_by_role("button", name="wide-1").click()
    expect(reader.locator("[data-metric='train/loss']")).to_have_attribute("data-lines", "2")
    assert (said["runs"], said["leftOut"]) == (3, {})


def test_nothing_in_a_page_runs_or_asks(server: Server, logged: Path, reader: Page, tmp_path: Path) -> None:
    """Markup in every text a run can carry is shown as text, also where a chart says what is under the pointer."""
    out, _ = exported(server, tmp_path, "hostile")
    reader.goto(out.as_uri())
    expect(reader.get_by_role("region", name="Images").locator("img")).to_have_count(6)
    for checkbox in reader.get_by_role("checkbox").all():
        checkbox.check()
    for plot in reader.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        plot.hover()
    reader.wait_for_timeout(100)

    assert reader.evaluate("window.ran") is None
    assert reader.locator("script").count() == 2
    foreign = reader.locator("iframe, object, embed, video, link[rel=stylesheet], base, a, math, details")
    assert foreign.count() == 0
    assert reader.locator("img").evaluate_all("all => all.every((it) => it.src.startsWith('data:image/'))")
    assert "onerror=" in reader.inner_text("body")
    assert "http-equiv=refresh" in reader.inner_text("body")


def test_data_cannot_end_its_element() -> None:
    """Whatever is in it, no character of the block has a meaning to HTML, and it reads back the same."""
    document = {text: [text] for text in (*PAYLOADS, "<!--", "<script", "\u2028", "&lt;", "]]>")}

    text = embedded(document)

    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == document
