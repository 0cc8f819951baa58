"""The database: one writer thread with group commit, any number of readers, one process.

Everything particular to SQLite lives here, so that another engine can stand behind the same class: the rest of the
store writes plain SQL with ``?`` placeholders and ``ON CONFLICT`` upserts.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from rundial.errors import RundialError

log = logging.getLogger(__name__)
T = TypeVar("T")

GROUP_LIMIT = 256
"""Functions that share one commit at most: more would keep the first of them waiting."""
BUSY_MILLISECONDS = 10_000
WAL_KEEP_BYTES = 16 * 1024 * 1024
CHECKPOINT_PAGES = 4096
"""Pages in the WAL before it is copied back: of a page that changed several times only the last state is copied."""
SPARE_PAGES = 64
TIDY_PAGES = 512

COLUMN_TYPES = {"serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "bytes": "BLOB"}
"""The names ``schema.py`` uses for what engines spell differently. AUTOINCREMENT: an id is never used again."""


class StoreError(RundialError):
    """The store could not be opened or written. Of a group that fails nothing is kept, so it can be sent again."""


class _Job(Generic[T]):
    """One function on its way through the writer, and the promise of its result."""

    __slots__ = ("error", "fn", "future", "result", "then")

    def __init__(self, fn: Callable[[sqlite3.Connection], T], then: Callable[[T], None] | None) -> None:
        self.fn = fn
        self.then = then
        self.future: Future[T] = Future()
        self.result: T | None = None
        self.error: BaseException | None = None


class Engine:
    """A SQLite database in WAL mode whose commits are durable when a future resolves (``synchronous=FULL``).

    Args:
        path: the database file; its folder is created and locked against a second process.

    Raises:
        StoreError: the folder cannot be used, another process holds it, or the file is no database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_file = hold(path.parent)
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
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="rundial-store-writer", daemon=True)
        self._thread.start()

    def write(self, fn: Callable[[sqlite3.Connection], T], then: Callable[[T], None] | None = None) -> Future[T]:
        """Run ``fn(connection)`` on the writer thread, in one transaction with whatever else waits there.

        The future resolves after the commit. A function that raises is undone alone and its future gets what it
        raised; an error of the database fails the whole group with :class:`StoreError`. ``then(result)`` is called
        on the writer thread between the commit and the resolution.
        """
        job = _Job(fn, then)
        with self._guard:
            if self._closed:
                raise StoreError("the store is closed. Start the server again.")
            self._jobs.put(job)
        return job.future

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """This thread's read-only connection, held at one snapshot for the length of the block. May be nested."""
        db = self._reader()
        if db.in_transaction:
            yield db
            return
        db.execute("BEGIN")
        try:
            yield db
        finally:
            db.execute("ROLLBACK")

    def tidy(self) -> None:
        """Give a few unused pages back to the file system, if there are many. For when there is little else to do."""
        with self.read() as db:
            unused = db.execute("PRAGMA freelist_count").fetchone()[0]
            pages = db.execute("PRAGMA page_count").fetchone()[0]
        if unused > max(SPARE_PAGES, pages // 20):
            self.write(_release_pages).result()

    def close(self) -> None:
        """Commit what waits, stop the writer, close every connection, give up the folder. May be called twice."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._thread.join()
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

    def _work(self) -> None:
        open_for_work = True
        while open_for_work:
            job = self._jobs.get()
            group: list[_Job[Any]] = []
            while job is not None:
                if job.future.set_running_or_notify_cancel():
                    group.append(job)
                if len(group) == GROUP_LIMIT:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            open_for_work = job is not None
            if group:
                self._commit(group)

    def _commit(self, group: list[_Job[Any]]) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for job in group:
                self._attempt(job)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            log.error("a commit failed: %s", error)
            for job in group:
                problem = StoreError(f"the store could not write: {error}. Nothing was kept; make room and send again.")
                problem.__cause__ = error
                job.future.set_exception(problem)
            return
        for job in group:
            self._announce(job)

    def _attempt(self, job: _Job[Any]) -> None:
        """One function inside its savepoint. Raises sqlite3.Error when the transaction as a whole is gone."""
        self._writer.execute("SAVEPOINT job")
        try:
            job.result = job.fn(self._writer)
        except BaseException as error:  # it belongs to the caller, who gets it through the future
            if not self._writer.in_transaction or _is_fatal(error):
                raise sqlite3.OperationalError(str(error)) from error
            job.error = error
            self._writer.execute("ROLLBACK TO job")
        self._writer.execute("RELEASE job")

    def _announce(self, job: _Job[Any]) -> None:
        if job.error is not None:
            job.future.set_exception(job.error)
            return
        if job.then is not None:
            try:
                job.then(job.result)
            except Exception:  # what is committed is committed, whatever a listener does with it
                log.exception("a listener failed after a commit")
        job.future.set_result(job.result)

    def _undo(self) -> None:
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error as error:
            log.error("a rollback failed: %s", error)


def _release_pages(db: sqlite3.Connection) -> None:
    # The driver takes but one step of this statement, which frees one page.
    for _ in range(TIDY_PAGES):
        db.execute("PRAGMA incremental_vacuum")


def _is_fatal(error: BaseException) -> bool:
    """Disk full, I/O error, damaged file: no fault of one function, so its group must not go on."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT)


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def hold(folder: Path) -> int:
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
