"""The low-level client against a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import rundial as rd
from rundial.errors import AuthError, RequestError
from tests.flows.conftest import ServerProcess


@pytest.fixture
def client(lasting_server: ServerProcess) -> Any:
    made = rd.Client(lasting_server.url, api_key=lasting_server.key, quiet=True)
    yield made
    made.close()


def test_what_is_logged_by_id_is_read_back(client: Any) -> None:
    """Two runs side by side, through one client, without either becoming the current run."""
    for step in range(100):
        client.log_metric("byid", "run_one", "loss", step, 1.0 / (step + 1))
        client.log_metric("byid", "run_two", "acc", step=step, value=step / 100)
    client.log_text("byid", "run_one", "half way", "warn")
    assert client.flush(10)

    details = client.get_run_details("default-workspace", "byid", "run_one")
    project = client.resolve_project_id("default-workspace", "byid")
    series = client.query_series(project, "run_one", ["loss"], max_points_per_series=1000)["series"]
    listed = client.query_runs("default-workspace", "byid", order_by="runId", order="asc")["runs"]
    lines = client.query_logs(project, "run_one")["rows"]

    assert rd.run is None
    assert [point["value"] for point in series[0]["points"]] == [1.0 / (step + 1) for step in range(100)]
    assert [run["runId"] for run in listed] == ["run_one", "run_two"]
    assert (details["status"], details["runName"]) == ("running", "run_one")
    assert [key["metricKey"] for key in client.list_metric_keys(project, "run_two")] == ["acc"]
    assert [(line["level"], line["message"]) for line in lines] == [("warn", "half way")]
    account = client.diagnostics()
    assert (account.logged, account.acknowledged, account.health) == (203, 203, "healthy")


def test_a_started_run_outlives_the_client(lasting_server: ServerProcess) -> None:
    """Closing lets go of the client alone; finishing the run ends it."""
    client = rd.Client(lasting_server.url, api_key=lasting_server.key, quiet=True)
    run = client.start_run_for_workspace_project(
        workspace="default-workspace", project="started", run_id="run_s", run_name="first", tags=["a"], config={"lr": 1}
    )
    client.log_metric("started", "run_s", "loss", 0, 0.5)
    run.log({"loss": 0.25})

    assert client.close(10)
    before = lasting_server.get("/api/v1/runs/run_s")
    assert run.finish(10)
    after = lasting_server.get("/api/v1/runs/run_s")

    assert (before["status"], before["runName"], before["config"], before["tags"]) == (
        "running",
        "first",
        {"lr": 1},
        ["a"],
    )
    assert (after["status"], len(after["attempts"])) == ("completed", 1)
    assert lasting_server.points("run_s", "loss") == [(0, 0.5), (1, 0.25)]


def test_a_second_process_adds_to_a_run_and_does_not_end_it(lasting_server: ServerProcess) -> None:
    """What it logs is in the run, whose end stays with the process that leads it."""
    code = """
import sys, rundial as rd
with rd.Client(sys.argv[1], api_key=sys.argv[2], quiet=True) as client:
    client.log_metric("shared", "run_lead", "extra", 7, 0.5)
