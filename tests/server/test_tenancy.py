"""Workspaces on the fly: the owner of the server makes one by writing to it; nobody else does, or sees it."""

import secrets
import time

import pytest

from rundial.events import Metrics, RunStart
from rundial.wire import CONTENT_TYPE, Chunk, encode, pack_chunk


@pytest.fixture
def begin(server):
    """A function that begins a run in a workspace, and logs a value there."""

    def send(run_id, workspace, project, key=None):
        stream = secrets.token_hex(16)
        events = (
            RunStart(time.time_ns(), run_id, workspace, project, run_id),
            Metrics(time.time_ns(), 1, {"loss": 0.5}),
        )
        body = pack_chunk(Chunk(stream, 0, len(events), b"".join(map(encode, events))))
        headers = {"content-type": CONTENT_TYPE, "x-rundial-stream": stream, "x-rundial-protocol": "2"}
        return server.post("/api/v1/ingest/records", key=key, data=body, headers=headers)

    return send


def key_of(server, workspace, scopes=("admin",)):
    """A key that is bound to a workspace."""
    (found,) = [
        row for row in server.get("/api/v1/workspaces").json()["workspaces"] if row["workspaceSlug"] == workspace
    ]
    return server.store.accounts.create_key(found["workspaceId"], scopes=scopes, label="bound")[1]


def slugs(server, key=None):
    return [row["workspaceSlug"] for row in server.get("/api/v1/workspaces", key=key).json()["workspaces"]]


def test_the_owner_makes_a_workspace_by_writing_to_it(server, begin):
    """With its project, once; and sees it in the lists, by its runs and in what is derived of them."""
    assert begin("run_a", "team-alpha", "demo").status_code == 200
    assert begin("run_b", "team-alpha", "demo").status_code == 200
    assert begin("run_c", "Team Beta", "demo").status_code == 200
    assert slugs(server) == ["default-workspace", "team-alpha", "team-beta"]
    paged = server.get("/api/v1/workspaces?limit=2").json()
    rest = server.get(f"/api/v1/workspaces?limit=2&cursor={paged['page']['nextCursor']}").json()["workspaces"]
    assert [row["workspaceSlug"] for row in rest] == ["team-beta"]
    (project,) = server.get("/api/v1/workspaces/team-alpha/projects").json()["projects"]
    assert (project["projectSlug"], project["runCount"]) == ("demo", 2)
    runs = server.get("/api/v1/workspaces/team-alpha/projects/demo/runs/query").json()["runs"]
    assert {run["runId"] for run in runs} == {"run_a", "run_b"}
    run = server.get("/api/v1/runs/run_c").json()
    assert (run["workspaceSlug"], run["projectSlug"]) == ("team-beta", "demo")
    series = server.post("/api/v1/query/series", json={"runId": "run_a", "metricKeys": ["loss"]}).json()["series"]
    assert series[0]["points"][0]["value"] == 0.5
    assert server.get(f"/api/v1/metrics/keys?projectId={project['projectId']}").status_code == 200
    assert server.get("/api/v1/runs/run_a/artifacts").status_code == 200
    assert begin("run_a", "team-alpha", "demo").status_code == 409, "the run is there already"


@pytest.mark.parametrize("scopes", [["admin"], ["metrics:write", "project:write"], ["project:read"]])
def test_nobody_else_makes_one(server, begin, scopes):
    """Not even an admin's key, when it is not the server's owner's; and nothing is made by trying."""
    begin("run_a", "team-alpha", "demo")
    for home in ("default-workspace", "team-alpha"):
        key = key_of(server, home, scopes)
        assert begin("run_x", "elsewhere", "demo", key).status_code in (403, 404)
        other = "team-alpha" if home == "default-workspace" else "default-workspace"
        assert begin("run_y", other, "demo", key).status_code in (403, 404)
        body = {"workspace": "elsewhere", "project": "demo"}
        assert server.post("/api/v1/runs/resolve-target", key=key, json=body).status_code == 404
    assert slugs(server) == ["default-workspace", "team-alpha"]


def test_two_workspaces_never_see_each_other(server, begin):
    """The owners of two of them, in lists, by runs, by projects and in the stream."""
    for name in ("alpha", "beta"):
        begin(f"run_{name}", name, "demo")
    keys = {name: key_of(server, name) for name in ("alpha", "beta")}
    for mine, other in (("alpha", "beta"), ("beta", "alpha")):
        key = keys[mine]
        project = server.get(f"/api/v1/workspaces/{other}/projects").json()["projects"][0]["projectId"]
        assert slugs(server, key) == [mine]
        assert server.get(f"/api/v1/runs/run_{mine}", key=key).status_code == 200
        for path in (
            f"workspaces/{other}/projects",
            f"workspaces/{other}/projects/demo/runs/query",
            f"workspaces/{other}/audit",
            f"runs/run_{other}",
            f"runs/run_{other}/artifacts",
            f"metrics/keys?projectId={project}",
            f"stream?runId=run_{other}",
            f"stream?projectId={project}",
        ):
            assert server.get(f"/api/v1/{path}", key=key).status_code in (400, 404), path
        edit = server.call("PATCH", f"/api/v1/runs/run_{other}", key=key, json={"name": "stolen"})
        assert (edit.status_code, server.get(f"/api/v1/runs/run_{other}").json()["runName"]) == (404, f"run_{other}")


def test_resolving_a_target_makes_it_for_who_may_write(server):
    """The JSON wire: the owner gets a new workspace, a writer a new project of his own; then a run begins there."""
    body = {"workspace": "team-alpha", "project": "demo"}
    made = server.post("/api/v1/runs/resolve-target", json=body).json()
    assert (made["workspaceSlug"], made["projectSlug"]) == ("team-alpha", "demo")
    assert server.post("/api/v1/runs/resolve-target", json=body).json() == made
    writer = key_of(server, "team-alpha", ["metrics:write", "project:write", "project:read"])
    other = server.post("/api/v1/runs/resolve-target", key=writer, json=body | {"project": "more"}).json()
    assert (other["orgId"], other["projectSlug"]) == (made["orgId"], "more")
    started = server.post("/api/v1/runs/start", json={"projectId": made["projectId"], "runId": "run_json"})
    assert (started.status_code, started.json()["projectId"]) == (200, made["projectId"])
    point = {"projectId": made["projectId"], "runId": "run_json", "metricKey": "loss", "step": 1}
    sent = server.post("/api/v1/ingest/metrics", json={"points": [point | {"timestampMs": 1, "value": 0.5}]})
    assert sent.status_code == 200 and sent.json().get("accepted", 1) == 1
    assert server.post("/api/v1/runs/run_json/status", json={"status": "completed"}).status_code == 200
    assert server.get("/api/v1/runs/run_json").json()["workspaceSlug"] == "team-alpha"
