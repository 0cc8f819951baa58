"""The database: one writer thread with group commit, any number of readers.

The rest of the store writes plain SQL with ``?`` placeholders and ``ON CONFLICT`` upserts; what is particular to a
database stands in :mod:`sqlite` and :mod:`postgres`. SQLite belongs to one process. PostgreSQL may be shared by
several, each with a writer of its own: whoever says which runs and which project he changes holds those alone until
the commit, whoever does not say holds everything, so that a function may always write what it made of what it has
just read.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from rundial.errors import RundialError

log = logging.getLogger(__name__)
T = TypeVar("T")

GROUP_LIMIT = 256
"""Functions that share one commit at most: more would keep the first of them waiting."""
MOST_HELD = 500
"""Runs, projects and streams that one commit holds; beyond that it holds everything."""
ATTEMPTS = 4
"""How often a group is tried that the database asks to be tried again."""
SCHEMES = ("postgresql://", "postgres://")


class StoreError(RundialError):
    """The store could not be opened or written. Of a group that fails nothing is kept, so it can be sent again."""


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Db(Protocol):
    """A connection inside a transaction; rows are tuples."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Rows: ...

    def executemany(self, sql: str, values: Iterable[Sequence[Any]], /) -> Rows: ...


class Messenger(Protocol):
    """Messages between the processes that share a database; see :class:`bus.Bus`."""

    connected: bool

    def ring(self) -> None: ...

    def close(self) -> None: ...


class Backend(Protocol):
    """A database as the engine needs it. Everything between ``begin`` and ``commit`` is for the writer thread."""

    @property
    def types(self) -> Mapping[str, str]:
        """What ``schema.py`` leaves open because databases spell it differently."""

    @property
    def shared(self) -> bool:
        """Whether other processes may use the database at the same time."""

    @property
    def error(self) -> type[Exception]:
        """What the database raises."""

    def begin(self, holds: Sequence[str] | None) -> Db:
        """Begin the writer's transaction, which holds what has these names alone; None holds everything."""

    def commit(self) -> None: ...

    def rollback(self) -> None:
        """Undo the transaction. Never raises."""

    def is_fatal(self, error: BaseException) -> bool:
        """Whether the error of one function has ended the transaction as a whole."""

    def asks_again(self, error: BaseException) -> bool:
        """Whether the same may succeed when it is tried again."""

    def read(self) -> AbstractContextManager[Db]: ...

    def claim(self, name: str) -> AbstractContextManager[bool]: ...

    def hold(self, name: str) -> AbstractContextManager[None]: ...

    def messenger(
        self, messages: Callable[[], list[str]], heard: Callable[[str], None], missed: Callable[[], None]
    ) -> Messenger | None: ...

    def tidy(self, write: Callable[[Callable[[Db], None]], Future[None]]) -> None: ...

    def close(self) -> None: ...


class _Job(Generic[T]):
    """One function on its way through the writer, and the promise of its result."""

    __slots__ = ("error", "fn", "future", "holds", "result", "then")

    def __init__(self, fn: Callable[[Db], T], then: Callable[[T], None] | None, holds: Sequence[str]) -> None:
        self.fn = fn
        self.then = then
        self.holds = holds
        self.future: Future[T] = Future()
        self.result: T | None = None
        self.error: BaseException | None = None


