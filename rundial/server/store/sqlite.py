"""SQLite behind the engine: a file in WAL mode, in the hands of one process."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from rundial.server.store.engine import Db, StoreError

log = logging.getLogger(__name__)

BUSY_MILLISECONDS = 10_000
WAL_KEEP_BYTES = 16 * 1024 * 1024
CHECKPOINT_PAGES = 4096
"""Pages in the WAL before it is copied back: of a page that changed several times only the last state is copied."""
SPARE_PAGES = 64
TIDY_PAGES = 512


class Sqlite:
    """A database file whose commits are durable (``synchronous=FULL``).

    Args:
        path: the file; its folder is created and locked against a second process.

    Raises:
        StoreError: the folder cannot be used, another process holds it, or the file is no database.
    """

    # AUTOINCREMENT: an id is never used again.
    types = {"serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "bytes": "BLOB", "inbox_key": ""}
    shared = False
    error = sqlite3.Error

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_file = hold_folder(path.parent)
        try:
            self._writer = self._connect(f"{path.resolve().as_uri()}?mode=rwc")
            self._writer.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of an existing file this changes nothing
            self._writer.execute("PRAGMA journal_mode=WAL")
            self._writer.execute("PRAGMA synchronous=FULL")
            self._writer.execute("PRAGMA foreign_keys=ON")
            self._writer.execute(f"PRAGMA journal_size_limit={WAL_KEEP_BYTES}")
            self._writer.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        except sqlite3.Error as error:
            os.close(self._lock_file)
            raise StoreError(f"{path} cannot be opened: {error}. Restore it from a backup or move it away.") from error
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._closed = False

    def begin(self, holds: Sequence[str] | None) -> Db:
        """Begin the writer's transaction: nobody else writes to the file."""
        self._writer.execute("BEGIN IMMEDIATE")
        return self._writer

    def commit(self) -> None:
        self._writer.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if it is not gone already."""
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error as error:
            log.error("a rollback failed: %s", error)

    def is_fatal(self, error: BaseException) -> bool:
        """Disk full, I/O error, damaged file: no fault of one function, so its group must not go on."""
        code = getattr(error, "sqlite_errorcode", None)
        fatal = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT)
        return not self._writer.in_transaction or (code is not None and code & 0xFF in fatal)

    def asks_again(self, error: BaseException) -> bool:
        """Never: there is no other writer."""
        return False

    @contextmanager
    def read(self) -> Iterator[Db]:
        """This thread's read-only connection, at one snapshot."""
        db = self._reader()
        if db.in_transaction:
            yield db
            return
        db.execute("BEGIN")
        try:
            yield db
        finally:
            db.execute("ROLLBACK")

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Always: there is one process."""
        yield True

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Nothing to keep out."""
        yield

    def messenger(
        self, messages: Callable[[], list[str]], heard: Callable[[str], None], missed: Callable[[], None]
    ) -> None:
        """None: there is nobody to talk to."""
        return None

    def tidy(self, write: Callable[[Callable[[Db], None]], Future[None]]) -> None:
        """Give a few unused pages back to the file system, if there are many."""
        with self.read() as db:
            unused = db.execute("PRAGMA freelist_count").fetchone()[0]
            pages = db.execute("PRAGMA page_count").fetchone()[0]
        if unused > max(SPARE_PAGES, pages // 20):
            write(_release_pages).result()

    def close(self) -> None:
        """Close every connection and give up the folder."""
        with self._guard:
            self._closed = True
        for db in self._readers:
            db.close()
        self._writer.close()
        os.close(self._lock_file)

    def _reader(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            with self._guard:
                if self._closed:
                    raise StoreError("the store is closed. Start the server again.")
                db = self._connect(f"{self._path.resolve().as_uri()}?mode=ro")
                self._readers.append(db)
            self._local.db = db
        return db

    def _connect(self, uri: str) -> sqlite3.Connection:
        # Transactions are begun by hand; threads never share a connection at the same time.
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256)
        db.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        # SQLite's own lower() knows ASCII only.
        db.create_function("lower", 1, _lower, deterministic=True)
        return db


def _release_pages(db: Db) -> None:
    # The driver takes but one step of this statement, which frees one page.
    for _ in range(TIDY_PAGES):
        db.execute("PRAGMA incremental_vacuum")


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def hold_folder(folder: Path) -> int:
    """Create ``folder`` if need be and lock it for this process; the descriptor holds the lock until it is closed.

    Raises :class:`StoreError` when it cannot be created or written, or another server holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"the data folder {folder} cannot be used: {error.strerror}. Choose another or mend its permissions."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(
            f"another server is using the data folder {folder}. Stop it, or choose another folder."
        ) from error
    return descriptor
