"""A project: its runs in a table beside the charts over all of them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Download, Locator, Page, expect

from rundial.events import Metrics
from rundial.server.store import Store
from tests.server.streams import Stream
from tests.ui.conftest import LoggedRun, Server, until

pytestmark = pytest.mark.browser


def open_project(page: Page, server: Server, project: str) -> None:
    page.goto(f"{server.url}/#/p/default-workspace/{project}")
    expect(page.locator("table.runs")).to_be_visible()


def plot(page: Page, metric: str) -> Locator:
    return page.locator(".plot").and_(page.locator(f'[data-metric="{metric}"]'))


def test_chart_draws_the_runs_that_are_shown(server: Server, page: Page) -> None:
    """A chart has the points of every shown run; hiding one takes its points away and is in the address."""
    LoggedRun(server, "pair", "first").log(range(10), train__loss=1.0)
    LoggedRun(server, "pair", "second").log(range(20), train__loss=2.0)
    open_project(page, server, "pair")
    expect(plot(page, "train/loss")).to_have_attribute("data-points", "30")

    page.get_by_role("switch", name="Show second in the charts").click()

    expect(plot(page, "train/loss")).to_have_attribute("data-points", "10")
    page.reload()
    expect(plot(page, "train/loss")).to_have_attribute("data-points", "10")


def test_rows_sort_by_a_metric(server: Server, page: Page) -> None:
    """A click on a metric's column puts the best first, another click the worst."""
    for name, loss in (("middle", 2.0), ("low", 1.0), ("high", 3.0)):
        LoggedRun(server, "sorted", name).log(range(2), val__loss=loss)
    open_project(page, server, "sorted")
    names = page.locator("table.runs td.name")

    page.get_by_role("button", name="val/loss", exact=True).click()
    expect(names).to_have_text(["high", "middle", "low"])
    page.get_by_role("button", name="val/loss", exact=True).click()

    expect(names).to_have_text(["low", "middle", "high"])


def test_slash_leads_to_the_filter(server: Server, page: Page) -> None:
    """Typing after `/` leaves the runs whose name contains it."""
    LoggedRun(server, "filtered", "quiet-fox").log(range(2), loss=1.0)
    LoggedRun(server, "filtered", "odd-lake").log(range(2), loss=1.0)
    open_project(page, server, "filtered")

    page.keyboard.press("/")
    page.keyboard.type("LAKE")

    expect(page.locator("table.runs td.name")).to_have_text(["odd-lake"])


def test_new_run_waits_to_be_asked_for(server: Server, page: Page) -> None:
    """A run that begins while one looks moves nothing until its notice is clicked."""
    LoggedRun(server, "growing", "old").log(range(2), loss=1.0)
    open_project(page, server, "growing")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    LoggedRun(server, "growing", "new").log(range(2), loss=1.0)
    notice = page.get_by_role("button", name="1 new run")
    expect(notice).to_be_visible()
    expect(page.locator("table.runs td.name")).to_have_text(["old"])
    notice.click()

    expect(page.locator("table.runs td.name")).to_have_text(["new", "old"])


def test_hostile_names_are_text(server: Server, page: Page) -> None:
    """Names that would be markup, script or a property of every object are shown as they were written."""
    name = "<img src=x onerror=document.title='taken'>"
    run = LoggedRun(server, "hostile", name, config={"__proto__": {"<b>": "<i>"}})
    run.log(range(3), **{"<script>x</script>": 1.0, "constructor": 2.0})
    open_project(page, server, "hostile")
    expect(page.locator("table.runs td.name")).to_have_text([name])
    expect(plot(page, "constructor")).to_have_attribute("data-points", "3")

    page.get_by_role("link", name=name).click()
    page.get_by_role("button", name="Overview").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.get_by_role("row", name="__proto__.<b>")).to_contain_text("<i>")
    assert page.locator("main img, main script").count() == 0
    assert "taken" not in page.title().split()


def test_metric_named_like_a_prototype_is_a_metric(server: Server, page: Page) -> None:
    """`__proto__` is a key like any other."""
    run = LoggedRun(server, "proto")
    run.send(*(Metrics(time.time_ns(), step, {"__proto__": 1.0}) for step in range(4)))
    open_project(page, server, "proto")

    expect(plot(page, "__proto__")).to_have_attribute("data-points", "4")


