"""Editing, archiving and deleting runs, and what is left after a deletion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rundial.events import LogLine, Metrics, RunEnd, Span
from rundial.server.store import Store
from rundial.server.store.purge import Purge
from rundial.server.store.run_edits import _RUN_TABLES, KEEP_MILLISECONDS
from tests.server.conftest import RunningServer, Sender
from tests.server.introspection import columns, tables
from tests.server.streams import Stream

DAY = 24 * 3600 * 1000


@pytest.fixture
def store(tmp_path: Path, open_store: Callable[[Path], Store]) -> Store:
    return open_store(tmp_path)


@pytest.fixture
def ended(server: RunningServer, send_to: Callable[..., Sender]) -> Callable[..., Sender]:
    """Makes runs that are over: ``ended("run_a", tags=["x"])``."""

    def make(run_id: str, **fields: Any) -> Sender:
        sender = send_to(run_id)
        sender.start(**fields)
        sender.log(1, loss=0.5)
        sender.send(RunEnd(1, "completed"))
        return sender

    return make


def names(server: RunningServer, **query: str) -> list[str]:
    path = "/api/v1/workspaces/default-workspace/projects/digits/runs/query"
    return sorted(run["runId"] for run in server.get(path, params=query).json()["runs"])


def test_a_run_is_edited(server: RunningServer, ended: Callable[..., Sender]) -> None:
    """What is sent changes, everything else stays; the answer is the run."""
    ended("run_a", tags=["old"], notes="first")

    run = server.call("PATCH", "/api/v1/runs/run_a", json={"tags": ["b", "a", "b"], "group": "g"}).json()
    assert (run["tags"], run["group"], run["notes"], run["runName"]) == (["b", "a"], "g", "first", "run_a")

    run = server.call("PATCH", "/api/v1/runs/run_a", json={"name": "swift", "notes": "", "path": "a/b"}).json()
    assert (run["runName"], run["notes"], run["path"], run["tags"]) == ("swift", "", "a/b", ["b", "a"])
    assert server.get("/api/v1/runs/run_a").json()["runName"] == "swift"


def run_tables(store: Store) -> set[str]:
    """Every table that holds something of runs."""
    with store._engine.read() as db:
        shared = store._engine.shared
        return {name for name in tables(db, shared) if "run_id" in columns(db, shared, name)}


@pytest.mark.parametrize("body", [{"name": "  "}, {"tags": [""]}, {"tags": "x"}, {"status": "failed"}, {"name": 1}])
def test_an_edit_that_cannot_be_is_refused(
    server: RunningServer, ended: Callable[..., Sender], body: dict[str, Any]
) -> None:
    """With 400, and the run is as before."""
    ended("run_a", tags=["old"])
    answer = server.call("PATCH", "/api/v1/runs/run_a", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["details"]["hint"]
    assert server.get("/api/v1/runs/run_a").json()["tags"] == ["old"]


def test_several_runs_are_tagged_at_once(server: RunningServer, ended: Callable[..., Sender]) -> None:
    """Each keeps its other tags; a tag it has already is not doubled."""
    ended("run_a", tags=["x", "y"])
    ended("run_b", tags=["z"])
    body = {"runIds": ["run_a", "run_b"], "addTags": ["z"], "removeTags": ["x"]}
    assert server.post("/api/v1/runs/edit", json=body).json() == {"runs": 2}
    assert server.get("/api/v1/runs/run_a").json()["tags"] == ["y", "z"]
    assert server.get("/api/v1/runs/run_b").json()["tags"] == ["z"]


def test_archived_runs_are_listed_when_asked_for(server: RunningServer, ended: Callable[..., Sender]) -> None:
    """They leave the plain list, can still be opened, and come back."""
    ended("run_a")
    ended("run_b")
    server.post("/api/v1/runs/edit", json={"runIds": ["run_a"], "archived": True})
    assert names(server) == ["run_b"]
    assert names(server, archived="only") == ["run_a"]
    assert names(server, archived="any") == ["run_a", "run_b"]
    assert server.get("/api/v1/runs/run_a").json()["archivedAtMs"] > 0

    server.post("/api/v1/runs/edit", json={"runIds": ["run_a"], "archived": False})
    assert names(server) == ["run_a", "run_b"]


def test_a_deleted_run_is_gone_and_can_be_restored(server: RunningServer, ended: Callable[..., Sender]) -> None:
    """Deleted, it does not exist anywhere; restored, it is as before."""
    ended("run_a")
    ended("run_b")
    assert server.post("/api/v1/runs/delete", json={"runIds": ["run_a"]}).json()["runs"] == 1
    assert names(server, archived="any") == ["run_b"]
    for path in ("/api/v1/runs/run_a", "/api/v1/runs/run_a/markers", "/api/v1/metrics/keys?runId=run_a"):
        assert server.get(path).status_code == 404
    projects = server.get("/api/v1/workspaces/default-workspace/projects").json()["projects"]
    assert {it["projectSlug"]: it["runCount"] for it in projects}["digits"] == 1
    assert server.post("/api/v1/runs/edit", json={"runIds": ["run_a"], "addTags": ["x"]}).status_code == 404

    assert server.post("/api/v1/runs/restore", json={"runIds": ["run_a"]}).json() == {"runs": 1}
    assert server.get("/api/v1/runs/run_a").json()["summary"] == {"loss": 0.5}


def test_a_running_run_is_not_deleted(server: RunningServer, send_to: Callable[..., Sender]) -> None:
    """Nor are those that were named beside it."""
    send_to("run_a").start()
    answer = server.post("/api/v1/runs/delete", json={"runIds": ["run_a"]})
    assert answer.status_code == 409 and "running" in answer.json()["error"]["message"]
    assert names(server) == ["run_a"]


def test_a_run_that_goes_on_after_its_deletion_is_there_again(store: Store) -> None:
    """A job that logs into a run somebody deleted loses nothing."""
    stream = Stream(store)
    stream.start()
    stream.send(RunEnd(1, "completed"))
    store.run_edits.delete(stream.principal, ["run_a"]).result()
    assert store.runs.get(stream.principal, "run_a") is None

    again = Stream(store)
    again.start(resume="must")
    again.log(7, loss=0.25)

    run = store.runs.get(stream.principal, "run_a")
    assert run is not None and run["lastStep"] == 7


def test_one_run_that_is_not_visible_stops_the_whole_edit(store: Store) -> None:
    """All or nothing, and the answer does not tell a foreign run from none."""
    mine, other = Stream(store, "run_mine"), Stream(store, "run_other")
    mine.start()
    other.start(project="secret")
    bound = mine.principal._replace(project_id=store.runs.project_of(mine.principal, "digits"))
    words = []
    for run_id in ("run_other", "run_none"):
        edit = store.run_edits.edit(bound, ["run_mine", run_id], texts={}, add_tags=["x"])
        failure = edit.exception(timeout=20)
        words.append(str(failure).replace(run_id, "…"))
    assert words[0] == words[1]
    run = store.runs.get(mine.principal, "run_mine")
    assert run is not None and run["tags"] == []


def test_the_stream_tells_of_edits_and_deletions(store: Store) -> None:
    """An edit as a change of the run, a deletion as a kind of its own."""
    stream = Stream(store)
    stream.start()
    stream.send(RunEnd(1, "completed"))
    heard: list[tuple[bool, frozenset[str]]] = []
    store.subscribe(lambda change: heard.append((change.run_changed, change.kinds)))
    store.run_edits.edit(stream.principal, ["run_a"], texts={"notes": "x"}).result()
    store.run_edits.delete(stream.principal, ["run_a"]).result()
    store.run_edits.restore(stream.principal, ["run_a"]).result()
    assert heard == [(True, frozenset()), (False, frozenset({"deleted"})), (True, frozenset())]


def test_deleted_runs_are_removed_for_good_after_a_week(store: Store) -> None:
    """Every table forgets the run, and only that one; before the week is over nothing happens."""
    streams = [Stream(store, "run_a"), Stream(store, "run_b")]
    for stream in streams:
        stream.start()
        span = Span("ab" * 16, "cd" * 8, None, "call", "internal", 1, 2)
        stream.send(Metrics(1, 1, {"loss": 1.0}), LogLine(1, "info", "hello"), span, RunEnd(1, "completed"))
    store.run_edits.delete(streams[0].principal, ["run_a"]).result()
    run = store.runs.get(streams[1].principal, "run_b")
    assert run is not None
    purge = Purge(store._engine, store.blobs)

    def rows(run_id: str) -> dict[str, int]:
        count = "SELECT count(*) FROM {} WHERE run_id = ?"
        with store._engine.read() as db:
            return {table: db.execute(count.format(table), (run_id,)).fetchone()[0] for table in run_tables(store)}

    before = rows("run_a")
    assert purge.run(run["updatedAtMs"] + KEEP_MILLISECONDS - DAY) == 0
    assert rows("run_a") == before and before["runs"] == 1

    purge.run(run["updatedAtMs"] + KEEP_MILLISECONDS + DAY)

    assert set(rows("run_a").values()) == {0}
    assert rows("run_b")["runs"] == 1 and rows("run_b")["log_blobs"] == 1 and rows("run_b")["spans"] == 1


def test_every_table_of_runs_is_emptied_with_them(store: Store) -> None:
    """A new table with a ``run_id`` has to be purged too, or be one of those that outlive a run."""
    outliving = {"artifacts", "artifact_runs", "uploads", "upload_parts"}
    assert run_tables(store) - outliving == set(_RUN_TABLES)