class Engine:
    """A database whose commits are durable when a future resolves.

    Args:
        place: the file of a SQLite database, whose folder is created and locked against a second process; or the
            address of a PostgreSQL database, ``postgresql://USER@HOST/NAME``.

    Raises:
        StoreError: the folder cannot be used, another process holds it, the file is no database, or the database
            cannot be reached.
    """

    def __init__(self, place: Path | str) -> None:
        self._backend = open_backend(place)
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="rundial-store-writer", daemon=True)
        self._thread.start()

    @property
    def shared(self) -> bool:
        """Whether other processes may use the database at the same time."""
        return self._backend.shared

    @property
    def waiting(self) -> int:
        """How many functions wait for the writer, about."""
        return self._jobs.qsize()

    @property
    def types(self) -> Mapping[str, str]:
        """What ``schema.py`` leaves open because databases spell it differently."""
        return self._backend.types

    @property
    def error(self) -> type[Exception]:
        """What the database raises."""
        return self._backend.error

    def write(
        self,
        fn: Callable[[Db], T],
        then: Callable[[T], None] | None = None,
        *,
        run_id: str | None = None,
        holds: Sequence[str] = (),
    ) -> Future[T]:
        """Run ``fn(connection)`` on the writer thread, in one transaction with whatever else waits there.

        The future resolves after the commit. A function that raises is undone alone and its future gets what it
        raised; an error of the database fails the whole group with :class:`StoreError`. ``then(result)`` is called
        on the writer thread between the commit and the resolution.

        Args:
            fn: may be called again when the database asks for it; what the first call changed there is undone.
            run_id: the one run whose rows ``fn`` reads and writes.
            holds: what else it does, from :func:`the_run` and its like below. Without it and without ``run_id`` no
                other process writes meanwhile.
        """
        job = _Job(fn, then, holds if run_id is None else (the_run(run_id), *holds))
        with self._guard:
            if self._closed:
                raise StoreError("the store is closed. Start the server again.")
            self._jobs.put(job)
        return job.future

    def read(self) -> AbstractContextManager[Db]:
        """This thread's read-only connection, held at one snapshot for the length of the block. May be nested."""
        return self._backend.read()

    def claim(self, name: str) -> AbstractContextManager[bool]:
        """Whether this process alone may do the work of that name for the length of the block; does not wait."""
        return self._backend.claim(name)

    def hold(self, name: str) -> AbstractContextManager[None]:
        """Keep the other processes out of the blocks of that name; waits until they are out. Not to be nested."""
        return self._backend.hold(name)

    def messenger(
        self, messages: Callable[[], list[str]], heard: Callable[[str], None], missed: Callable[[], None]
    ) -> Messenger | None:
        """This process's end of the messages between those that share the database; None where there is but one."""
        return self._backend.messenger(messages, heard, missed)

    def tidy(self) -> None:
        """Give a few unused pages back to the file system, if there are many. For when there is little else to do."""
        self._backend.tidy(self.write)

    def close(self) -> None:
        """Commit what waits, stop the writer, close every connection, give up the folder. May be called twice."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._thread.join()
        self._backend.close()

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
        names = {name for job in group for name in job.holds}
        # The database has room for some thousand locks, of all processes together.
        holds = sorted(names) if all(job.holds for job in group) and len(names) <= MOST_HELD else None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                db = self._backend.begin(holds)
                for job in group:
                    self._attempt(db, job, alone=len(group) == 1)
                if len(group) > 1 or group[0].error is None:
                    self._backend.commit()
            except self._backend.error as error:
                self._backend.rollback()
                if attempt < ATTEMPTS and self._backend.asks_again(error):
                    continue
                log.error("a commit failed: %s", error)
                for job in group:
                    problem = StoreError(
                        f"the store could not write: {error}. Nothing was kept; make room and send again."
                    )
                    problem.__cause__ = error
                    job.future.set_exception(problem)
                return
            break
        for job in group:
            self._announce(job)

    def _attempt(self, db: Db, job: _Job[Any], *, alone: bool) -> None:
        """One function inside its savepoint; one that is alone needs none, and its failure is that of the transaction.

        Raises the database's error when the transaction as a whole is gone.
        """
        job.error = None
        if not alone:
            db.execute("SAVEPOINT job")
        try:
            job.result = job.fn(db)
        except BaseException as error:  # it belongs to the caller, who gets it through the future
            if self._backend.is_fatal(error):
                if isinstance(error, self._backend.error):
                    raise
                raise self._backend.error(str(error)) from error
            job.error = error
            if alone:
                self._backend.rollback()
            else:
                db.execute("ROLLBACK TO job")
        if not alone:
            db.execute("RELEASE job")

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


def the_run(run_id: str) -> str:
    """The name under which :meth:`Engine.write` holds a run: its row, and what has its id."""
    return f"run {run_id}"


def the_project(project_id: str) -> str:
    """The name of what belongs to a project and not to one run: suites and their runs, sweeps."""
    return f"project {project_id}"


def the_stream(stream: str) -> str:
    """The name of a stream of which it is not known yet to which run it belongs."""
    return f"stream {stream}"


def the_key(key_id: str) -> str:
    """The name of an API key's row."""
    return f"key {key_id}"


def open_backend(place: Path | str) -> Backend:
    """SQLite for a path, PostgreSQL for an address. Raises :class:`StoreError`."""
    if isinstance(place, Path):
        from rundial.server.store.sqlite import Sqlite

        return Sqlite(place)
    if not place.startswith(SCHEMES):
        raise StoreError("the database must be an address like postgresql://USER@HOST/NAME.")
    try:
        from rundial.server.store.postgres import Postgres
    except ImportError as error:
        raise StoreError("PostgreSQL needs a driver. Install it: pip install 'rundial[postgres]'.") from error
    return Postgres(place)
