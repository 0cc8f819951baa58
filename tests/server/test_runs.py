"""Runs: lists, pages, search, and who may see what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rundial.events import Marker, RunEnd, RunUpdate
from rundial.server.store import Store
from rundial.server.store.accounts import Principal
from rundial.server.store.compactor import compact
from rundial.server.store.engine import Db, Rows
from rundial.server.store.refusal import Refusal
from rundial.server.store.run_orders import ORDERS
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


def test_pages_add_up_to_the_whole(store: Store, owner: Principal) -> None:
    """Page after page gives every run once, in every order, even when the sort values are equal or there are none."""
    store._compactor.stop()
    for number, stream in enumerate(add(store, *"cabfdeg")):
        stream.send(RunUpdate(1, config=[{"lr": number % 2}, {"net": {"depth": "deep"}}, {"lr": "auto"}][number % 3]))
        stream.log(0, loss=number % 2)
        compact(store._engine, stream.run_id)
    entries = ("config.lr", "config.net.depth", "summary.loss", "summary.none")
    for order_by, order in product((*ORDERS, *entries), ("asc", "desc")):
        whole, cursor = ask(store, owner, order=order, order_by=order_by)
        assert cursor is None and sorted(whole) == list("abcdefg")
        seen: list[str] = []
        while True:
            names, cursor = ask(store, owner, order=order, order_by=order_by, limit=2, cursor=cursor)
            seen += names
            if cursor is None:
                break
        assert seen == whole, order_by
        if order_by == "runName":
            assert whole == sorted(whole, reverse=order == "desc")


def test_orders_by_entries(store: Store, owner: Principal) -> None:
    """Numbers, then texts, each up or down, and in the end who has nothing; what a run set is above what it logged."""
    store._compactor.stop()
    values: list[Any] = [3, "auto", None, 0.5, True, "Adam", -1e300, [1], 1e300, {"x": 1}]
    for number, (stream, value) in enumerate(zip(add(store, *"abcdefghij"), values)):
        stream.send(RunUpdate(1, config={} if value is None else {"opt": {"lr.base": value}}))
        stream.log(0, loss=float(number))
        stream.send(RunUpdate(1, primary={"name": "loss", "mode": "min"}))
        stream.log(1, loss=-float(number))
        compact(store._engine, stream.run_id)
        stream.send(RunUpdate(1, summary={"loss": 100}) if number == 4 else RunEnd(10**15, "completed"))
    assert "".join(ask(store, owner, order_by="config.opt.lr.base")[0]) == "gdeaifbchj"
    assert "".join(ask(store, owner, order_by="config.opt.lr.base", order="desc")[0]) == "iaedgbfjhc"
    assert "".join(ask(store, owner, order_by="summary.loss")[0]) == "jihgfdcbae"
    assert "".join(ask(store, owner, order_by="summary.best_metric_value")[0]) == "jihgfedcba"
    assert ask(store, owner, order_by="status")[0][-1] == "e" == ask(store, owner, order_by="duration")[0][-1]


class Counted:
    """A connection that counts what it is asked."""

    def __init__(self, db: Db) -> None:
        self.db = db
        self.asked: list[tuple[str, Sequence[Any]]] = []

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Rows:
        self.asked.append((sql, values))
        return self.db.execute(sql, values)


@pytest.fixture
def asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Sequence[Any]]]:
    """The statements that readers ask from now on, with their values."""
    found: list[tuple[str, Sequence[Any]]] = []
    read = store._engine.read

    @contextmanager
    def counted() -> Iterator[Any]:
        with read() as db:
            counting = Counted(db)
            counting.asked = found
            yield counting

    monkeypatch.setattr(store._engine, "read", counted)
    return found


def test_a_page_asks_as_often_as_a_row(store: Store, owner: Principal, asked: list[Any]) -> None:
    """A handful of statements in every order, however many runs there are and whatever waits to be compacted."""
    store._compactor.stop()
    streams = add(store, *map(str, range(20)))
    for number, stream in enumerate(streams):
        stream.log(0, loss=float(number), other=1.0)
        if number % 2:
            compact(store._engine, stream.run_id)
            stream.log(1, loss=float(number))
    for order_by in (*ORDERS, "config.lr", "summary.loss", "summary.best_metric_value"):
        counts = []
        for limit in (1, 20):
            asked.clear()
            names, _ = ask(store, owner, order_by=order_by, limit=limit)
            counts.append(len(asked))
            assert len(names) == limit
        assert counts[0] == counts[1] <= 10, asked
    asked.clear()
    found = store.runs.markers_of(owner, [stream.run_id for stream in streams], 10)
    assert found is not None and len(found) == 20 and len(asked) <= 3


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("order_by", ["startedAtMs", "runName"])
def test_a_page_of_a_long_list_is_found_by_an_index(
    store: Store, owner: Principal, asked: list[Any], order_by: str
) -> None:
    """Its first run too: the database neither sorts the others nor begins at the first page again."""
    add(store, *"abcdef")
    _, cursor = ask(store, owner, order_by=order_by, limit=2)
    asked.clear()
    ask(store, owner, order_by=order_by, limit=2, cursor=cursor)
    sql, values = next((sql, values) for sql, values in asked if " LIMIT " in sql and "FROM runs" in sql)
    with store._engine.read() as db:
        (plan,) = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()]
    assert plan.startswith("SEARCH r USING") and "(project_id=? AND (" in plan


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
    for fields in (
        {"order_by": 'name" desc; --'},
        {"order": "sideways"},
        {"order_by": "config."},
        {"order_by": "summary"},
    ):
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
