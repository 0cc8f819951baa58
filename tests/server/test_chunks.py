"""A bit that flips in a stored number is found, and never becomes a wrong point."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rundial.events import Metrics
from rundial.server.store import Store, chunks
from rundial.server.store.check import Report, check
from rundial.server.store.compactor import compact
from rundial.server.store.engine import Db
from rundial.server.store.looking import looking
from rundial.wire import encode
from tests.server.streams import Stream

COUNT = 2_000
JOINING = 1_000
"""So many join the numbers that are there already, while texts have a chunk of their own."""
NOISE = np.random.default_rng(7).standard_normal(2 * COUNT)
"""Mantissas that do not compress, so that they are stored as they are."""
Database = Callable[[Path], str | None]


@pytest.fixture
def store(tmp_path: Path, open_store: Callable[[Path], Store]) -> Store:
    """A run with two chunks of noise and one of texts."""
    store = open_store(tmp_path)
    store._compactor.stop()
    stream = Stream(store)
    stream.start()
    log(stream, 0)
    return store


def log(stream: Stream, begin: int, count: int = COUNT) -> None:
    """Points into a chunk of their own, unless they join the one before."""
    for step in range(begin, begin + count, 100):
        stream.send_raw(*(record(n) for n in range(step, min(step + 100, begin + count))))
    while compact(stream.store._engine, stream.run_id):
        pass


def record(step: int) -> bytes:
    return encode(Metrics(step * 1_000_000, step, {"noise": float(NOISE[step]), "text": f"word {step % 7}"}))


def change(store: Store, work: Callable[[Db], Any]) -> Any:
    return store._engine.write(work).result()


def flip(store: Store, column: str, key: str = "noise", bit: int = 8 * 4000 + 3) -> None:
    """Turn over one bit of a column of the key's first chunk, in the database."""

    def work(db: Db) -> None:
        key_id = db.execute("SELECT key_id FROM metric_keys WHERE run_id = 'run_a' AND name = ?", (key,)).fetchone()[0]
        where = "WHERE run_id = 'run_a' AND key_id = ? AND place = 0"
        data = bytearray(db.execute(f"SELECT {column} FROM chunks {where}", (key_id,)).fetchone()[0])
        data[bit // 8 % len(data)] ^= 1 << bit % 8
        assert db.execute(f"UPDATE chunks SET {column} = ? {where}", (bytes(data), key_id)).rowcount == 1

    change(store, work)


def unseal(store: Store) -> None:
    """As an earlier version wrote it."""
    change(store, lambda db: db.execute("UPDATE chunks SET crcs = NULL").rowcount)


def checked(folder: Path, url: str | None) -> Report:
    with looking(folder, url) as read:
        return check(read, folder, is_sqlite=url is None)


def points(store: Store, key: str = "noise") -> dict[int, Any]:
    """Step and value of all that is read of a key."""
    (series,) = store.series.points("run_a", [key], max_points=None, order="asc")
    return {point["step"]: point["value"] for point in series["points"]}


@pytest.mark.parametrize("column", ["steps", "times", "vals", "crcs"])
@pytest.mark.parametrize("key", ["noise", "text"])
def test_a_flipped_bit_is_found(store: Store, tmp_path: Path, database: Database, column: str, key: str) -> None:
    """In whichever column of whichever kind of metric; before it there is nothing to find."""
    assert checked(tmp_path, database(tmp_path)).problems == []

    flip(store, column, key)

    (problem,) = checked(tmp_path, database(tmp_path)).problems
    named = "labels" if column == "crcs" else column  # it is the first of them that has turned over
    assert problem.place == "run run_a" and f"damaged: {named} are not what was written" in problem.text


@pytest.mark.parametrize("column", ["steps", "times", "vals"])
def test_a_damaged_chunk_is_left_out(store: Store, column: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is read are the points of the others, as they were logged; it is counted and said once."""
    stream = Stream(store)
    stream.start(resume="must")
    log(stream, COUNT)
    assert points(store) == dict(enumerate(NOISE))
    chunks._damaged._known.clear()

    flip(store, column)
    with caplog.at_level(logging.ERROR, logger=chunks.__name__):
        found = points(store)
        again = points(store)
    (buckets,) = store.series.buckets(["run_a"], ["noise"], x="relative", buckets=10_000, start=None, end=None)
    rows = store.exports.metrics("run_a", ["noise"], 0, 2**53, 10_000, None)["rows"]

    assert found == again == dict(zip(range(COUNT, 2 * COUNT), NOISE[COUNT:]))
    assert buckets.last.tolist() == NOISE[COUNT:].tolist()
    assert {row["step"]: row["value"] for row in rows} == found
    assert store.vitals.gauges().damaged_chunks == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"of run run_a is damaged and left out: {column} are not what was written" in line


def test_new_points_do_not_join_a_damaged_chunk(store: Store, tmp_path: Path, database: Database) -> None:
    """It stays as it is, to be found, and what comes later is whole and read."""
    flip(store, "vals")
    stream = Stream(store)
    stream.start(resume="must")
    log(stream, COUNT, JOINING)

    assert points(store) == dict(zip(range(COUNT, COUNT + JOINING), NOISE[COUNT:]))
    (problem,) = checked(tmp_path, database(tmp_path)).problems
    assert "chunk 0 of metric" in problem.text and "is damaged" in problem.text


def test_what_an_earlier_version_wrote_has_no_checksum(store: Store, tmp_path: Path, database: Database) -> None:
    """It is read as ever, the check says how much there is of it, and what joins it is sealed."""
    unseal(store)
    report = checked(tmp_path, database(tmp_path))
    assert (report.problems, report.counts.chunks_unsealed, report.counts.chunks) == ([], 2, 2)
    assert points(store) == dict(enumerate(NOISE[:COUNT]))

    stream = Stream(store)
    stream.start(resume="must")
    log(stream, COUNT, JOINING)

    report = checked(tmp_path, database(tmp_path))
    assert report.problems == [] and report.counts.chunks_unsealed == 1
    assert points(store) == dict(enumerate(NOISE[: COUNT + JOINING]))


def test_what_has_no_checksum_and_cannot_be_unpacked_is_left_out(store: Store) -> None:
    """By readers of every kind, and by the compactor."""
    unseal(store)
    change(store, lambda db: db.execute("UPDATE chunks SET steps = substr(steps, 1, 3)").rowcount)
    stream = Stream(store)
    stream.start(resume="must")
    log(stream, COUNT, JOINING)

    assert points(store) == dict(zip(range(COUNT, COUNT + JOINING), NOISE[COUNT:]))
    assert set(points(store, "text")) == set(range(COUNT, COUNT + JOINING))
    assert len(store.exports.metrics("run_a", None, 0, 2**53, 10_000, None)["rows"]) == 2 * JOINING


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_each_bit_that_flips_in_the_file_is_found(store: Store, tmp_path: Path, database: Database) -> None:
    """In the bytes of the file itself, where a disk would turn it over: 40 of the noise, one after the other."""
    with store._engine.read() as db:
        vals = max((row[0] for row in db.execute("SELECT vals FROM chunks WHERE run_id = 'run_a'")), key=len)
    store.close()
    path = tmp_path / "rundial.db"
    whole = path.read_bytes()
    # A row this long lies on pages of its own, a piece of the noise on each.
    places = [at for n in range(0, len(vals) - 64, 300) if (at := whole.find(vals[n : n + 64])) > 0]
    assert len(places) >= 40
    for number, place in enumerate(places[:40]):
        damaged = bytearray(whole)
        damaged[place + number] ^= 1 << number % 8
        path.write_bytes(damaged)
        assert [problem.place for problem in checked(tmp_path, None).problems] == ["run run_a"], place
