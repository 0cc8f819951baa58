"""Runs side by side: what differs, charts over all of them, two drawings, media and code."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.server.uploader import upload
from tests.ui.conftest import LoggedRun, Server, until
from tests.ui.test_artifacts import Api

pytestmark = pytest.mark.browser


NONE = "\N{EN DASH}"


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 24), "teal").save(file, "png")
    return file.getvalue()


PNG = picture()


def packed(tree: dict[str, str]) -> bytes:
    """A zip of these files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in tree.items():
            archive.writestr(name, text)
    return file.getvalue()


def logged(server: Server, project: str, name: str, loss: float, **fields: Any) -> LoggedRun:
    run = LoggedRun(server, project, name, **fields)
    run.log(range(4), val__loss=loss)
    run.end()
    return run


def compare(page: Page, server: Server, project: str, runs: list[LoggedRun], more: str = "") -> None:
    page.goto("about:blank")
    ids = ",".join(run.run_id for run in runs)
    page.goto(f"{server.url}/#/p/default-workspace/{project}/compare?runs={ids}{more}")
    expect(page.get_by_role("heading", name="compared")).to_be_visible()


def section(page: Page, title: str) -> Locator:
    return page.locator(f'tbody[data-section="{title}"] tr:not(.section)')


@pytest.fixture(scope="module")
def three(server: Server) -> list[LoggedRun]:
    return [
        logged(
            server, "compare", name, loss, config={"lr": lr, "model": {"name": model}, "same": [1, 2]}, system=system
        )
        for name, loss, lr, model, system in (
            ("first", 0.5, 0.1, "vit", {"git": {"commit": "aaa", "branch": "main"}}),
            ("second", 0.25, 0.001, "vit", {"git": {"commit": "bbb", "branch": "main"}}),
            ("third", 0.125, 0.1, "bert", {}),
        )
    ]


