"""Two servers that begin runs at the same time wait for nothing but each other's run, and make nothing twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rundial.events import EvalResult, EvalStart, Metrics
from rundial.server.store import Store, engine, quota
from rundial.server.store.engine import Db, the_project
from rundial.server.store.json_wire import Delivery, Opening, record
from rundial.server.store.refusal import Refusal
from tests.server.postgres import Cluster
from tests.server.streams import Stream

pytestmark = pytest.mark.postgres


@pytest.fixture
def pair(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two stores on one database, with a run in the project digits."""
    url = cluster.database()
    stores = Store(tmp_path, url), Store(tmp_path, url)
    for store in stores:
        store._compactor.stop()
    Stream(stores[0], "run_first").start()
    yield stores
    for store in stores:
        store.close()
    cluster.give_back(url)


@contextmanager
def holding(store: Store, **names: Any) -> Iterator[None]:
    """The writer of the store is in the middle of something."""
    inside, go = threading.Event(), threading.Event()

    def hold(db: Db) -> None:
        inside.set()
        go.wait(20)

    done = store._engine.write(hold, **names)
    assert inside.wait(10)
    try:
        yield
    finally:
        go.set()
        done.result(10)


def opening(run_id: str | None, project: str = "digits") -> Opening:
    return Opening(project, run_id, "from curl", "training", "allow", None, None, [], {}, "json/1")


def json_run(store: Store, run_id: str) -> None:
    """All that a client of the JSON wire does for a run."""
    owner = Stream(store).principal
    assert store.wire.start(owner, opening(run_id)).result(10)["created"]
    assert store.wire.configure(owner, run_id, {"lr": 0.1}).result(10)["config"] == {"lr": 0.1}
    point = record(Metrics(1, 0, {"loss": 1.0}), [0])
    assert store.wire.take(owner, [Delivery("digits", run_id, [point])]).result(10) == {}
    assert store.wire.end(owner, run_id, "completed", None, None).result(10)["status"] == "completed"


WORK: dict[str, Callable[[Store], Any]] = {
    "a run begins": lambda store: Stream(store, "run_second").start(),
    "a run without a name begins": lambda store: store.wire.start(Stream(store).principal, opening(None)).result(10),
    "a run of the JSON wire": lambda store: json_run(store, "run_json"),
}


@pytest.mark.parametrize("work", WORK)
def test_what_concerns_one_run_waits_for_no_other(pair: tuple[Store, Store], work: str) -> None:
    """While another server writes to a run of the same project."""
    with holding(pair[0], run_id="run_first"):
        WORK[work](pair[1])


def test_evaluations_wait_for_those_of_their_project_alone(pair: tuple[Store, Store]) -> None:
    """By records, and by JSON; an evaluation may have results of several runs."""
    owner = Stream(pair[1]).principal
    project_id = pair[1].runs.project_of(owner, "digits")
    assert project_id is not None
    stream = Stream(pair[1], "run_second")
    stream.start()
    suite = EvalStart(1, "eval_a", "sums")
    with holding(pair[0], run_id="run_first", holds=[the_project("prj_other")]):
        assert stream.send(suite)[1]["rejected"] == []
        made = pair[1].json_evals.create_run(owner, "digits", "sums", {}, None, "eval_b").result(10)
        assert made["evalRunId"] == "eval_b"
        result = EvalResult(1, "eval_b", "one", "exact", 1.0, True)
        assert pair[1].json_evals.take(owner, "digits", "eval_b", [result]).result(10) == {}
    with ThreadPoolExecutor(1) as pool:
        with holding(pair[0], holds=[the_project(project_id)]):
            waiting = pool.submit(stream.send, EvalStart(1, "eval_c", "sums"))
            assert stream.send is not None and not _is_done_soon(waiting)
        assert waiting.result(10)[1]["rejected"] == []


def _is_done_soon(waiting: Any) -> bool:
    end = time.monotonic() + 0.3
    while time.monotonic() < end and not waiting.done():
        time.sleep(0.02)
    return bool(waiting.done())


def at_once(pair: tuple[Store, Store], work: Callable[[Store, int], Any], count: int) -> list[Any]:
    """What came of doing each through both servers at the same time: an answer, or the refusal."""
    door = threading.Barrier(8)

    def one(number: int) -> Any:
        try:
            door.wait(20)
            return work(pair[number % 2], number // 2)
        except Refusal as refusal:
            return refusal

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(2 * count)))


@pytest.mark.parametrize("project", ["digits", "a new one"])
def test_a_run_that_two_servers_begin_is_made_once(pair: tuple[Store, Store], project: str) -> None:
    """In a project that is there, and in one that comes into being; the second one attaches to the first."""
    answers = at_once(
        pair, lambda store, number: Stream(store, f"run_{number}").start(project=project, resume="allow"), 12
    )
    assert [status for status, _ in answers] == [200] * 24
    made = [reply["run"]["runId"] for _, reply in answers if reply["run"]["created"]]
    assert sorted(made) == sorted(f"run_{number}" for number in range(12))
    assert len({reply["run"]["projectId"] for _, reply in answers}) == 1
    projects = pair[0].runs.projects(Stream(pair[0]).principal, "default-workspace", limit=10, cursor=None)
    assert projects is not None and len({row["projectSlug"] for row in projects[0]}) == len(projects[0])


def test_limits_hold_over_two_servers(pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """Projects that many clients make at once do not become more than a workspace may have, nor of the same name."""
    monkeypatch.setattr(quota, "MAX_PROJECTS", 6)
    answers = at_once(pair, lambda store, number: Stream(store, f"run_{number}").start(project=f"p {number % 6}"), 8)
    refused = [answer.status for answer in answers if isinstance(answer, Refusal)]
    projects = pair[0].runs.projects(Stream(pair[0]).principal, "default-workspace", limit=50, cursor=None)
    assert projects is not None and len(projects[0]) == 6
    assert len({row["name"] for row in projects[0]}) == 6 and 429 in refused


def test_one_stream_that_begins_in_two_runs_belongs_to_one(pair: tuple[Store, Store]) -> None:
    """Whichever is first; the other is told to come again, and then is of that one."""

    def begin(store: Store, number: int) -> Any:
        stream = Stream(store, f"run_{store is pair[0]}_{number}")
        stream.id = f"{number:032x}"
        return stream.start()

    answers = at_once(pair, begin, 8)
    assert {answer.status if isinstance(answer, Refusal) else answer[0] for answer in answers} <= {200, 503}
    with pair[0]._engine.read() as db:
        rows = db.execute("SELECT stream, count(*) FROM streams GROUP BY stream").fetchall()
    assert len(rows) == 9 and all(count == 1 for _, count in rows)


def test_a_request_for_very_many_runs_holds_everything(
    pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database has room for so many locks; nothing is lost for it."""
    monkeypatch.setattr(engine, "MOST_HELD", 3)
    owner = Stream(pair[0]).principal
    point = record(Metrics(1, 0, {"loss": 1.0}), [0])
    deliveries = [Delivery("digits", f"run_{number}", [point]) for number in range(5)]
    assert pair[0].wire.take(owner, deliveries).result(10) == {}
    assert pair[1].runs.visible(owner, [f"run_{number}" for number in range(5)])
