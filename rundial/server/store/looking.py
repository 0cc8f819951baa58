"""Looking at a store from outside, whether a server runs on it or not: nothing is locked and nothing is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from rundial.server.store.engine import Db, StoreError, open_backend

DATABASE = "rundial.db"
BUSY_SECONDS = 30.0
Read = Callable[[], AbstractContextManager[Db]]
"""Gives a connection that is held at one snapshot for the length of the block."""


@contextmanager
def looking(data: Path, database: str | None) -> Iterator[Read]:
    """How to read a store: the file in a data folder, or a PostgreSQL database.

    Raises :class:`StoreError` when there is none, or it cannot be reached.
    """
    if database is not None:
        with closing(open_backend(database)) as backend:
            yield backend.read
        return
    with closing(connect(data)) as db:

        @contextmanager
        def read() -> Iterator[Db]:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

        yield read


def connect(data: Path) -> sqlite3.Connection:
    """A connection to the file in a data folder, for reading. Raises :class:`StoreError`."""
    path = data / DATABASE
    if not path.is_file():
        raise StoreError(f"there is no {DATABASE} in {data}. Name the folder with --data, or the --database.")
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_SECONDS)
        db.execute("SELECT count(*) FROM migrations")
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}. Restore it from a backup.") from error
    return db


def place_of_files(db: Db) -> str:
    """Where the files of artifacts and media are: ``disk``, the folder ``blobs``, or the address of a bucket."""
    row = db.execute("SELECT value FROM settings WHERE name = 'blobs'").fetchone()
    return "disk" if row is None else str(row[0])
