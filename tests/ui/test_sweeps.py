"""Sweeps: the list, one sweep with its drawings, turning it, and what is shown of those nobody has told of."""

from __future__ import annotations

import math
import re
import statistics
import time
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from rundial.events import RunUpdate
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server

pytestmark = pytest.mark.browser

API = "/api/v1/workspaces/default-workspace/projects"
SPACE = {
    "lr": {"min": 1e-4, "max": 0.1, "distribution": "log_uniform_values"},
    "dropout": {"min": 0.0, "max": 0.5},
    "layers": {"values": [1, 2, 4]},
    "optimizer": {"values": ["adam", "sgd", "lion"], "probabilities": [0.5, 0.25, 0.25]},
    "seed": {"value": 7},
}
CONFIG = {
    "name": "digits, wide",
    "description": "which of them matters",
    "method": "bayes",
    "metric": {"name": "val/loss", "goal": "minimize"},
    "early_terminate": {"type": "hyperband", "min_iter": 3},
    "program": "train.py",
    "parameters": SPACE,
}


def open_sweeps(page: Page, server: Server, project: str, query: str = "") -> None:
    page.goto(f"{server.url}/#/p/default-workspace/{project}/sweeps{query}")


def call(server: Server, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {server.key}"}
    answer = requests.request(method, f"{server.url}{API}/{path}", json=body, headers=headers, timeout=20)
    answer.raise_for_status()
    return dict(answer.json())


def tried(number: int) -> tuple[dict[str, Any], float]:
    """The parameters of a trial and its loss, which depends on lr and the optimizer, hardly on the rest."""
    lr, dropout = 10 ** (-4 + 3 * ((number * 0.618) % 1)), 0.5 * ((number * 0.755) % 1)
    optimizer, layers = ("adam", "sgd", "lion")[number % 3], (1, 2, 4)[(number * 7 // 3) % 3]
    loss = 0.2 + (math.log10(lr) + 2.3) ** 2 / 4 + (0.35 if optimizer == "sgd" else 0.0) + 0.05 * dropout
    return {"lr": lr, "dropout": dropout, "layers": layers, "optimizer": optimizer, "seed": 7}, loss


def trial(server: Server, project: str, sweep: str, number: int) -> LoggedRun:
    config, loss = tried(number)
    run = LoggedRun(server, project, f"trial-{number}", config={**config, "_wandb": {"sweep": sweep}})
    return run.log(range(2), val__loss=loss, acc=1 - loss / 3)


def rank_correlation() -> float:
    """Spearman's, of lr and the loss over the trials that ended, none of which are equal."""
    rows = [(config["lr"], loss) for config, loss in map(tried, range(24))]
    ranks = [[sorted(column).index(value) for value in column] for column in zip(*rows, strict=True)]
    return statistics.correlation(*ranks)


@pytest.fixture(scope="module")
def searched(server: Server) -> Server:
    """A server with a sweep of many runs, one that nobody told of, and one that has no run yet."""
    call(server, "PUT", "searched/sweeps/wide", {"config": CONFIG})
    for number in range(24):
        run = trial(server, "searched", "wide", number)
        run.end("failed" if number == 5 else "completed")
    trial(server, "searched", "wide", 24)
    for number in range(3):
        trial(server, "searched", "untold", number).end()
    call(
        server, "PUT", "searched/sweeps/fresh", {"config": {"method": "grid", "parameters": {"a": {"values": [1, 2]}}}}
    )
    return server


def test_the_list_says_what_each_sweep_is(searched: Server, page: Page) -> None:
    """Name, method, state, runs by status, the best value with its run; each leads to its sweep."""
    open_sweeps(page, searched, "searched")
    rows = page.locator(".sweep-list tbody tr")
    expect(rows).to_have_count(3)
    wide = rows.filter(has_text="digits, wide")
    for words in ("bayes", "running", "1 running, 23 completed, 1 failed", "val/loss 0.2"):
        expect(wide).to_contain_text(words)
    expect(rows.filter(has_text="untold")).to_contain_text("3 completed")
    expect(rows.filter(has_text="fresh")).to_contain_text("no runs")
    page.screenshot(path=SCREENSHOTS / "sweeps.png")
    page.get_by_role("link", name="digits, wide").click()
    expect(page).to_have_url(re.compile("sweep=wide"))
    expect(page.get_by_role("heading", name="digits, wide")).to_be_visible()


def test_one_sweep_is_seen_as_a_whole(searched: Server, page: Page) -> None:
    """What mattered, the best so far, every parameter, two of them together, the runs and the config."""
    open_sweeps(page, searched, "searched", "?sweep=wide")
    bars = page.locator(".bars tbody tr")
    expect(bars).to_have_count(4)
    expect(bars.first).to_contain_text("optimizer")
    figure = f"{rank_correlation():.2f}".replace("-", "\N{MINUS SIGN}")
    expect(bars.filter(has_text=re.compile("^lr"))).to_contain_text(figure)
    expect(page.get_by_role("img", name="val/loss of each run, and the best so far")).to_be_visible()
    expect(page.locator(".multiples figure")).to_have_count(4)
    expect(page.locator(".multiples .boxes rect")).to_have_count(6)
    expect(page.get_by_role("img", name=re.compile("^val.loss over .* and "))).to_be_visible()
    expect(page.get_by_role("group", name="Parallel coordinates").locator("a[data-run]")).to_have_count(25)
    best = page.locator(".trials tbody tr").first
    expect(best).to_contain_text("best")
    expect(page.locator(".best-run")).to_contain_text(str(best.get_by_role("link").text_content()))
    asked = page.get_by_role("region", name="What was asked for")
    for words in (
        "which of them matters",
        "minimize val/loss",
        "type: hyperband, min_iter: 3",
        "train.py",
        "log uniform",
    ):
        expect(asked).to_contain_text(words)
    expect(asked).to_contain_text("adam (0.5), sgd (0.25), lion (0.25)")
    page.screenshot(path=SCREENSHOTS / "sweep.png", full_page=True)

    page.get_by_label("across of the two parameters").select_option("config.dropout")
    page.get_by_role("button", name="lr", exact=True).click()
    page.get_by_label("best by").select_option("summary.acc")
    expect(page.get_by_role("checkbox", name="smaller is better")).not_to_be_checked()
    page.get_by_role("button", name="lr", exact=True).click()
    page.reload()
    expect(page.get_by_label("best by")).to_have_value("summary.acc")
    expect(page.get_by_label("across of the two parameters")).to_have_value("config.dropout")
    expect(page.get_by_role("columnheader", name="lr")).to_have_attribute("aria-sort", "ascending")


def test_it_is_live_and_can_be_turned(searched: Server, page: Page) -> None:
    """New trials and what others did appear by themselves; pausing and stopping ask once more."""
    call(searched, "PUT", "turned/sweeps/s", {"config": CONFIG})
    open_sweeps(page, searched, "turned")
    expect(page.get_by_text("The sweep has no run yet.")).to_be_visible()
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    trial(searched, "turned", "s", 1)
    expect(page.locator(".trials tbody tr")).to_have_count(1)

    page.get_by_role("button", name="Pause the sweep").click()
    expect(page.locator(".sweep-state")).to_contain_text("running")
    page.get_by_role("button", name="Really pause the sweep").click()
    expect(page.locator(".sweep-state")).to_contain_text("paused")
    expect(page.locator(".turning")).to_contain_text("no agent has asked yet")
    assert call(searched, "POST", "turned/sweeps/s/ask", {})["state"] == "paused"
    expect(page.locator(".turning")).to_contain_text("an agent asked")
    page.get_by_role("button", name="resume").click()
    expect(page.locator(".sweep-state")).to_contain_text("running")
    call(searched, "POST", "turned/sweeps/s/state", {"state": "stopped"})
    expect(page.locator(".sweep-state")).to_contain_text("stopped")
    page.get_by_role("button", name="resume").click()
    call(searched, "POST", "turned/sweeps/s/ask", {"finished": True})
    expect(page.locator(".sweep-state")).to_contain_text("finished")
    expect(page.get_by_role("button", name="Pause the sweep")).to_have_count(0)


def test_a_sweep_nobody_told_of_is_its_runs(searched: Server, page: Page) -> None:
    """The best first by the metric one chooses; the view says what it does not know."""
    for name, loss in (("a", 0.5), ("b", 0.1), ("c", 0.9)):
        config = {"lr": loss / 10, "_wandb": {"sweep": "first"}}
        LoggedRun(searched, "bare", name, config=config).log(range(2), loss=loss, acc=loss)
    open_sweeps(page, searched, "bare")
    trials = page.locator(".trials tbody tr")
    expect(trials.locator("a")).to_have_text(["c", "a", "b"])
    page.get_by_label("best by").select_option("summary.loss")
    expect(trials.locator("a")).to_have_text(["b", "a", "c"])
    expect(page.get_by_role("checkbox", name="smaller is better")).to_be_checked()
    expect(page.get_by_text("Not enough runs have ended to say")).to_be_visible()
    expect(page.get_by_text("Nobody has told what this sweep is")).to_be_visible()
    page.get_by_role("link", name="compare the runs").click()
    expect(page.get_by_role("heading", name="3 runs compared")).to_be_visible()


def test_whatever_a_config_may_hold(searched: Server, page: Page) -> None:
    """Markup is text, and a config of an unexpected shape is shown as it is."""
    config = {
        "method": {"<i>": 1},
        "metric": "loss",
        "parameters": {
            "lr": 3,
            "odd": {"values": "abc"},
            "open": {"min": None},
            "<img onerror=alert(1)>": {"values": []},
        },
        "early_terminate": None,
        "description": 5,
        "command": ["<b>", {"a": 1}],
    }
    call(searched, "PUT", "odd/sweeps/o", {"config": config, "name": "<img src=x onerror=alert(1)>"})
    for number in range(5):
        own: dict[str, Any] = {"lr": [number], "odd": None if number else "a", "_sweep": "o"}
        LoggedRun(searched, "odd", f"r{number}", config=own).log(range(1), loss=0.0).end()
    open_sweeps(page, searched, "odd")
    expect(page.get_by_role("heading", name="<img src=x onerror=alert(1)>")).to_be_visible()
    expect(page.locator(".trials tbody tr")).to_have_count(5)
    expect(page.get_by_role("region", name="What was asked for")).to_contain_text("onerror")
    assert page.locator("main img").count() == 0


def test_a_study_told_by_its_runs(searched: Server, page: Page) -> None:
    """A run may tell of its sweep after the page has been opened; parameters may be nested."""
    run = LoggedRun(searched, "studied", "first", config={"params": {"lr": 0.1}, "_sweep": "study"}).log(
        range(1), loss=1.0
    )
    open_sweeps(page, searched, "studied")
    expect(page.get_by_text("Nobody has told what this sweep is")).to_be_visible()
    parameters = {"params": {"parameters": {"lr": {"min": 0.01, "max": 1.0}}}}
    config = {"method": "TPESampler", "metric": {"name": "loss", "goal": "minimize"}, "parameters": parameters}
    run.send(RunUpdate(time.time_ns(), sweep={"id": "study", "name": "my study", "config": config}))
    expect(page.get_by_role("heading", name="my study")).to_be_visible()
    expect(page.get_by_role("columnheader", name="params.lr")).to_be_visible()


def test_what_is_not_there(searched: Server, page: Page) -> None:
    """No sweep, an unknown one, and a server that does not answer: each says so, and how to go on."""
    open_sweeps(page, searched, "default-project")
    expect(page.get_by_text("wandb.agent(")).to_be_visible()
    open_sweeps(page, searched, "searched", "?sweep=nothing")
    page.reload()
    expect(page.get_by_text("There is no sweep nothing in this project.")).to_be_visible()
    page.get_by_role("link", name="all sweeps").click()
    expect(page.locator(".sweep-list tbody tr")).to_have_count(3)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_it_fits_a_phone_and_the_dark(searched: Server, page: Page, width: int, scheme: Any) -> None:
    """Nothing is wider than the window."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    open_sweeps(page, searched, "searched", "?sweep=wide")
    expect(page.locator(".multiples figure")).to_have_count(4)
    page.screenshot(path=SCREENSHOTS / f"sweep-{scheme}-{width}.png", full_page=True)
    wider = "[...document.querySelectorAll('main *')].filter(it => !it.closest('.scroll-x, svg') && "
    wider += "it.getBoundingClientRect().right > innerWidth + 1).map(it => it.outerHTML.slice(0, 80))"
    assert page.evaluate(wider) == []
