"""Reading: lists, single runs, series and what a chart draws."""

import json
import struct

import numpy as np
import pytest

from rundial.events import Marker, Metrics, RunEnd


@pytest.fixture
def run(server, send_to):
    """A run of 100 steps with loss and accuracy."""
    sender = send_to("run_a")
    sender.start(config={"lr": 0.1})
    events = [Metrics(1_000_000 * i, i, {"loss": 100.0 - i, "acc": i / 100}) for i in range(100)]
    assert sender.send(*events, Marker(5, "non_finite", "loss", 7), RunEnd(10**9, "completed")).status_code == 200
    return "run_a"


def test_lists_lead_from_the_workspace_to_the_run(server, run):
    """Each list gives what the next address needs."""
    workspace = server.get("/api/v1/workspaces").json()["workspaces"][0]["workspaceSlug"]
    projects = server.get(f"/api/v1/workspaces/{workspace}/projects").json()["projects"]
    base = f"/api/v1/workspaces/{workspace}/projects/digits/runs"
    found = server.get(f"{base}/query").json()

    assert "digits" in [project["projectSlug"] for project in projects]
    assert [row["runId"] for row in found["runs"]] == [run]
    assert found["page"] == {"hasMore": False, "nextCursor": None}
    assert server.get(f"{base}/{run}").json() == server.get(f"/api/v1/runs/{run}").json()
    assert server.get(f"/api/v1/workspaces/{workspace}/projects/default-project/runs/{run}").status_code == 404
    assert server.get("/api/v1/workspaces/other/projects").status_code == 404


def test_pages_follow_one_another(server, send_to):
    """The cursor of one page begins the next."""
    for name in ("run_a", "run_b", "run_c"):
        send_to(name).start()
    base = "/api/v1/workspaces/default-workspace/projects/digits/runs/query?limit=2&orderBy=runId&order=asc"

    first = server.get(base).json()
    second = server.get(base, params={"cursor": first["page"]["nextCursor"]}).json()

    assert [row["runId"] for row in first["runs"] + second["runs"]] == ["run_a", "run_b", "run_c"]
    assert (first["page"]["hasMore"], second["page"]["hasMore"]) == (True, False)
    assert server.get(base, params={"cursor": "no cursor"}).status_code == 400


def test_runs_are_found_by_name_and_status(server, run, send_to):
    """Search is a substring, whatever its signs mean in SQL."""
    send_to("run_b").start()
    base = "/api/v1/workspaces/default-workspace/projects/digits/runs/query"

    def ids(**params):
        return [row["runId"] for row in server.get(base, params=params).json()["runs"]]

    assert ids(search="RUN_A") == ["run_a"]
    assert ids(search="%") == []
    assert ids(search="' OR 1=1 --") == []
    assert ids(statuses="running") == ["run_b"]
    assert ids(statuses="completed,failed") == ["run_a"]


def test_the_run_tells_its_status_and_config(server, run):
    """As they came in."""
    found = server.get(f"/api/v1/runs/{run}").json()

    assert (found["status"], found["config"], found["points"]) == ("completed", {"lr": 0.1}, 200)
    assert found["summary"]["loss"] == 1.0
    assert found["nonFinite"] == {"loss": 1}
    assert len(found["attempts"]) == 1


def test_markers_say_what_happened(server, run):
    """Where a value was not finite, for the chart."""
    markers = server.get(f"/api/v1/runs/{run}/markers").json()["markers"]

    assert [(marker["kind"], marker["name"], marker["step"]) for marker in markers] == [("non_finite", "loss", 7)]


def test_markers_of_many_runs(server, run, send_to):
    """Each run's own, the newest of them; where a later attempt began is one of them."""
    for stream in (send_to("run_b"), send_to("run_b")):
        stream.start(resume="must" if stream.next else "allow")
        stream.send(Metrics(1_000_000, 4, {"loss": 1.0}), Marker(5, "event", "one", 1), Marker(6, "event", "two", 2))

    found = server.post("/api/v1/query/markers", json={"runIds": [run, "run_b"], "limit": 3}).json()["markers"]

    assert [marker["name"] for marker in found[run]] == ["loss"]
    assert [marker["name"] for marker in found["run_b"] if marker["kind"] == "event"] == ["two", "one", "two"][-3:]
    assert [(marker["name"], marker["step"]) for marker in found["run_b"] if marker["kind"] == "resume"] == [
        ("attempt 2", 4)
    ]


