"""The check finds each kind of damage, and none where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rundial.events import Metrics
from rundial.server.store.check import Report, check
from rundial.server.store.compactor import compact
from rundial.server.store.engine import StoreError
from rundial.server.store.looking import looking
from rundial.wire import Chunk, encode, pack_chunk
from tests.server.conftest import RunningServer, Sender, serving
from tests.server.test_backup import fill, flip, run_command

one_engine = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
Database = Callable[[Path], str | None]


def checked(server: RunningServer, data: Path, url: str | None, quick: bool = False) -> Report:
    with looking(data, url) as read:
        return check(read, data, is_sqlite=url is None, quick=quick)


def texts(report: Report) -> str:
    return "\n".join(f"{problem.place}: {problem.text}" for problem in report.problems)


def test_a_busy_store_is_whole(tmp_path: Path, database: Database) -> None:
    """With records in the inbox, compacted ones, refused and repeated ones, texts, logs, files and JSON clients."""
    with serving(tmp_path, database(tmp_path)) as server:
        fill(server, "run_a")
        sender = Sender(server, "run_b", project="default-project")
        sender.start()
        sender.log(0, loss=1.0)
        bad = encode(Metrics(time.time_ns(), 1, {"loss": 1.0})).replace(b"loss", b"\xff\xff\xff\xff")
        sender.post(pack_chunk(Chunk(sender.stream, sender.next, 1, bad)))
        sender.next += 1
        sender.send(Metrics(time.time_ns(), 2, {"loss": float("nan"), "text": "a", "both": 1.0}))
        sender.send(Metrics(time.time_ns(), 2, {"both": "a text now", "loss": 3.0}), first=sender.next - 1)
        compact(server.store._engine, "run_b")
        sender.log(3, loss=2.0)
        started = server.post(
            "/api/v1/runs/start", json={"projectSlug": "default-project", "runName": "from curl"}
        ).json()
        point = {"key": "m", "points": [{"step": 1, "timeMs": 1_700_000_000_000, "value": 1.5}]}
        server.post("/api/v1/ingest/metrics", json={"runId": started.get("runId"), "series": [point]})

        report = checked(server, tmp_path, database(tmp_path))

    assert report.problems == []
    assert (report.counts.runs, report.counts.blobs, report.counts.log_lines) >= (2, 2, 300)
    assert report.counts.points >= 1000


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Any:
    """A server with a compacted run, its folder, and what checks it."""
    with serving(tmp_path, database(tmp_path)) as server:
        server.store._compactor.stop()
        fill(server)
        while compact(server.store._engine, "run_a"):
            pass
        yield server, tmp_path, lambda quick=False: texts(checked(server, tmp_path, database(tmp_path), quick))


DAMAGES = {
    "a chunk is gone": ("DELETE FROM chunks WHERE key_id = 1", "do not have the"),
    "a metric is gone": ("DELETE FROM metric_keys WHERE key_id = 1", "of a metric 1 that is not there"),
    "points are gone": ("UPDATE runs SET points = points + 1", "1001 points were taken in, 1000 are there"),
    "a chunk is cut": ("UPDATE chunks SET steps = substr(steps, 1, 3) WHERE key_id = 1", "is damaged"),
    "a chunk has other steps": ("UPDATE chunks SET max_step = 9999", "is not what is noted of it"),
    "a log is cut": ("UPDATE log_blobs SET data = substr(data, 1, 9)", "its log is damaged from line 1 on"),
    "records are unaccounted for": ("UPDATE streams SET next_seq = next_seq + 7", "are accounted for"),
    "a file is unknown": ("DELETE FROM blobs", "was never taken in"),
    "another version's schema": ("INSERT INTO migrations VALUES (999, 0)", "at schema 999"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_the_database_is_found(store: Any, damage: str) -> None:
    """Each kind of it, by name."""
    server, _, check_it = store
    statement, expected = DAMAGES[damage]
    assert check_it() == ""

    server.store._engine.write(lambda db: db.execute(statement)).result()

    found = check_it()
    server.store._engine.write(lambda db: db.execute("DELETE FROM migrations WHERE number = 999")).result()

    assert expected in found


@one_engine
def test_damage_to_a_file_is_found(store: Any, tmp_path: Path) -> None:
    """A byte that changed, a file that is shorter, one that is gone; only the first takes reading it."""
    _, data, check_it = store
    first, second = sorted((data / "blobs").glob("??/*"))
    flip(first, 0)
    assert f"file {first.name}: its content is not what it should be" in check_it()
    assert check_it(quick=True) == ""

    second.chmod(0o600)
    second.write_bytes(b"")
    first.unlink()
    found = check_it(quick=True)
    assert f"file {second.name}: it has 0 bytes" in found
    assert f"file {first.name}: it is not there" in found
    command = run_command("check", "--data", str(data), "--quick")
    assert (command.returncode, "2 problems." in command.stdout) == (1, True)


@one_engine
def test_damage_to_a_page_of_the_file_is_found(tmp_path: Path, database: Database) -> None:
    """By SQLite itself."""
    with serving(tmp_path, None) as server:
        fill(server)
        server.store._engine.write(lambda db: db.execute("DELETE FROM rejected")).result()
    path = tmp_path / "rundial.db"
    data = bytearray(path.read_bytes())
    for page in range(4096 * 5, len(data) - 4096, 4096):
        data[page : page + 8] = b"\xff" * 8
    path.write_bytes(data)

    command = run_command("check", "--data", str(tmp_path))

    assert command.returncode == 1
    assert "Traceback" not in command.stderr


@one_engine
def test_there_has_to_be_a_store(tmp_path: Path, database: Database) -> None:
    """One clear sentence."""
    with pytest.raises(StoreError, match="there is no"), looking(tmp_path, None):
        pass
    assert run_command("check", "--data", str(tmp_path / "none")).stderr.startswith("error: there is no rundial.db")
