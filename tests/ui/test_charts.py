"""Charts: which there are, how they are drawn, what is marked on them, and what they give away."""

from __future__ import annotations

import math
import re
import time
from copy import copy
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from rundial.events import Marker, Metrics, RunStart
from tests.ui.conftest import LoggedRun, Server

pytestmark = pytest.mark.browser

STEPS = 5000
SPIKE = 1e6
STEP_METRICS = {"metrics": {"val/*": {"name": "val/*", "step_metric": "epoch"}}}


@pytest.fixture(scope="module")
def long(server: Server) -> LoggedRun:
    """A run of many steps with one spike, epochs that define the axis of `val/*`, and a marker of each kind."""
    run = LoggedRun(server, "long", "long-run", config={"_wandb": STEP_METRICS})
    rows = []
    for step in range(STEPS):
        values: dict[str, float | int | bool | str] = {"train/loss": SPIKE if step == 2500 else 1 + math.sin(step)}
        if step % 100 == 0:
            values |= {"epoch": step // 1000, "val/acc": step / STEPS, "val/f1": 0.5}
        rows.append(Metrics(1_700_000_000_000_000_000 + step * 1_000_000, step, values))
    run.send(*rows)
    for kind, name, step in (
        ("control", "lr", 1000),
        ("checkpoint", "best.pt", 2000),
        ("alert", "loss is high", 3000),
        ("stage", "finetune", 4000),
        ("non_finite", "train/loss", 4500),
    ):
        run.send(Marker(1, kind, name, step))
    run.end()
    return run


@pytest.fixture(scope="module")
def grouped(server: Server) -> list[LoggedRun]:
    """Four runs, two for each learning rate; their losses are 1 to 4."""
    runs = []
    for number in range(4):
        run = LoggedRun(server, "grouped", f"run-{number}", config={"lr": [0.1, 0.01][number % 2], "same": 1})
        run.log(range(10), loss=number + 1.0)
        run.end()
        runs.append(run)
    return runs


def open_run(page: Page, server: Server, run: LoggedRun, query: str = "") -> None:
    page.goto("about:blank")
    page.goto(f"{server.url}/#/runs/{run.run_id}{query}")
    expect(page.locator(".plot[data-loaded=true]").first).to_be_visible()


def open_project(page: Page, server: Server, project: str, query: str = "") -> None:
    page.goto("about:blank")
    page.goto(f"{server.url}/#/p/default-workspace/{project}{query}")
    expect(page.locator(".plot[data-loaded=true]").first).to_be_visible()


def plot(page: Page, metric: str) -> Locator:
    return page.locator(f'.plot[data-metric="{metric}"]').last


def point_at(page: Page, metric: str, share: float) -> None:
    area = plot(page, metric).locator(".u-over").bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + area["width"] * share, area["y"] + area["height"] / 2)


def picture(page: Page, metric: str) -> str:
    return str(plot(page, metric).locator("canvas").evaluate("canvas => canvas.toDataURL()"))


def test_sections_fold_and_stay_folded(server: Server, page: Page, long: LoggedRun) -> None:
    """A folded section stays so on the next visit, in this browser."""
    open_run(page, server, long)
    expect(page.locator("section[data-section]")).to_have_count(3)
    page.get_by_role("button", name="val 2").click()
    expect(page.locator('[data-chart^="val/"]')).to_have_count(0)

    open_run(page, server, long)

    expect(page.locator('[data-chart="train/loss"]')).to_be_visible()
    expect(page.locator('[data-chart^="val/"]')).to_have_count(0)
    page.get_by_role("button", name="val 2").click()
    expect(page.locator('[data-chart^="val/"]')).to_have_count(2)


def test_search_is_a_regular_expression(server: Server, page: Page, long: LoggedRun) -> None:
    """One that is wrong is taken as text, and says what is wrong."""
    open_run(page, server, long)
    search = page.get_by_placeholder("filter metrics")
    search.fill("(acc|f1)$")
    expect(page.locator(".plot")).to_have_count(2)
    expect(page.locator(".problem")).to_have_count(0)

    search.fill("(acc")

    expect(page.locator(".problem")).to_contain_text("taken as plain text")
    expect(search).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("No metric matches (acc")).to_be_visible()