"""
    leading = {"endpoint": lasting_server.url, "api_key": lasting_server.key, "quiet": True}
    with rd.init(project="shared", run_id="run_lead", **leading) as run:
        run.log({"loss": 1})
        assert run.flush(10)
        subprocess.run([sys.executable, "-c", code, lasting_server.url, lasting_server.key], check=True, timeout=60)
        assert lasting_server.get("/api/v1/runs/run_lead")["status"] == "running"

    assert lasting_server.points("run_lead", "extra") == [(7, 0.5)]
    assert lasting_server.get("/api/v1/runs/run_lead")["status"] == "completed"


def test_a_finished_run_takes_late_results(client: Any, lasting_server: ServerProcess) -> None:
    """Adding by id to a run that is over neither fails nor opens it again."""
    options = {"endpoint": lasting_server.url, "api_key": lasting_server.key, "quiet": True}
    with rd.init(project="late", run_id="run_over", **options) as run:
        run.log({"loss": 1})

    client.log_metric("late", "run_over", "test/acc", 0, 0.9)

    assert client.flush(10)
    assert lasting_server.points("run_over", "test/acc") == [(0, 0.9)]
    assert lasting_server.get("/api/v1/runs/run_over")["status"] == "completed"


def test_evaluations_through_the_client(client: Any, lasting_server: ServerProcess) -> None:
    """Suite, runs and results by id, and the diff with its rows from all pages."""
    project = client.resolve_project_id("default-workspace", "default-project")
    suite = client.create_eval_suite(project, "qa", {"name": "d", "version": "1", "artifactRef": "d:v1"}, ["exact"])
    runs = []
    for good in (250, 240):
        made = client.create_eval_run(project, suite["suite"]["suiteId"], config={"good": good})["evalRun"]
        runs.append(made)
        for i in range(250):
            client.log_eval_result(project, made["evalRunId"], f"{i:03}", {"exact": i < good}, meta={"i": i})
    assert client.flush(20)

    old, new = (made["evalRunId"] for made in runs)
    diff = client.query_eval_diff(project, old, new)
    page = client.query_eval_diff(project, old, new, cursor=None, limit=1000, scorer="none")

    assert len(diff["rows"]) == 250
    assert [row["exampleId"] for row in diff["rows"] if row["regressed"]] == [f"{i:03}" for i in range(240, 250)]
    assert diff["counts"]["regressed"] == 10
    assert not diff["page"]["hasMore"]
    assert page["rows"] == []
    assert {made["runId"] for made in runs} <= {run["runId"] for run in lasting_server.runs("default-project")}


def test_results_of_an_eval_run_made_elsewhere_join_it(client: Any, lasting_server: ServerProcess) -> None:
    """Another client's eval run has them, under its id."""
    with rd.eval.suite("qb", project="joined", endpoint=lasting_server.url, api_key=lasting_server.key, quiet=True).run(
        eval_run_id="evr_theirs"
    ) as theirs:
        theirs.log_result("1", scores={"exact": True})
        assert theirs.flush(10)
        client.log_eval_result("joined", "evr_theirs", "2", {"exact": False})
        assert client.flush(10)

    (found,) = lasting_server.get(f"/api/v1/runs/{theirs.run_id}/evals")["evalRuns"]

    assert found["summary"]["exact"]["count"] == 2


def test_a_refusal_is_one_error(client: Any, lasting_server: ServerProcess) -> None:
    """With its status, code and what to do."""
    with pytest.raises(RequestError) as missing:
        client.get_run_details("default-workspace", "none", "run_none")
    with pytest.raises(AuthError) as denied:
        rd.Client(lasting_server.url, api_key="rdk_wrong").whoami()
    with pytest.raises(RequestError, match="was not found"):
        client.resolve_project_id("default-workspace", "none")

    assert (missing.value.status_code, missing.value.error_code) == (404, "NOT_FOUND")
    assert str(missing.value).startswith("run status failed with HTTP 404 (NOT_FOUND: ")
    assert denied.value.status_code == 401


README = """
import sys
import rundial as rd
client = rd.Client(
    endpoint=sys.argv[1],
    api_key=sys.argv[2],
    spool_enabled=False,
    start_worker_on_init=False,
)
print(client.whoami())
print(client.list_workspaces())
print(client.list_projects("default-workspace"))
client.close(timeout_seconds=0.1, drain=False)
from rundial_sdk import RundialClient
assert RundialClient(endpoint=sys.argv[1], api_key=sys.argv[2]).whoami()["authenticated"]
"""


def test_the_discovery_helpers_of_the_readme(script: Callable[..., Any], lasting_server: ServerProcess) -> None:
    """As they stand in the older client's description, positional argument and all."""
    out, err = script(README, lasting_server.url, lasting_server.key).output()

    assert "'authenticated': True" in out
    assert "'workspaceSlug': 'default-workspace'" in out
    assert "'projectSlug': 'default-project'" in out
    assert err == ""