def test_empty_project_shows_how_to_begin(server: Server, page: Page) -> None:
    """A project without runs shows the lines that log into it."""
    page.goto(f"{server.url}/#/p/default-workspace/default-project")

    expect(page.locator("code", has_text='rd.init(project="default-project")')).to_be_visible()


def test_unknown_project_is_an_answer(server: Server, stranger: Page) -> None:
    """A project that does not exist is said to be unknown, with a way to try again."""
    stranger.goto(server.link())  # not `page`: the browser itself reports the 404 on its console
    stranger.wait_for_url(f"{server.url}/#/")

    stranger.goto(f"{server.url}/#/p/default-workspace/no-such-project")

    expect(stranger.get_by_role("alert")).to_be_visible()
    expect(stranger.get_by_role("button", name="Retry")).to_be_visible()


def names(page: Page) -> Locator:
    return page.locator("table.runs td.name a")


def heads(page: Page) -> Locator:
    return page.locator("table.runs thead th button")


def select(page: Page, *runs: str) -> None:
    for run in runs:
        page.get_by_role("checkbox", name=f"Select {run}", exact=True).click()


def family(server: Server, project: str) -> None:
    """Three runs that ended, the newest first: c, b, a."""
    for name, lr, path in (("a", 0.1, "vision/small"), ("b", 0.01, "vision"), ("c", 0.1, "text")):
        run = LoggedRun(server, project, name, config={"lr": lr, "data": "x"}, tags=[name], path=path)
        run.log(range(2), loss=lr * 2)
        run.end()


def test_columns_are_chosen_and_remembered(server: Server, page: Page) -> None:
    """Any config, summary or fact can be a column; the choice is in the address and stays in this browser."""
    family(server, "columns")
    open_project(page, server, "columns")
    expect(heads(page)).to_have_text(["Name", "Status", "Time", "loss", "lr"])

    page.get_by_role("button", name="columns").click()
    expect(page.get_by_role("group", name="Config that differs").get_by_role("checkbox")).to_have_count(0)
    page.get_by_role("checkbox", name="lr").uncheck()
    page.get_by_role("checkbox", name="lr").check()
    page.get_by_role("checkbox", name="Status").uncheck()
    page.get_by_role("searchbox", name="Search columns").fill("tag")
    page.get_by_role("checkbox", name="Tags").check()
    page.keyboard.press("Escape")
    expect(heads(page)).to_have_text(["Name", "Time", "loss", "lr", "Tags"])

    page.go_back()
    expect(heads(page)).to_have_text(["Name", "Time", "loss", "lr"])
    page.goto(f"{server.url}/#/")
    open_project(page, server, "columns")
    expect(heads(page)).to_have_text(["Name", "Time", "loss", "lr", "Tags"])
    page.get_by_role("button", name="columns").click()
    page.get_by_role("button", name="Reset to the usual columns").click()
    expect(heads(page)).to_have_text(["Name", "Status", "Time", "loss", "lr"])


def test_a_table_alone_has_more_columns(server: Server, page: Page) -> None:
    """Beside charts three parameters that differ are shown, alone all of them; what is the same never."""
    for number in range(2):
        config = {"seed": number, "same": 1} | {f"p{place}": number + place for place in range(4)}
        LoggedRun(server, "wide", f"run-{number}", config=config).log(range(2), loss=1.0, acc=0.5, f1=0.5).end()
    open_project(page, server, "wide")
    expect(heads(page)).to_have_text(["Name", "Status", "Time", "acc", "f1", "p0", "p1", "p2", "loss"])
    page.get_by_role("button", name="table only").click()
    expect(heads(page)).to_have_text(["Name", "Status", "Time", "acc", "f1", "p0", "p1", "p2", "p3", "seed", "loss"])


def test_a_run_keeps_its_colour(server: Server, page: Page) -> None:
    """Across a reload and when other runs come; no two of a few runs have the same."""
    family(server, "colours")
    open_project(page, server, "colours")

    def colour(name: str) -> str:
        eye = page.get_by_role("switch", name=f"Show {name} in the charts", exact=True)
        return str(eye.evaluate("eye => getComputedStyle(eye).color"))

    before = [colour(name) for name in "abc"]
    assert len(set(before)) == 3
    LoggedRun(server, "colours", "d").end()
    page.reload()
    expect(names(page)).to_have_text(["d", "c", "b", "a"])
    assert [colour(name) for name in "abc"] == before


