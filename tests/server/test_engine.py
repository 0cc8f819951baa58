"""The database engine: group commit, isolation of failures, one process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rundial.server.store.engine import Engine, StoreError
from rundial.server.store.schema import migrate


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "rundial.db")
    engine.write(lambda db: db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)").rowcount).result()
    yield engine
    engine.close()


def add(db: sqlite3.Connection, body: str = "note") -> int:
    return db.execute("INSERT INTO notes (body) VALUES (?)", (body,)).rowcount


def bodies(engine: Engine) -> list[str]:
    with engine.read() as db:
        return [row[0] for row in db.execute("SELECT body FROM notes ORDER BY id")]


def test_what_is_written_can_be_read(engine: Engine) -> None:
    """A resolved future means a committed row, seen by every reader."""
    assert engine.write(add).result() == 1
    assert bodies(engine) == ["note"]


def test_a_function_that_fails_costs_only_itself(engine: Engine) -> None:
    """In a group one failure is undone alone, and its caller gets the very exception."""
    gate = threading.Event()
    engine.write(lambda db: gate.wait(10))

    def fail(db: sqlite3.Connection) -> None:
        add(db, "half done")
        raise KeyError("mine")

    futures = [
        engine.write(lambda db: add(db, "before")),
        engine.write(fail),
        engine.write(lambda db: add(db, "after")),
    ]
    gate.set()
    with pytest.raises(KeyError, match="mine"):
        futures[1].result()
    assert [futures[0].result(), futures[2].result()] == [1, 1]
    assert bodies(engine) == ["before", "after"]


def test_a_function_that_fails_alone_leaves_nothing(engine: Engine) -> None:
    """Alone in its transaction it is undone with it, its caller gets the very exception, and writing goes on."""

    def fail(db: sqlite3.Connection) -> None:
        add(db, "half done")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        engine.write(fail).result()
    assert engine.write(add).result() == 1
    assert bodies(engine) == ["note"]


def test_a_full_disk_fails_the_group_and_not_the_thread(engine: Engine) -> None:
    """Nothing of the group is kept, every caller hears why, and writing goes on once there is room."""
    pages = engine.write(lambda db: db.execute("PRAGMA page_count").fetchone()[0]).result()
    engine.write(lambda db: db.execute(f"PRAGMA max_page_count={pages}").fetchone()).result()
    gate = threading.Event()
    engine.write(lambda db: gate.wait(10))
    futures = [engine.write(add), engine.write(lambda db: add(db, "x" * 100_000))]
    gate.set()
    for future in futures:
        with pytest.raises(StoreError, match="full"):
            future.result()
    engine.write(lambda db: db.execute("PRAGMA max_page_count=1000000").fetchone()).result()
    assert engine.write(add).result() == 1
    assert bodies(engine) == ["note"]


def test_listeners_hear_after_the_commit(engine: Engine) -> None:
    """``then`` sees the row committed, is not called for a failure, and may fail without harm."""
    heard: list[object] = []
    engine.write(add, lambda result: heard.append((result, bodies(engine)))).result()
    with pytest.raises(ZeroDivisionError):
        engine.write(lambda db: 1 / 0, heard.append).result()
    assert engine.write(add, lambda result: [][result]).result() == 1
    assert heard == [(1, ["note"])]


def test_a_reader_keeps_its_snapshot(engine: Engine) -> None:
    """Inside one block nothing changes, nested blocks included."""
    with engine.read() as db:
        assert db.execute("SELECT count(*) FROM notes").fetchone() == (0,)
        engine.write(add).result()
        assert bodies(engine) == []
    assert bodies(engine) == ["note"]


def test_readers_cannot_write(engine: Engine) -> None:
    """The only way to change anything is the writer."""
    with pytest.raises(sqlite3.OperationalError, match="readonly"), engine.read() as db:
        add(db)


def test_a_second_server_is_told_who_holds_the_folder(engine: Engine, tmp_path: Path) -> None:
    """One process per folder; the lock goes with the engine."""
    with pytest.raises(StoreError, match="another server"):
        Engine(tmp_path / "rundial.db")
    engine.close()
    Engine(tmp_path / "rundial.db").close()


def test_a_closed_engine_says_so(engine: Engine) -> None:
    """What was queued is committed by close(); later calls are refused."""
    last = engine.write(add)
    engine.close()
    assert last.result() == 1
    with pytest.raises(StoreError, match="closed"):
        engine.write(add)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """A file that is no database is an error with a way out, and the folder is free again."""
    (tmp_path / "rundial.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="cannot be opened"):
        Engine(tmp_path / "rundial.db")
    (tmp_path / "rundial.db").unlink()
    Engine(tmp_path / "rundial.db").close()


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    """The error says which folder and what to do."""
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreError, match=r"cannot be used.*Choose another"):
        Engine(tmp_path / "data" / "rundial.db")


def test_migrations_run_once_and_a_newer_database_is_refused(engine: Engine) -> None:
    """Opening again changes nothing; a database from the future is left alone."""
    migrate(engine)
    migrate(engine)
    engine.write(lambda db: db.execute("INSERT INTO migrations VALUES (999, 0)").rowcount).result()
    with pytest.raises(StoreError, match="newer version"):
        migrate(engine)


def test_unused_pages_go_back_to_the_file_system(engine: Engine) -> None:
    """After much was deleted the database shrinks, a little at a time, and keeps what is left."""
    engine.write(lambda db: [add(db, "x" * 100_000) for _ in range(100)]).result()
    engine.write(lambda db: db.execute("DELETE FROM notes WHERE id > 1").rowcount).result()
    with engine.read() as db:
        before = db.execute("PRAGMA page_count").fetchone()[0]
    for _ in range(10):
        engine.tidy()
    with engine.read() as db:
        assert db.execute("PRAGMA page_count").fetchone()[0] < before / 4
    assert bodies(engine) == ["x" * 100_000]
