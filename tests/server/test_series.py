"""Series: points and buckets, the same whatever is compacted already."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rundial.events import Metrics, RunEnd
from rundial.server.store import Store
from rundial.server.store.columns import unpack_labels
from rundial.server.store.compactor import compact
from rundial.server.store.engine import Engine, StoreError
from rundial.server.store.inbox import blocks_of, encode_blocks, pivot
from rundial.server.store.schema import migrate
from rundial.server.store.series import Series, summarise
from tests.server.streams import Stream


@pytest.fixture
def store(tmp_path: Path, open_store: Callable[[Path], Store]) -> Store:
    return open_store(tmp_path)


@pytest.fixture
def stream(store: Store) -> Stream:
    stream = Stream(store)
    stream.start()
    return stream


@pytest.fixture
def engine(tmp_path: Path, database: Callable[[Path], str | None]) -> Iterator[Engine]:
    engine = Engine(database(tmp_path / "parts") or tmp_path / "parts" / "rundial.db")
    migrate(engine)
    yield engine
    engine.close()


def put(engine: Engine, records: list[Metrics], run_id: str = "run_a") -> None:
    """A batch in the inbox, as ingest leaves it."""
    row = (run_id, len(records), sum(len(record.values) for record in records), 0, encode_blocks(blocks_of(records)))
    engine.write(
        lambda db: (
            db.execute(
                "INSERT INTO inbox (run_id, records, points, received_ms, data) VALUES (?, ?, ?, ?, ?)", row
            ).rowcount
        )
    ).result()


def read(engine: Engine, key: str, run_id: str = "run_a") -> list[tuple[int, int, Any]]:
    (series,) = Series(engine).points(run_id, [key], max_points=None, order="asc")
    return [(point["step"], point["timestampMs"], point["value"]) for point in series["points"]]


def count_of(engine: Engine, table: str) -> int:
    with engine.read() as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


class StopAfter(threading.Event):
    """An event that is set once it has been asked ``times`` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def is_set(self) -> bool:
        self.times -= 1
        return self.times < 0


class Crash(BaseException):
    """Nothing handles it, as nothing handles the end of a process."""


class Crashing:
    """A connection that never gets to the statement whose turn it is when ``left`` has run out."""

    def __init__(self, db: Any, left: list[int]) -> None:
        self._db = db
        self._left = left

    def __getattr__(self, name: str) -> Any:
        if name in ("execute", "executemany"):
            self._left[0] -= 1
            if self._left[0] < 0:
                raise Crash
        return getattr(self._db, name)


RECORDS = st.builds(
    lambda step, ms, values: Metrics(ms * 1_000_000, step, values),
    st.integers(-5, 8) | st.sampled_from([2**63 - 1, -(2**63)]),
    st.integers(0, 10**12),
    st.dictionaries(
        st.sampled_from("abc"), st.floats(allow_nan=False, allow_infinity=False) | st.just("text"), min_size=1
    ),
)
ACTIONS = st.lists(st.lists(RECORDS, min_size=1, max_size=6) | st.integers(1, 12), max_size=12)


