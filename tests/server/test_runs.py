"""Runs: lists, pages, search, and who may see what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rundial.events import Marker, RunEnd
from rundial.server.store import Store
from rundial.server.store.accounts import Principal
from rundial.server.store.refusal import Refusal
from tests.server.streams import Stream


@pytest.fixture
def store(tmp_path: Path, open_store: Callable[[Path], Store]) -> Store:
    return open_store(tmp_path)


@pytest.fixture
def owner(store: Store) -> Principal:
    return Stream(store).principal


def add(store: Store, *names: str, project: str = "digits") -> list[Stream]:
    streams = [Stream(store, f"run_{name}") for name in names]
    for stream, name in zip(streams, names):
        stream.start(name=name, project=project)
    return streams


def ask(store: Store, principal: Principal, **fields: Any) -> tuple[list[str], str | None]:
    defaults: dict[str, Any] = {
        "limit": 25,
        "order": "asc",
        "order_by": "runName",
        "cursor": None,
        "search": None,
        "statuses": [],
    }
    page = store.runs.query(principal, "default-workspace", fields.pop("project", "digits"), **defaults | fields)
    assert page is not None
    return [run["runName"] for run in page[0]], page[1]


@pytest.mark.parametrize("order_by", ["runId", "startedAtMs", "updatedAtMs", "runName"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_add_up_to_the_whole(store: Store, owner: Principal, order_by: str, order: str) -> None:
    """Page after page gives every run once, in order, even when the sort values are equal."""
    add(store, *"cabfdeg")
    whole, cursor = ask(store, owner, order=order, order_by=order_by)
    assert cursor is None and sorted(whole) == list("abcdefg")
    seen: list[str] = []
    while True:
        names, cursor = ask(store, owner, order=order, order_by=order_by, limit=2, cursor=cursor)
        seen += names
        if cursor is None:
            break
    assert seen == whole
    if order_by == "runName":
        assert whole == sorted(whole, reverse=order == "desc")


def test_search_takes_signs_as_they_are(store: Store, owner: Principal) -> None:
    """A part of the name or id in any case; % and _ mean themselves."""
    add(store, "100% sure", "a_b", "axb", "ÜBER")
    assert ask(store, owner, search="0% S")[0] == ["100% sure"]
    assert ask(store, owner, search="A_B")[0] == ["a_b"]
    assert ask(store, owner, search="über")[0] == ["ÜBER"]
    assert ask(store, owner, search="run_a")[0] == ["a_b", "axb"]
    assert ask(store, owner, search="'; --")[0] == []


def test_statuses_filter(store: Store, owner: Principal) -> None:
    """Only runs in one of the statuses are listed."""
    streams = add(store, "a", "b", "c")
    streams[0].send(RunEnd(1, "failed"))
    streams[1].send(RunEnd(1, "completed"))
    assert ask(store, owner, statuses=["failed", "running"])[0] == ["a", "c"]
    assert ask(store, owner, statuses=["no such"])[0] == []


@pytest.mark.parametrize("cursor", ["%%%", "W10", "bm90IGpzb24", "\u00fc", "WzEsMl0x", "W3t9LDFd"])
def test_a_made_up_cursor_is_refused(store: Store, owner: Principal, cursor: str) -> None:
    """It is the caller's mistake and never an error of the server."""
    with pytest.raises(Refusal) as caught:
        ask(store, owner, project="default-project", cursor=cursor)
    assert caught.value.status == 400


def test_an_unknown_order_is_refused(store: Store, owner: Principal) -> None:
    """Names of columns are chosen from a list, never put together."""
    for fields in ({"order_by": 'name" desc; --'}, {"order": "sideways"}):
        with pytest.raises(Refusal):
            ask(store, owner, **fields)


def test_a_run_document_has_what_the_interface_says(store: Store, owner: Principal) -> None:
    """The summary is what the run set over the last value of each metric."""
    stream = Stream(store)
    stream.start(tags=["a"], group="g", job_type="train", config={"lr": 1}, host="node", pid=7, client="x/1")
    stream.log(3, loss=0.5, note="hello")
    stream.log(1, loss=9.0)
    run = store.runs.get(owner, "run_a")
    assert run is not None
    assert (run["tags"], run["group"], run["jobType"], run["config"]) == (["a"], "g", "train", {"lr": 1})
    assert (run["summary"], run["lastStep"], run["points"]) == ({"loss": 0.5, "note": "hello"}, 3, 3)
    (attempt,) = run["attempts"]
    assert (attempt["host"], attempt["pid"], attempt["rank"], attempt["received"]) == ("node", 7, 0, 3)
    short = store.runs.row(owner, "run_a")
    assert short is not None and short.items() <= run.items()


def test_markers_come_oldest_first(store: Store, owner: Principal) -> None:
    """By their own time, not by arrival."""
    (stream,) = add(store, "a")
    stream.send(Marker(2_000_000, "alert", "late", 5, {"x": [1]}), Marker(1_000_000, "alert", "early"))
    assert store.runs.markers(owner, "run_a") == [
        {"timeMs": 1, "kind": "alert", "name": "early", "step": None, "attrs": {}},
        {"timeMs": 2, "kind": "alert", "name": "late", "step": 5, "attrs": {"x": [1]}},
    ]


def test_projects_count_their_runs(store: Store, owner: Principal) -> None:
    """All and running ones, page by page."""
    add(store, "a", "b")[0].send(RunEnd(1, "completed"))
    page = store.runs.projects(owner, "default-workspace", limit=1, cursor=None)
    assert page is not None and page[0][0]["projectSlug"] == "default-project"
    second = store.runs.projects(owner, "default-workspace", limit=1, cursor=page[1])
    assert second is not None and second[1] is None
    (digits,) = second[0]
    assert (digits["projectSlug"], digits["runCount"], digits["runningCount"]) == ("digits", 2, 1)


def test_workspaces_are_ones_own(store: Store, owner: Principal) -> None:
    """A key sees the workspace it belongs to."""
    (workspace,), cursor = store.runs.workspaces(owner, limit=10, cursor=None)
    assert (workspace["workspaceSlug"], workspace["role"], cursor) == ("default-workspace", "owner", None)


def test_what_may_not_be_seen_does_not_exist(store: Store, owner: Principal) -> None:
    """A key of another project or workspace gets the answer of a missing id, everywhere."""
    add(store, "a")
    bound = owner._replace(project_id=store.runs.project_of(owner, "default-project"))
    stranger = owner._replace(workspace_id="wsp_other", workspace_slug="other", everywhere=False)
    options: dict[str, Any] = {"limit": 5, "order": "asc", "order_by": "runId", "cursor": None, "search": None}
    for principal in (bound, stranger):
        assert store.runs.get(principal, "run_a") is store.runs.row(principal, "run_a") is None
        assert store.runs.markers(principal, "run_a") is None
        assert not store.runs.visible(principal, ["run_a"])
        assert store.runs.project_of(principal, "digits") is None
        assert store.runs.query(principal, "default-workspace", "digits", **options, statuses=[]) is None
    assert store.runs.projects(stranger, "default-workspace", limit=5, cursor=None) is None
    page = store.runs.projects(bound, "default-workspace", limit=5, cursor=None)
    assert page is not None and [item["projectSlug"] for item in page[0]] == ["default-project"]
    assert store.runs.visible(owner, ["run_a"]) and not store.runs.visible(owner, ["run_a", "run_none"])
