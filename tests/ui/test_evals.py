"""The evaluations of one run: results, what failed, and what changed from another run of the suite."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Locator, Page, expect

from rundial.events import EvalResult, EvalStart
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server

pytestmark = pytest.mark.browser

DATASET = {"name": "squad", "version": "v2", "artifactRef": "squad:v2"}


def start(eval_run: str, suite: str, **config: object) -> EvalStart:
    return EvalStart(time.time_ns(), eval_run, suite, DATASET, [{"name": "exact"}, {"name": "judge"}], dict(config))


def result(eval_run: str, example: str, score: float, passed: bool | None, scorer: str = "exact") -> EvalResult:
    meta = {"question": f"what is {example}?", "answer": "<b>forty-two</b>"}
    return EvalResult(time.time_ns(), eval_run, example, scorer, score, passed, "ab" * 16, None, meta)


def evaluated(server: Server, suite: str, name: str, good: int, **config: object) -> LoggedRun:
    """Twenty examples, of which the first ``good`` pass, and what a judge says of them."""
    run = LoggedRun(server, "evals", name, kind="eval")
    eval_run = f"evr_{run.run_id}"
    run.send(start(eval_run, suite, **config))
    run.send(*(result(eval_run, f"ex-{i:02}", float(i < good), i < good) for i in range(20)))
    run.send(*(result(eval_run, f"ex-{i:02}", i / 20, None, "judge") for i in range(20)))
    return run


def open_evals(page: Page, server: Server, run: LoggedRun, query: str = "") -> Locator:
    """The table's rows, once there is one."""
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab=evals{query}")
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    rows = page.locator(".evals tbody tr")
    expect(rows.first).to_be_visible()
    return rows


def test_results_are_shown_by_example(server: Server, page: Page) -> None:
    """A row for each example with a column for each scorer, and above what they amount to."""
    run = evaluated(server, "shown", "brave-dial-1", 15, prompt="v3")

    rows = open_evals(page, server, run)

    expect(rows).to_have_count(20)
    expect(rows.nth(0)).to_contain_text("ex-00")
    expect(rows.nth(0).get_by_label("passed")).to_be_visible()
    expect(rows.nth(19).get_by_label("failed")).to_be_visible()
    expect(page.locator('.sums [data-scorer="exact"]')).to_contain_text("75 % of 20 passed")
    expect(page.locator(".sums")).to_contain_text("dataset squad v2")
    expect(page.locator(".sums")).to_contain_text("prompt v3")


def test_failed_examples_alone(server: Server, page: Page) -> None:
    """The filter is in the address, and an example that is found opens with what is known of it, as text."""
    run = evaluated(server, "failed", "brave-dial-2", 15)
    rows = open_evals(page, server, run)

    page.get_by_label("failed only").check()
    expect(rows).to_have_count(5)
    assert "failed=1" in page.url
    page.get_by_label("find an example").fill("ex-17")
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="ex-17").click()

    expect(page.locator(".evals .about")).to_contain_text("<b>forty-two</b>")
    expect(rows.first.get_by_role("link", name="trace")).to_have_attribute(
        "href", f"#/runs/{run.run_id}?tab=traces&trace={'ab' * 16}"
    )


def test_results_arrive_while_one_looks(server: Server, page: Page) -> None:
    """New examples and new sums, without a reload."""
    run = evaluated(server, "live", "brave-dial-3", 10)
    rows = open_evals(page, server, run)
    expect(rows).to_have_count(20)

    run.send(*(result(f"evr_{run.run_id}", f"later-{i}", 1.0, True) for i in range(10)))

    expect(rows).to_have_count(30)
    expect(page.locator('.sums [data-scorer="exact"]')).to_contain_text("66.7 % of 30 passed")


def test_two_runs_are_compared(server: Server, page: Page) -> None:
    """What regressed comes with its scores before and now; the counts are those of all pages and filter."""
    old = evaluated(server, "compared", "calm-lake-1", 15)
    new = evaluated(server, "compared", "calm-lake-2", 12)
    new.send(result(f"evr_{new.run_id}", "new one", 1.0, True))
    rows = open_evals(page, server, new)

    page.get_by_label("compare with").select_option(f"evr_{old.run_id}")
    expect(rows).to_have_count(4)
    expect(page.locator('[data-change="regressed"]')).to_contain_text("3 regressed")
    expect(page.locator('[data-change="same"]')).to_contain_text("37 same")
    page.locator('[data-change="regressed"]').click()

    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("ex-12")
    expect(rows.nth(0)).to_contain_text("\u22121")  # a minus sign
    expect(rows.nth(0).get_by_label("passed")).to_be_visible()
    expect(rows.nth(0).get_by_label("failed")).to_be_visible()
    assert f"base=evr_{old.run_id}" in page.url


def test_without_results_it_says_how_to_log_one(server: Server, page: Page) -> None:
    """An empty tab holds a snippet to copy."""
    run = LoggedRun(server, "evals")
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab=evals")

    expect(page.locator(".empty code")).to_contain_text("rd.eval.suite")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_looks(server: Server, page: Page, scheme: str) -> None:
    """Screenshots for people to look at, wide and narrow; nothing sticks out of the page."""
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    suite = f"looks {scheme}"
    old = evaluated(server, suite, "calm-lake-1", 15, prompt="v2", model="large-instruct", temperature=0.2)
    new = evaluated(server, suite, "a run with a very long name that goes on and on", 12, prompt="v3")
    new.send(
        result(f"evr_{new.run_id}", "tests/unit/test_something_long.py::test_" + "very_" * 30 + "long", 0.25, False)
    )
    SCREENSHOTS.mkdir(exist_ok=True)
    for width, height in ((1440, 900), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for view, query in (("results", ""), ("compared", f"&base=evr_{old.run_id}")):
            open_evals(page, server, new, query)
            if view == "results":
                page.get_by_role("button", name="ex-03").click()
            page.screenshot(path=SCREENSHOTS / f"evals-{view}-{scheme}-{width}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