def test_keys_of_a_run_and_of_a_project(server, run):
    """A project's keys are those of its newest runs."""
    project = server.get(f"/api/v1/runs/{run}").json()["projectId"]
    of_run = server.get(f"/api/v1/metrics/keys?runId={run}").json()["keys"]
    of_project = server.get(f"/api/v1/metrics/keys?projectId={project}").json()["keys"]

    assert {key["metricKey"]: key["count"] for key in of_run} == {"loss": 100, "acc": 100}
    assert of_project == of_run
    assert server.get("/api/v1/metrics/keys").status_code == 400


def test_series_gives_points_by_step(server, run):
    """All of them, and none for a key that does not exist."""
    body = {"runId": run, "metricKeys": ["loss", "none"]}

    series = server.post("/api/v1/query/series", json=body).json()["series"]

    assert [point["value"] for point in series[0]["points"]] == [100.0 - i for i in range(100)]
    assert series[1]["points"] == []


def test_buckets_in_json_and_in_columns_are_the_same(server, run):
    """The page reads the numbers without parsing them."""
    body = {"runIds": [run], "metricKeys": ["loss", "acc"], "buckets": 10}
    plain = server.post("/api/v1/query/buckets", json=body).json()
    binary = server.post(
        "/api/v1/query/buckets", json=body, headers={"accept": "application/vnd.rundial.columns"}
    ).content

    magic, length, _ = struct.unpack_from("<8sII", binary)
    header = json.loads(binary[16 : 16 + length])
    numbers = np.frombuffer(binary, "<f8", offset=16 + length)

    assert magic == b"RDcol1\0\0"
    assert (16 + length) % 8 == 0
    assert [one["metricKey"] for one in header["series"]] == ["loss", "acc"]
    expected = [one[name] for one in plain["series"] for name in ("x", "min", "max", "mean", "last")]
    assert numbers.tolist() == [number for column in expected for number in column]
    assert max(plain["series"][0]["max"]) == 100.0


def test_a_metric_can_be_the_axis(server, send_to):
    """Each value stands where that metric was by its step; values of one position are one bucket."""
    sender = send_to("run_epochs")
    sender.start()
    for step in range(40):
        epoch = {"epoch": step / 10} if step % 10 == 0 else {}
        sender.log(step, loss=float(step), **epoch)
    body = {"runIds": ["run_epochs"], "metricKeys": ["loss"], "x": "metric", "xMetric": "epoch", "from": 1}

    (series,) = server.post("/api/v1/query/buckets", json=body).json()["series"]

    assert series["x"] == [1.0, 2.0, 3.0]
    assert (series["min"], series["mean"], series["last"]) == ([10, 20, 30], [14.5, 24.5, 34.5], [19, 29, 39])
    assert server.post("/api/v1/query/buckets", json=body | {"xMetric": "none"}).json()["series"] == []
    assert server.post("/api/v1/query/buckets", json=body | {"xMetric": None}).status_code == 400


def test_buckets_of_a_logarithmic_axis(server, run):
    """They are narrow at its beginning, and step zero has no place on it."""
    body = {"runIds": [run], "metricKeys": ["loss"], "buckets": 8, "logX": True}

    (series,) = server.post("/api/v1/query/buckets", json=body).json()["series"]

    assert (series["count"], series["x"][:3], series["x"][-1]) == (99, [1, 3, 5], 99)
    assert max(series["max"]) == 99.0


def test_too_many_series_at_once_are_refused(server, run):
    """The bound is on the product of runs and keys."""
    body = {"runIds": [run, "b"], "metricKeys": [f"m{i}" for i in range(501)]}

    answer = server.post("/api/v1/query/buckets", json=body)

    assert answer.status_code == 400
    assert "1002 series" in answer.json()["error"]["message"]