@settings(max_examples=30, deadline=None)
@given(ACTIONS)
def test_the_latest_by_arrival_wins_its_step(actions: list[list[Metrics] | int]) -> None:
    """Whenever the compactor runs, and however far, reading is a dict that every record was written to in turn."""
    model: dict[tuple[str, str], dict[int, tuple[int, Any]]] = {}
    counts: dict[tuple[str, str], int] = {}
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Path(folder) / "rundial.db")
        migrate(engine)
        for action in actions:
            if isinstance(action, int):
                compact(engine, "run_a", max_points=action)
                continue
            put(engine, action)
            for record in action:
                for key, value in record.values.items():
                    kind = "text" if isinstance(value, str) else "number"
                    model.setdefault((key, kind), {})[record.step] = (record.time_ns // 1_000_000, value)
                    counts[key, kind] = counts.get((key, kind), 0) + 1
        facts = {(item["metricKey"], item["kind"]): item for item in Series(engine).keys("run_a", 100)}
        found = {key: read(engine, key) for key in "abc"}
        engine.close()
    assert {key: item["count"] for key, item in facts.items()} == counts
    for (key, kind), steps in model.items():
        last = max(steps)
        fact = facts[key, kind]
        assert (fact["lastStep"], fact["lastTimeMs"], fact["lastValue"]) == (last, *steps[last])
        if kind == "number" or (key, "number") not in model:
            assert found[key] == [(step, *steps[step]) for step in sorted(steps)]


def test_a_stop_between_two_swaps_neither_loses_nor_doubles(engine: Engine) -> None:
    """A pass that ended after its first keys leaves a store that reads the same, and the next pass completes it."""
    keys = [f"k{n}" for n in range(100)]
    for batch in range(3):
        put(engine, [Metrics(0, batch * 10 + i, dict.fromkeys(keys, float(i))) for i in range(10)])
    assert compact(engine, "run_a", stop=StopAfter(1)) == 0
    assert (count_of(engine, "metric_keys"), count_of(engine, "inbox")) == (64, 3)
    expected = [(n, 0, float(n % 10)) for n in range(30)]
    assert read(engine, "k0") == read(engine, "k99") == expected
    assert {item["count"] for item in Series(engine).keys("run_a", 1000)} == {30}
    put(engine, [Metrics(0, 30, dict.fromkeys(keys, 0.0))])
    compact(engine, "run_a", max_points=1)
    while compact(engine, "run_a"):
        pass
    assert read(engine, "k0") == read(engine, "k99") == [*expected, (30, 0, 0.0)]
    assert {item["count"] for item in Series(engine).keys("run_a", 1000)} == {31}
    assert count_of(engine, "inbox") == 0


def test_two_passes_at_once_cannot_both_succeed(engine: Engine) -> None:
    """A pass that was overtaken changes nothing, and nothing is doubled."""
    put(engine, [Metrics(0, n, {"loss": float(n)}) for n in range(5)])
    compact(engine, "run_a")
    put(engine, [Metrics(0, n, {"loss": float(n)}) for n in range(5, 9)])
    with engine.read() as db:
        db.execute("SELECT 1 FROM runs").fetchall()  # from here on this thread sees nothing newer
        other = threading.Thread(target=compact, args=(engine, "run_a"))
        other.start()
        other.join()
        assert compact(engine, "run_a") == 0
    assert [step for step, _, _ in read(engine, "loss")] == list(range(9))
    assert Series(engine).keys("run_a", 10)[0]["count"] == 9


def test_a_pass_that_was_overtaken_between_its_swaps_is_refused(engine: Engine) -> None:
    """The other has taken some keys in and not yet emptied the inbox: the registry tells."""
    keys = [f"k{n}" for n in range(100)]
    put(engine, [Metrics(0, n, dict.fromkeys(keys, float(n))) for n in range(5)])
    with engine.read() as db:
        db.execute("SELECT 1 FROM runs").fetchall()
        other = threading.Thread(target=compact, args=(engine, "run_a"), kwargs={"stop": StopAfter(1)})
        other.start()
        other.join()
        with pytest.raises(StoreError, match="changed during compaction"):
            compact(engine, "run_a")
    compact(engine, "run_a")
    assert read(engine, "k0") == read(engine, "k99") == [(n, 0, float(n)) for n in range(5)]


def test_a_run_that_is_removed_during_a_pass_stays_removed(engine: Engine) -> None:
    """What the pass had read is not written after the run's rows are gone."""
    put(engine, [Metrics(0, n, {"loss": float(n)}) for n in range(5)])
    with engine.read() as db:
        db.execute("SELECT 1 FROM runs").fetchall()
        engine.write(lambda db: db.execute("DELETE FROM inbox WHERE run_id = 'run_a'").rowcount).result()
        assert compact(engine, "run_a") == 0
    assert (count_of(engine, "chunks"), count_of(engine, "metric_keys")) == (0, 0)


def test_chunks_grow_and_stay_few(engine: Engine) -> None:
    """Many small passes end in few chunks, and no point is rewritten each time."""
    for batch in range(60):
        put(engine, [Metrics(0, batch * 5 + i, {"loss": 1.0}) for i in range(5)])
        compact(engine, "run_a")
    assert count_of(engine, "chunks") <= 8
    assert len(read(engine, "loss")) == 300


def test_stage_and_context_are_kept(engine: Engine) -> None:
    """They are no part of a series but stay with its points through every rewriting."""
    put(engine, [Metrics(0, n, {"loss": 1.0}, "train" if n % 2 else None) for n in range(4)])
    compact(engine, "run_a")
    put(engine, [Metrics(0, n, {"loss": 1.0}, "test", {"subset": "a"}) for n in (4, 5)])
    compact(engine, "run_a")
    with engine.read() as db:
        ((data,),) = db.execute("SELECT labels FROM chunks").fetchall()
    none, train = (1, None, None), (1, "train", None)
    assert unpack_labels(data, 6) == [none, train, none, train, (2, "test", {"subset": "a"})]


def test_one_key_out_of_several_kinds_of_records_keeps_its_order() -> None:
    """A key logged alone and with others is one column in the order of the records."""
    records = [Metrics(0, n, {"a": float(n)} if n % 3 else {"a": float(n), "b": 0.0}) for n in range(9)]
    column = pivot([(0, blocks_of(records))])["a", "number"]
    assert column.steps.tolist() == list(range(9))
    assert list(column.values) == [float(n) for n in range(9)]


def test_thinned_points_keep_the_newest(stream: Stream) -> None:
    """With few places the newest step is among them, and descending order begins with it."""
    stream.send(*[Metrics(0, n, {"loss": float(n)}) for n in range(100)])
    for places in (1, 2, 25, 99):
        (series,) = stream.store.series.points("run_a", ["loss"], max_points=places, order="desc")
        steps = [point["step"] for point in series["points"]]
        assert steps[0] == 99 and len(steps) == places == len(set(steps)) and series["count"] == 100
    (unknown,) = stream.store.series.points("run_a", ["nothing"], max_points=None, order="asc")
    assert unknown == {"metricKey": "nothing", "kind": "number", "count": 0, "points": []}


def test_a_spike_survives_its_bucket(stream: Stream) -> None:
    """Minimum, maximum, mean, last and count of a bucket are exact."""
    values = [0.0] * 10_000
    values[5_001] = 99.0
    stream.send(*[Metrics(n * 1_000_000, n, {"loss": value}) for n, value in enumerate(values[:5000])])
    stream.send(*[Metrics(n * 1_000_000, n, {"loss": value}) for n, value in enumerate(values[5000:], 5000)])
    (found,) = stream.store.series.buckets(["run_a"], ["loss"], x="step", buckets=100, start=None, end=None)
    assert (found.count, len(found.x), found.max.max(), found.min.min()) == (10_000, 100, 99.0, 0.0)
    assert found.mean.sum() == pytest.approx(99 / 100) and found.x[-1] == 9_999
    (zoom,) = stream.store.series.buckets(["run_a"], ["loss"], x="step", buckets=100, start=4_990, end=5_010)
    assert (zoom.count, zoom.x[0], zoom.x[-1], zoom.max.max()) == (21, 4_990, 5_010, 99.0)
    assert (zoom.last == zoom.min).all()


def test_time_axes_are_seconds(stream: Stream) -> None:
    """Relative time counts from the start of the run, wall time from 1970."""
    run = stream.store.runs.row(stream.principal, "run_a")
    assert run is not None
    began = run["startedAtMs"]
    stream.send(*[Metrics((began + 500 * n) * 1_000_000, n, {"loss": 1.0}) for n in range(4)])
    (relative,) = stream.store.series.buckets(["run_a"], ["loss"], x="relative", buckets=10, start=0.5, end=None)
    (wall,) = stream.store.series.buckets(["run_a"], ["loss"], x="wall", buckets=10, start=None, end=None)
    assert relative.x.tolist() == [0.5, 1.0, 1.5]
    assert wall.x[0] == began / 1000


def test_buckets_of_huge_numbers_stay_finite() -> None:
    """The mean of finite values is finite even when their sum is not; an empty range is empty."""
    x = np.arange(1000.0)
    values = np.full(1000, 1.7e308)
    count, _, low, high, mean, last = summarise(x, values, 10, None, None)
    assert count == 1000 and np.isfinite([low, high, mean, last]).all()
    assert summarise(x, values, 10, 5.5, 5.4)[0] == 0
    assert summarise(x, values, 10, -1e308, 1e308)[0] == 1000


def test_keys_are_listed_by_name_up_to_a_limit(stream: Stream) -> None:
    """Compacted or not, the first by name are listed."""
    engine = stream.store._engine
    stream.send(Metrics(0, 0, {f"k{n:02}": 1.0 for n in range(0, 40, 2)}))
    compact(engine, "run_a")
    stream.send(Metrics(0, 1, {f"k{n:02}": 1.0 for n in range(40)}))
    names = [item["metricKey"] for item in stream.store.series.keys("run_a", 7)]
    assert names == [f"k{n:02}" for n in range(7)]
    assert [item["count"] for item in stream.store.series.keys("run_a", 3)] == [2, 1, 2]


def test_a_crash_at_any_step_of_the_compactor_loses_and_doubles_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every point is there once: after the crash, after the pass that follows it, and with what comes later."""
    monkeypatch.setattr("rundial.server.store.compactor.SWAP_KEYS", 1)  # a transaction for each key
    write, left = engine.write, [0]

    def crashing(fn: Callable[[Any], Any], *arguments: Any, **options: Any) -> Any:
        return write(lambda db: fn(Crashing(db, left)), *arguments, **options)

    def records(first: int) -> list[Metrics]:
        return [
            Metrics(step * 1_000_000, step, {"a": step / 3, "b": f"text {step}"}) for step in range(first, first + 9)
        ]

    crashes = 0
    while True:
        run_id = f"run_{crashes}"
        put(engine, records(0), run_id)
        compact(engine, run_id)
        put(engine, records(9), run_id)
        left[0] = crashes
        with monkeypatch.context() as patched:
            patched.setattr(engine, "write", crashing)
            try:
                compact(engine, run_id)
                break
            except Crash:
                crashes += 1
        wanted = [(step, step, step / 3) for step in range(18)]
        assert read(engine, "a", run_id) == wanted
        assert {it["count"] for it in Series(engine).keys(run_id, 10)} == {18}
        compact(engine, run_id)
        put(engine, records(18), run_id)
        compact(engine, run_id)
        assert read(engine, "a", run_id) == [(step, step, step / 3) for step in range(27)]
        assert {it["count"] for it in Series(engine).keys(run_id, 10)} == {27}
    assert crashes > 5


def test_the_compactor_empties_the_inbox_of_an_ended_run(stream: Stream) -> None:
    """Beside ingest, without being asked."""
    stream.log(1, loss=0.5)
    stream.send(RunEnd(time.time_ns(), "completed"))
    end = time.monotonic() + 20
    while count_of(stream.store._engine, "inbox") and time.monotonic() < end:
        time.sleep(0.05)
    assert count_of(stream.store._engine, "inbox") == 0
    assert read(stream.store._engine, "loss")[0][2] == 0.5
