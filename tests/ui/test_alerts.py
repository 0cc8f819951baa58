"""What stands beside the runs of a project: alerts and evaluations."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from rundial.events import Marker
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server

pytestmark = pytest.mark.browser


def open_view(page: Page, server: Server, project: str, view: str) -> None:
    page.goto(f"{server.url}/#/p/default-workspace/{project}/{view}")


def alert(title: str, level: str, text: str = "") -> Marker:
    return Marker(time.time_ns(), "alert", title, 7, {"level": level, "text": text})


def test_alerts_of_every_run_appear_by_themselves(server: Server, page: Page) -> None:
    """Newest first, found by their words and by level, and each leads to its run."""
    run = LoggedRun(server, "alarmed", "hot")
    run.send(alert("loss is high", "warn", "12.5 at step 7"))
    open_view(page, server, "alarmed", "alerts")
    rows = page.locator(".alerts tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("12.5 at step 7")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    run.send(alert("<img src=x onerror=alert(1)>", "error"))
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("<img src=x onerror=alert(1)>")
    page.screenshot(path=SCREENSHOTS / "alerts.png")

    page.get_by_label("level").select_option("warn")
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_role("searchbox", name="Find an alert").fill("nothing like it")
    expect(page.get_by_text("No alert matches.")).to_be_visible()
    page.get_by_role("searchbox", name="Find an alert").fill("HOT")
    rows.get_by_role("link", name="hot").click()
    expect(page.locator(".happenings tbody tr")).to_have_count(3)


def evaluated(server: Server, project: str, suite: str | None, name: str, scores: dict[str, bool]) -> tuple[str, str]:
    """An eval run of a suite, which is made when there is none yet; the suite's id and the project's."""
    run = LoggedRun(server, project, name)
    known: dict[str, Any] = requests.get(
        f"{server.url}/api/v1/runs/{run.run_id}", headers={"authorization": f"Bearer {server.key}"}, timeout=20
    ).json()
    project_id = known["projectId"]
    if suite is None:
        body = {
            "projectId": project_id,
            "name": "questions",
            "dataset": {"name": "squad"},
            "scorers": [{"name": "exact"}],
        }
        suite = str(server.post("/api/v1/evals/suites", json=body).json()["suite"]["suiteId"])
    body = {"projectId": project_id, "suiteId": suite, "runId": run.run_id}
    eval_id = server.post("/api/v1/evals/runs", json=body).json()["evalRun"]["evalRunId"]
    rows = [
        {"exampleId": example, "scorer": "exact", "score": float(passed), "passed": passed}
        for example, passed in scores.items()
    ]
    server.post("/api/v1/evals/results", json={"projectId": project_id, "evalRunId": eval_id, "rows": rows})
    return suite, project_id


def test_a_regression_is_seen_from_the_project(server: Server, page: Page) -> None:
    """How much a suite moved from run to run, which shows by itself, and by a click which examples did."""
    suite, _ = evaluated(server, "judged", None, "before", {"q1": True, "q2": True, "q3": False, "q4": True})
    open_view(page, server, "judged", "evals")
    rows = page.locator(".suites > .scroll-x tbody tr")
    expect(rows).to_have_count(1)
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    evaluated(server, "judged", suite, "after", {"q1": False, "q2": True, "q3": True, "q4": False})
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("50.0 %")
    expect(rows.nth(0).locator(".regressed")).to_contain_text("25.0")

    page.get_by_role("button", name="What changed in after").click()

    changed = page.get_by_role("region", name="What changed")
    expect(changed.locator("[data-change=regressed]")).to_contain_text("2")
    changed.locator("[data-change=regressed]").click()
    expect(changed.locator("tbody tr")).to_have_count(2)
    page.screenshot(path=SCREENSHOTS / "evals-project.png")
    page.reload()
    expect(changed.locator("tbody tr")).to_have_count(2)