def test_pinned_charts_come_first(server: Server, page: Page, long: LoggedRun) -> None:
    """They leave their section, and are in the address."""
    open_run(page, server, long)
    page.locator('[data-chart="val/f1"]').hover()
    page.get_by_role("button", name="Pin val/f1").click()

    expect(page.locator("[data-chart]").first).to_have_attribute("data-chart", "val/f1")
    expect(page.locator('[data-chart="val/f1"]')).to_have_count(1)
    assert "pin=" in page.url
    page.locator('[data-chart="val/f1"]').hover()
    page.get_by_role("button", name="Pin val/f1").click()
    expect(page.locator("[data-chart]").first).to_have_attribute("data-chart", "epoch")


def test_only_what_is_near_the_screen_is_drawn(server: Server, page: Page) -> None:
    """Of two hundred charts a few have a canvas; those further down get theirs when they are scrolled to."""
    run = LoggedRun(server, "many").log(range(3), **{f"m{number}": 1.0 for number in range(200)})
    open_run(page, server, run)
    expect(page.locator("figure.chart")).to_have_count(200)
    assert page.locator("canvas").count() < 60

    page.locator('[data-chart="m199"]').scroll_into_view_if_needed()

    expect(plot(page, "m199")).to_have_attribute("data-points", "3")


def test_runs_define_the_axis(server: Server, page: Page, long: LoggedRun) -> None:
    """What a run has defined is the axis of those metrics, until one chooses another for all."""
    open_run(page, server, long)
    expect(page.get_by_label("x axis")).to_have_value("")
    expect(plot(page, "val/acc")).to_have_attribute("data-points", "5")
    expect(plot(page, "train/loss")).to_have_attribute("data-points", "400")
    expect(plot(page, "val/acc")).to_have_attribute("data-markers", "4")
    point_at(page, "val/acc", 0.25)
    expect(page.locator(".tooltip")).to_contain_text("control: lr at step 1,000")
    point_at(page, "val/acc", 0.99)
    expect(page.locator('[data-chart="val/acc"] .value')).to_contain_text("epoch")

    page.get_by_label("x axis").select_option("step")
    expect(plot(page, "val/acc")).to_have_attribute("data-points", "50")
    page.get_by_label("x axis").select_option("metric:val/acc")
    expect(plot(page, "train/loss")).to_have_attribute("data-points", "50")


def test_zoom_brings_finer_data(server: Server, page: Page, long: LoggedRun) -> None:
    """The range that is shown is asked for anew; a spike is in the band at every zoom."""
    open_run(page, server, long, "?x=step")
    loss = plot(page, "train/loss")
    expect(loss).to_have_attribute("data-points", "400")
    assert float(loss.get_attribute("data-high") or 0) >= SPIKE

    open_run(page, server, long, "?x=step&zoom=1000~1200")

    expect(loss).to_have_attribute("data-points", "201")
    expect(page.locator('[data-chart="val/acc"] .plot')).to_have_attribute("data-points", "3")


def test_outliers_can_be_clipped(server: Server, page: Page, long: LoggedRun) -> None:
    """The axis then belongs to the other values, and the chart says so."""
    open_run(page, server, long)
    page.get_by_role("button", name="options").click()
    page.get_by_label("clip outliers").check()

    expect(page.locator('[data-chart="train/loss"]').get_by_text("clipped")).to_be_visible()
    assert float(plot(page, "train/loss").get_attribute("data-high") or 0) < 100
    assert "clip=1" in page.url


