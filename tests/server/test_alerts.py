"""What stands beside the runs of a project: its alerts, its deleted runs and its switch for dials."""

from __future__ import annotations

import time
from typing import Any

from rundial.events import Marker, RunEnd
from tests.server.conftest import RunningServer, Sender

WORKSPACE = "/api/v1/workspaces/default-workspace"


def project_of(server: RunningServer, slug: str) -> str:
    rows = server.get(f"{WORKSPACE}/projects").json()["projects"]
    return str(next(row["projectId"] for row in rows if row["projectSlug"] == slug))


def alert(title: str, ms: int, step: int | None = None, **attrs: Any) -> Marker:
    return Marker(ms * 1_000_000, "alert", title, step, attrs)


def test_alerts_of_all_runs_come_newest_first_in_pages(server: RunningServer) -> None:
    """Only alerts, of runs that are there, each once over all pages."""
    now = time.time_ns() // 1_000_000
    runs = [Sender(server, f"run_alerts_{number}", project="alerts") for number in range(2)]
    for run in runs:
        run.start()
    runs[0].send(alert("first", now, 3, level="warn", text="loss > 10"), alert("same time", now + 5))
    runs[1].send(alert("same time too", now + 5), Marker(now * 1_000_000, "resume", "no alert"))
    gone = Sender(server, "run_alerts_gone", project="alerts")
    gone.start()
    gone.send(alert("of a deleted run", now), RunEnd(time.time_ns(), "completed"))
    server.post("/api/v1/runs/delete", json={"runIds": ["run_alerts_gone"]}).raise_for_status()
    address = f"/api/v1/projects/{project_of(server, 'alerts')}/alerts"

    whole = server.get(address).json()["alerts"]
    found, cursor = [], ""
    while True:
        page = server.get(address, params={"limit": 1, "cursor": cursor}).json()
        found += page["alerts"]
        cursor = page["page"]["nextCursor"]
        if not page["page"]["hasMore"]:
            break

    assert found == whole
    assert [one["title"] for one in whole] == ["same time too", "same time", "first"]
    assert whole[2]["level"] == "warn" and whole[2]["text"] == "loss > 10" and whole[2]["step"] == 3
    assert whole[0]["runName"] == "run_alerts_1" and whole[0]["level"] == "info"


def test_deleted_runs_are_listed_until_they_are_restored(server: RunningServer) -> None:
    """With when they were deleted and when they go for good; a run that went on is not among them."""
    for name in ("a", "b", "c"):
        run = Sender(server, f"run_deleted_{name}", project="deleted")
        run.start()
        run.send(RunEnd(time.time_ns(), "completed"))
    ids = [f"run_deleted_{name}" for name in ("a", "b")]
    server.post("/api/v1/runs/delete", json={"runIds": ids}).raise_for_status()
    address = f"/api/v1/projects/{project_of(server, 'deleted')}/deleted"

    first = server.get(address, params={"limit": 1}).json()
    second = server.get(address, params={"limit": 1, "cursor": first["page"]["nextCursor"]}).json()

    found = first["runs"] + second["runs"]
    assert sorted(run["runId"] for run in found) == ids and not second["page"]["hasMore"]
    assert all(run["purgedAtMs"] - run["deletedAtMs"] == 7 * 24 * 3600 * 1000 for run in found)
    server.post("/api/v1/runs/restore", json={"runIds": ids[:1]}).raise_for_status()
    assert [run["runId"] for run in server.get(address).json()["runs"]] == ids[1:]


def test_the_switch_of_a_project_can_be_read(server: RunningServer) -> None:
    """On until someone turns it off."""
    Sender(server, "run_switch", project="switch").start()
    address = f"/api/v1/projects/{project_of(server, 'switch')}/control"
    assert server.get(address).json()["enabled"] is True

    server.call("PUT", address, json={"enabled": False}).raise_for_status()

    assert server.get(address).json()["enabled"] is False


def test_what_one_may_not_see_does_not_exist(server: RunningServer) -> None:
    """The same 404 for all three, and a bad cursor is refused."""
    for name in ("alerts", "deleted", "control"):
        assert server.get(f"/api/v1/projects/prj_none/{name}").status_code == 404
    Sender(server, "run_cursor", project="cursor").start()
    for name in ("alerts", "deleted"):
        address = f"/api/v1/projects/{project_of(server, 'cursor')}/{name}"
        assert server.get(address, params={"cursor": "nonsense"}).status_code == 400