def test_chosen_runs_are_compared(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """`c` in the table leads to the selected runs."""
    page.goto(f"{server.url}/#/p/default-workspace/compare")
    for name in ("first", "third"):
        page.get_by_role("checkbox", name=f"Select {name}").click()
    page.keyboard.press("c")

    expect(page.get_by_role("heading", name="2 runs compared")).to_be_visible()
    expect(page.locator(".run-head a")).to_have_text(["third", "first"])


def test_only_what_differs_is_shown(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """Config, results and code, a row for each difference; the rest unfolds; a run can be left out."""
    compare(page, server, "compare", three)
    expect(section(page, "Config")).to_have_text(["lr0.10.0010.1", "model.namevitvitbert"])
    expect(section(page, "Summary")).to_have_text(["val/loss0.50000.25000.1250"])
    expect(section(page, "Code")).to_have_text([f"git.commitaaabbb{NONE}", f"git.branchmainmain{NONE}"])

    page.get_by_role("button", name="show 1 the same").first.click()
    expect(section(page, "Config")).to_have_text(["lr0.10.0010.1", "model.namevitvitbert", "same[1,2][1,2][1,2]"])
    page.get_by_role("button", name="Leave out third").click()

    expect(page.get_by_role("heading", name="2 runs compared")).to_be_visible()
    expect(section(page, "Code")).to_have_text(["git.commitaaabbb"])
    page.go_back()
    expect(page.get_by_role("heading", name="3 runs compared")).to_be_visible()


def test_charts_are_overlaid_and_live(server: Server, page: Page) -> None:
    """One chart over all compared runs, which grows while they run."""
    runs = [LoggedRun(server, "overlay", name).log(range(3), loss=1.0) for name in ("a", "b")]
    compare(page, server, "overlay", runs, "&tab=charts")
    chart = page.locator('.plot[data-metric="loss"]')
    expect(chart).to_have_attribute("data-points", "6")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    runs[0].log(range(3, 5), loss=0.5)

    expect(chart).to_have_attribute("data-points", "8")


def test_scatter_has_a_dot_for_each_run(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """Any field against any other; runs without a value are counted out; a dot leads to its run."""
    compare(page, server, "compare", three, "&tab=scatter")
    dots = page.locator("svg a[data-run]")
    expect(dots).to_have_count(3)
    page.get_by_label("x axis").select_option("config.model.name")
    page.get_by_label("y axis").select_option("summary.val/loss")
    expect(page.get_by_role("link", name="third: model.name bert, val/loss 0.125")).to_be_visible()

    page.get_by_role("link", name="third: ").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("third")


def test_parallel_axes_choose_runs(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """A range dragged on an axis leaves the runs that pass; those can be compared alone."""
    compare(page, server, "compare", three, "&tab=parallel")
    expect(page.locator("svg a[data-passes=true]")).to_have_count(3)
    axis = page.locator('g[data-axis="config.lr"] rect.grip')
    box = axis.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(middle, box["y"] + box["height"] * 0.3, steps=4)
    page.mouse.up()

    expect(page.get_by_text("2 of 3 runs pass")).to_be_visible()
    page.reload()
    expect(page.get_by_text("2 of 3 runs pass")).to_be_visible()
    page.get_by_role("button", name="compare only these").click()
    expect(page.get_by_role("heading", name="2 runs compared")).to_be_visible()


def test_parallel_lines_are_coloured_by_a_value(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """By the last axis, which the address says; runs with the same value then have the same colour."""
    compare(page, server, "compare", three, "&tab=parallel&axes=config.model.name,config.lr")
    first, third = (page.locator(f'svg a[data-run="{three[place].run_id}"] .strand') for place in (0, 2))
    stroke = "path => getComputedStyle(path).stroke"
    until(page, lambda: first.evaluate(stroke) != third.evaluate(stroke))
    page.get_by_role("checkbox", name="colour by lr").check()
    until(page, lambda: first.evaluate(stroke) == third.evaluate(stroke))
    assert "shade=1" in page.url


def test_a_run_that_is_gone_is_said(server: Server, stranger: Page) -> None:
    """The others are still compared."""
    runs = [logged(server, "gone", name, 1.0) for name in ("a", "b")]
    server.post("/api/v1/runs/delete", json={"runIds": [runs[0].run_id]})
    stranger.goto(server.link())  # not `page`: the browser itself reports the 404 on its console
    stranger.wait_for_url(f"{server.url}/#/")
    compare(stranger, server, "gone", runs)

    expect(stranger.get_by_text("1 run of this address does not exist any more.")).to_be_visible()
    expect(stranger.locator(".run-head a")).to_have_text(["b"])


def test_nothing_to_compare_says_what_to_do(server: Server, page: Page, three: list[LoggedRun]) -> None:
    """An address without runs leads back to the table."""
    page.goto(f"{server.url}/#/p/default-workspace/compare/compare")
    page.get_by_role("link", name="the table").click()
    expect(page.locator("table.runs")).to_be_visible()


def test_media_stand_beside_each_other(server: Server, page: Page) -> None:
    """A key in a row, each run in its column, all at the step of the slider."""
    runs = [LoggedRun(server, "beside", name) for name in ("a", "b")]
    for run, caption in zip(runs, ("left", "right")):
        for step in (0, 5):
            media = {"key": "sample", "step": step, "mediaType": "image", "caption": f"{caption} {step}", "timeMs": 1}
            upload(Api(server), run.run_id, {f"{caption}{step}.png": PNG}, name="media", media=media)
    compare(page, server, "beside", runs, "&tab=media")

    expect(page.get_by_role("img")).to_have_count(2)
    expect(page.get_by_role("img", name="right 5")).to_be_visible()
    page.get_by_role("button", name="Earlier step").click()
    expect(page.get_by_role("img", name="left 0")).to_be_visible()
    expect(page.get_by_role("img", name="right 0")).to_be_visible()


def test_code_is_compared_line_by_line(server: Server, page: Page) -> None:
    """Of the archives that two runs took along, the files that differ, and in them the lines."""
    runs = [LoggedRun(server, "code", name) for name in ("old", "new", "bare")]
    head = "".join(f"line {n}\n" for n in range(20))
    trees = [
        {"train.py": head + "lr = 0.1\nend\n", "same.py": "x", "gone.py": "y"},
        {"train.py": head + "lr = '<b>'\nend\n", "same.py": "x", "more.py": "z"},
    ]
    for run, tree in zip(runs, trees):
        upload(Api(server), run.run_id, {"code.zip": packed(tree)}, name="code-code", artifactType="code")
    compare(page, server, "code", runs[:2], "&tab=code")
    expect(page.get_by_text("3 files of 4 are different.")).to_be_visible()
    expect(page.locator("details summary")).to_have_text(["gone.py removed", "more.py added", "train.py changed"])

    page.get_by_text("train.py").click()

    expect(page.locator("details pre div")).to_have_text(
        ["…", "  line 17", "  line 18", "  line 19", "- lr = 0.1", "+ lr = '<b>'", "  end", "  "], use_inner_text=True
    )
    compare(page, server, "code", [runs[0], runs[2]], "&tab=code")
    expect(page.get_by_text("bare took no code along.")).to_be_visible()