def test_columns_are_resized(server: Server, page: Page) -> None:
    """By dragging the edge or with Shift and an arrow key; a reload keeps the width."""
    family(server, "widths")
    open_project(page, server, "widths")
    head = page.locator("table.runs thead th", has_text="Status")
    box = head.bounding_box()
    assert box is not None
    edge, middle = box["x"] + box["width"] - 1, box["y"] + box["height"] / 2

    page.mouse.move(edge, middle)
    page.mouse.down()
    page.mouse.move(edge + 60, middle, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="loss", exact=True).press("Shift+ArrowRight")
    page.reload()

    expect(head).to_be_visible()
    wider = head.bounding_box()
    assert wider is not None and round(wider["width"] - box["width"]) == 60
    remembered = page.evaluate("JSON.parse(localStorage['rundial.table.default-workspace/widths']).widths")
    assert remembered == {"status": 156, "summary.loss": 82}


def test_runs_are_grouped_by_any_column(server: Server, page: Page) -> None:
    """Groups show how many they hold and the mean of each number; they fold, and the address says so."""
    family(server, "groups")
    open_project(page, server, "groups")

    page.get_by_role("combobox", name="Group by").select_option("config.lr")
    groups = page.locator("table.runs tr.group")
    expect(groups).to_have_count(2)
    expect(groups.nth(1)).to_contain_text("0.1 2")
    expect(groups.nth(1).locator("td[title^='Mean of summary.loss']")).to_have_text("0.2000")
    expect(names(page)).to_have_text(["b", "c", "a"])
    page.get_by_role("button", name="0.1 2").click()
    expect(names(page)).to_have_text(["b"])

    page.reload()
    expect(names(page)).to_have_text(["b"])


def test_paths_are_folders(server: Server, page: Page) -> None:
    """Grouped by path, every part of a path is a folder in the one above it."""
    family(server, "folders")
    page.goto(f"{server.url}/#/p/default-workspace/folders?by=path")

    expect(page.locator("table.runs td.name")).to_have_text(
        ["▾ text 1", "c", "▾ vision 2", "▾ small 1", "a", "b"], use_inner_text=True
    )
    page.get_by_role("switch", name="Show all of vision in the charts").click()
    expect(plot(page, "loss")).to_have_attribute("data-points", "2")


def test_tags_and_notes_are_edited_in_place(server: Server, page: Page) -> None:
    """Enter keeps what one wrote, Escape does not; the server has it."""
    family(server, "edited")
    page.goto(f"{server.url}/#/p/default-workspace/edited?cols=tags,notes")
    page.get_by_role("button", name="Edit tags of a: a").click()
    page.get_by_role("textbox", name="tags of a").fill("good, <b>, good")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Edit tags of a: good, <b>")).to_be_visible()

    page.get_by_role("button", name="Edit notes of b: none").click()
    page.keyboard.type("lost")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Edit notes of c: none").click()
    page.keyboard.type("try again with x")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Edit notes of c: try again with x")).to_be_visible()

    page.reload()
    expect(page.get_by_role("button", name="Edit notes of b: none")).to_be_visible()
    expect(page.get_by_role("button", name="Edit notes of c: try again with x")).to_be_visible()
    expect(page.get_by_role("button", name="Edit tags of a: good, <b>")).to_be_visible()


def test_selected_runs_are_tagged(server: Server, page: Page) -> None:
    """A tag goes to all of them, beside those they have."""
    family(server, "tagged")
    page.goto(f"{server.url}/#/p/default-workspace/tagged?cols=tags")
    select(page, "a", "b")
    page.get_by_role("toolbar").get_by_role("button", name="tag").click()
    page.get_by_role("searchbox", name="Tags to add to 2 runs").fill("paper")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Edit tags of a: a, paper")).to_be_visible()
    expect(page.get_by_role("button", name="Edit tags of b: b, paper")).to_be_visible()
    expect(page.get_by_role("button", name="Edit tags of c: c")).to_be_visible()


def test_archived_runs_leave_the_list(server: Server, page: Page) -> None:
    """Until one asks for them, or takes it back."""
    family(server, "archive")
    open_project(page, server, "archive")
    select(page, "a")
    page.get_by_role("button", name="archive", exact=True).click()
    expect(names(page)).to_have_text(["c", "b"])
    page.get_by_role("button", name="archived").click()
    expect(names(page)).to_have_text(["c", "b", "a"])
    page.get_by_role("button", name="archived").click()
    page.get_by_role("button", name="Undo").click()
    expect(names(page)).to_have_text(["c", "b", "a"])