def test_smoothing_has_two_kinds(server: Server, page: Page, long: LoggedRun) -> None:
    """Both change the line, each in its own way; the address holds which."""
    open_run(page, server, long, "?zoom=1000~1200&x=step")
    expect(plot(page, "train/loss")).to_have_attribute("data-points", "201")
    raw = picture(page, "train/loss")
    page.get_by_role("slider").fill("0.9")
    page.wait_for_function(
        "before => document.querySelector('[data-chart=\"train/loss\"] canvas').toDataURL() != before", arg=raw
    )
    average = picture(page, "train/loss")

    page.get_by_role("button", name="options").click()
    page.get_by_label("Kind of smoothing").select_option("gaussian")

    page.wait_for_function(
        "before => document.querySelector('[data-chart=\"train/loss\"] canvas').toDataURL() != before", arg=average
    )
    assert raw != picture(page, "train/loss")
    assert "smoother=gaussian" in page.url


def test_both_axes_can_be_logarithmic(server: Server, page: Page, long: LoggedRun) -> None:
    """Zero has no place on them; the buckets are those of the axis."""
    open_run(page, server, long, "?x=step&logx=1&log=1")
    points = int(plot(page, "train/loss").get_attribute("data-points") or 0)

    assert 100 < points < 400
    point_at(page, "train/loss", 0.01)
    expect(page.locator('[data-chart="train/loss"] .value')).to_contain_text("step 1")


def test_markers_are_shown_by_kind(server: Server, page: Page, long: LoggedRun) -> None:
    """Each kind can be hidden; what a value did not reach is on its own chart alone."""
    open_run(page, server, long, "?x=step")
    expect(plot(page, "train/loss")).to_have_attribute("data-markers", "5")
    expect(plot(page, "val/acc")).to_have_attribute("data-markers", "4")
    point_at(page, "train/loss", 2000 / (STEPS - 1))
    expect(page.locator(".tooltip")).to_contain_text("checkpoint: best.pt at step 2,000")

    page.get_by_role("button", name="options").click()
    page.get_by_label("checkpoints").uncheck()

    expect(plot(page, "train/loss")).to_have_attribute("data-markers", "4")
    page.reload()
    expect(plot(page, "train/loss")).to_have_attribute("data-markers", "4")


def test_markers_of_many_runs(server: Server, page: Page) -> None:
    """Over several runs a marker says whose it is, and one that comes while one looks appears."""
    runs = [LoggedRun(server, "marked", name).log(range(101), loss=1.0) for name in ("one", "two")]
    runs[0].mark("control", "lr", 50)
    open_project(page, server, "marked")
    expect(plot(page, "loss")).to_have_attribute("data-markers", "1")
    point_at(page, "loss", 0.5)
    expect(page.locator(".tooltip")).to_contain_text("one: control: lr at step 50")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    runs[1].mark("alert", "loss", 70)

    expect(plot(page, "loss")).to_have_attribute("data-markers", "2")


def test_a_resume_is_marked(server: Server, page: Page) -> None:
    """Where a later attempt began there is a marker, whoever forgot to set one."""
    run = LoggedRun(server, "resumed").log(range(50), loss=1.0)
    again = copy(run)
    again.stream, again.next = run.stream[::-1], 0
    again.send(RunStart(time.time_ns(), run.run_id, "default-workspace", "resumed", "", resume="must"))
    again.log(range(50, 100), loss=1.0)
    open_run(page, server, run)

    expect(plot(page, "loss")).to_have_attribute("data-points", "100")
    expect(plot(page, "loss")).to_have_attribute("data-markers", "1")


def test_hidden_metrics_have_no_chart(server: Server, page: Page) -> None:
    """What a run has defined as hidden is left out, by the nearest definition, until one asks for it."""
    metrics = {"aux/*": {"hidden": True}, "aux/seen": {"hidden": False}}
    run = LoggedRun(server, "hidden", config={"_wandb": {"metrics": metrics}})
    run.log(range(3), loss=1.0, aux__noise=2.0, aux__seen=3.0)
    open_run(page, server, run)
    charts = page.locator("[data-chart]")
    expect(charts).to_have_count(2)
    page.get_by_role("button", name="options").click()
    page.get_by_role("checkbox", name="hidden metrics (1)").check()
    expect(charts).to_have_count(3)