def test_deleting_can_be_undone(server: Server, page: Page) -> None:
    """Deleted runs are gone from the server, running ones are left, Undo brings all back."""
    family(server, "deleted")
    LoggedRun(server, "deleted", "live")
    open_project(page, server, "deleted")
    select(page, "live", "c", "a")
    page.get_by_role("button", name="delete").click()
    expect(page.get_by_text("2 runs deleted. 1 run still running was left.")).to_be_visible()
    expect(names(page)).to_have_text(["live", "b"])
    page.reload()
    expect(names(page)).to_have_text(["live", "b"])

    select(page, "b")
    page.get_by_role("button", name="delete").click()
    expect(names(page)).to_have_text(["live"])
    page.get_by_role("button", name="Undo").click()
    expect(names(page)).to_have_text(["live", "b"])
    page.reload()
    expect(names(page)).to_have_text(["live", "b"])


def test_a_deletion_elsewhere_is_seen(server: Server, page: Page) -> None:
    """Another page deletes a run: it leaves this one's table."""
    family(server, "elsewhere")
    open_project(page, server, "elsewhere")
    expect(plot(page, "loss")).to_have_attribute("data-points", "6")
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    run_id = page.locator("table.runs tbody tr").first.get_attribute("data-run")

    server.post("/api/v1/runs/delete", json={"runIds": [run_id]})

    expect(names(page)).to_have_text(["b", "a"])


def saved(download: Download) -> str:
    return Path(download.path()).read_text()


def test_selected_runs_are_exported(server: Server, page: Page) -> None:
    """As CSV and JSON, config and summary in columns of their own; a name is never a formula."""
    LoggedRun(server, "exported", '=HYPERLINK("x"), two', config={"opt": {"lr": 0.5}}, tags=["t", "u"]).log(
        range(2), loss=-1.5
    )
    open_project(page, server, "exported")
    page.get_by_role("checkbox", name="Select all runs of the list").check()
    with page.expect_download() as table:
        page.get_by_role("button", name="CSV", exact=True).click()
    with page.expect_download() as document:
        page.get_by_role("button", name="JSON").click()

    (row,) = csv.DictReader(io.StringIO(saved(table.value)))
    assert (row["name"], row["tags"]) == ('\'=HYPERLINK("x"), two', "t, u")
    assert (row["config.opt.lr"], row["summary.loss"]) == ("0.5", "-1.5")
    (run,) = json.loads(saved(document.value))
    assert (run["config"], run["summary"]["loss"]) == ({"opt.lr": 0.5}, -1.5)


def test_views_are_saved(server: Server, page: Page) -> None:
    """A name brings back filter, order, columns and charts."""
    family(server, "views")
    page.goto(f"{server.url}/#/p/default-workspace/views?q=name+!%3D+c&sort=%2Bname&cols=config.lr&log=1")
    page.get_by_role("button", name="views").click()
    page.get_by_role("searchbox", name="Name of this view").fill("the good ones")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.goto(f"{server.url}/#/")
    open_project(page, server, "views")

    page.get_by_role("button", name="views").click()
    page.get_by_role("button", name="the good ones", exact=True).click()

    expect(names(page)).to_have_text(["a", "b"])
    expect(heads(page)).to_have_text(["Name▴", "lr"])
    expect(page.get_by_role("checkbox", name="log y")).to_be_checked()


def test_the_table_is_used_by_keyboard(server: Server, page: Page) -> None:
    """`j` and `k` move, `x` selects, `h` hides, `e` hides the others, Enter opens."""
    family(server, "keyboard")
    open_project(page, server, "keyboard")
    expect(plot(page, "loss")).to_have_attribute("data-points", "6")
    for key in "jjkh":
        page.keyboard.press(key)
    expect(plot(page, "loss")).to_have_attribute("data-points", "4")
    for key in "jxe":
        page.keyboard.press(key)
    expect(page.get_by_text("1 selected")).to_be_visible()
    expect(plot(page, "loss")).to_have_attribute("data-points", "2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("b")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with 10,000 runs in one project."""
    data = tmp_path_factory.mktemp("crowd")
    store = Store(data)
    stream = Stream(store, "run_00000")
    stream.start(project="crowd", name="run 0", config={"lr": 0.5})
    columns = "workspace_id, project_id, kind, status, tags, summary, points, markers, updated_ms, path, environment"
    copy = (
        f"INSERT INTO runs (run_id, name, started_ms, config, {columns})"
        f" SELECT ?, ?, started_ms + ?, ?, {columns} FROM runs WHERE run_id = 'run_00000'"
    )
    rows = [(f"run_{n:05}", f"run {n}", n, json.dumps({"lr": n / 10_000})) for n in range(1, 10_000)]
    store._engine.write(lambda db: db.executemany(copy, rows).rowcount).result()
    store.close()
    command = [sys.executable, "-m", "rundial", "server", "--port", "0", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server(process.stdout.readline().split()[-1], store.owner_key)
        process.terminate()


def test_ten_thousand_runs_are_in_reach(crowd: Server, browser: Browser) -> None:
    """All pages are fetched, sorted and filtered; of the rows only those near the window exist."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(crowd.link())
    page.wait_for_url(f"{crowd.url}/#/")
    open_project(page, crowd, "crowd")

    expect(page.get_by_text("10,000 runs")).to_be_visible(timeout=30_000)
    expect(names(page).first).to_have_text("run 9999")
    page.locator(".list .scroll").evaluate("box => { box.scrollTop = box.scrollHeight }")
    expect(names(page).last).to_have_text("run 0")
    page.locator(".list .scroll").evaluate("box => { box.scrollTop = 0 }")
    expect(names(page).first).to_have_text("run 9999")
    assert page.locator("table.runs tbody tr").count() < 150
    page.goto(f"{crowd.url}/#/p/default-workspace/crowd?q=config.lr+%3C+0.0102+and+config.lr+%3E%3D+0.01")
    expect(names(page)).to_have_text(["run 101", "run 100"])
    page.close()


ROWS_WHILE_SCROLLED = """async () => {
  const box = document.querySelector(".list .scroll");
  const rows = () => document.querySelectorAll("table.runs tbody tr").length;
  const made = new Set(document.querySelectorAll("table.runs tbody tr"));
  let most = 0;
  const end = box.scrollHeight - box.clientHeight;
  for (let frame = 0; frame <= 100; frame++) {
    box.scrollTop = (frame / 100) * end;
    await new Promise(requestAnimationFrame);
    document.querySelectorAll("table.runs tbody tr").forEach((row) => made.add(row));
    most = Math.max(most, rows());
  }
  return { most, made: made.size };
}"""


def test_rows_are_used_again(crowd: Server, browser: Browser) -> None:
    """However far one scrolls, few rows are ever made; at rest they stand in the order one reads them in."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(crowd.link())
    page.wait_for_url(f"{crowd.url}/#/")
    open_project(page, crowd, "crowd")
    expect(page.get_by_text("10,000 runs")).to_be_visible(timeout=30_000)
    assert names(page).first.is_visible()

    rows = page.evaluate(ROWS_WHILE_SCROLLED)

    assert rows["most"] < 80
    assert rows["made"] < 120
    expect(names(page).last).to_have_text("run 0")
    expect(page.locator("table.runs tbody tr").last).to_have_attribute("aria-rowindex", "10001")
    until(page, lambda: (shown := names(page).all_inner_texts()) == [f"run {n}" for n in reversed(range(len(shown)))])
    page.close()


def test_what_one_writes_stays_while_one_scrolls(crowd: Server, browser: Browser) -> None:
    """The row with the focus is not used for another run: its text is there when one comes back."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(crowd.link())
    page.wait_for_url(f"{crowd.url}/#/")
    page.goto(f"{crowd.url}/#/p/default-workspace/crowd?cols=notes")
    expect(page.get_by_text("10,000 runs")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Edit notes of run 9998: none").click()
    page.keyboard.type("half")
    box = page.locator(".list .scroll")
    box.evaluate("box => { box.scrollTop = 100000 }")
    expect(page.get_by_role("link", name="run 4990", exact=True)).to_be_visible()
    box.evaluate("box => { box.scrollTop = 0 }")
    page.keyboard.type(" done")
    expect(page.get_by_role("textbox", name="notes of run 9998")).to_have_value("half done")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Edit notes of run 9998: half done")).to_be_visible()
    page.close()