def test_runs_are_summed_up_by_their_config(server: Server, page: Page, grouped: list[LoggedRun]) -> None:
    """A line for each value: the mean of its runs, in a band; only what differs can be chosen."""
    open_project(page, server, "grouped")
    loss = plot(page, "loss")
    expect(loss).to_have_attribute("data-lines", "4")
    choice = page.get_by_label("Mean by")
    expect(choice.locator("option")).to_have_text(["no group", "lr"])

    choice.select_option("config.lr")

    expect(loss).to_have_attribute("data-lines", "2")
    expect(page.locator(".legend li")).to_have_text(["lr 0.01 (2)", "lr 0.1 (2)"])
    point_at(page, "loss", 0.5)
    expect(page.locator(".tooltip .reading")).to_have_text([re.compile("lr 0.01.*3"), re.compile("lr 0.1.*2")])
    high = float(loss.get_attribute("data-high") or 0)
    page.mouse.move(0, 0)
    page.get_by_role("button", name="options").click()
    page.get_by_label("Band of a mean").select_option("std")
    assert "group=config.lr" in page.url and "band=std" in page.url
    assert high > 4.0


def test_means_in_a_comparison(server: Server, page: Page, grouped: list[LoggedRun]) -> None:
    """The same over compared runs, whose names stand above the charts and light up their lines."""
    ids = ",".join(run.run_id for run in grouped)
    open_project(page, server, "grouped/compare", f"?runs={ids}&tab=charts")
    expect(page.locator(".legend li")).to_have_text(["run-0", "run-1", "run-2", "run-3"])
    before = picture(page, "loss")
    page.locator(".legend li").nth(2).hover()
    page.wait_for_function("before => document.querySelector('canvas').toDataURL() != before", arg=before)

    page.get_by_label("Mean by").select_option("config.lr")

    expect(plot(page, "loss")).to_have_attribute("data-lines", "2")


def test_a_chart_fills_the_screen(server: Server, page: Page, long: LoggedRun) -> None:
    """By its button or by `f` under the pointer; Escape gives the others back."""
    open_run(page, server, long)
    page.locator('[data-chart="train/loss"]').hover()
    page.get_by_role("button", name="Full screen train/loss").click()
    full = page.get_by_role("dialog", name="train/loss")
    expect(full.locator(".plot")).to_have_attribute("data-points", "400")
    size = full.locator(".plot").bounding_box()
    assert size is not None and size["width"] > 1200 and size["height"] > 600
    page.keyboard.press("Escape")
    expect(full).to_have_count(0)

    page.locator('[data-chart="val/acc"]').hover()
    page.keyboard.press("f")

    expect(page.get_by_role("dialog", name="val/acc")).to_be_visible()
    page.get_by_role("button", name="close").click()
    expect(page.get_by_role("dialog", name="val/acc")).to_have_count(0)
    assert "full=" not in page.url


def test_a_chart_is_saved(server: Server, page: Page, grouped: list[LoggedRun], tmp_path: Path) -> None:
    """As the numbers that are drawn or every one that was logged, and as a picture with title and names."""
    open_project(page, server, "grouped", "?zoom=2~4")
    expect(plot(page, "loss")).to_have_attribute("data-points", "12")
    page.locator('[data-chart="loss"]').hover()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save loss as CSV").click()
    rows = saved.value.path().read_text().split()
    with page.expect_download() as whole:
        page.get_by_role("button", name="Save all values of loss").click()
    values = whole.value.path().read_text().split()
    with page.expect_download() as drawn:
        page.get_by_role("button", name="Save loss as an image").click()
    drawn.value.save_as(tmp_path / "loss.png")
    area = plot(page, "loss").bounding_box()
    assert area is not None

    assert rows[0] == "run,step,loss,min,max"
    assert [row for row in rows if row.startswith("run-2")] == [f"run-2,{step},3,3,3" for step in (2, 3, 4)]
    assert len(rows) == 13
    assert values[0] == "run,id,step,time,loss" and len(values) == 41, "every value, whatever the zoom"
    assert [row.split(",")[2] for row in values if row.startswith("run-2")] == [str(step) for step in range(10)]
    with Image.open(tmp_path / "loss.png") as image:
        assert image.width >= area["width"] and image.height > area["height"]
