"""A server and its database for the time of a block, what the two cost, and who else was busy meanwhile."""

from __future__ import annotations

import os
import resource
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from rundial_server import Server, server  # noqa: E402 - the checkout this file stands in comes first
from scenarios import folder_bytes  # noqa: E402

from tests.server.postgres import Cluster, why_not  # noqa: E402

ENGINES = ("sqlite", "postgres")
IDLE_SECONDS = 6.0
"""The compactor looks at every inbox within five seconds; a server silent for longer has nothing left to do."""
SETTLE_SECONDS = 600.0
DURABLE = ("max_connections=100", "shared_buffers=512MB", "max_wal_size=4GB", "track_commit_timestamp=on")
"""PostgreSQL's own defaults, which wait for the disk, but for these."""


class Place(NamedTuple):
    """Where a server keeps its data: a folder, and for PostgreSQL an address and the first process of the database."""

    engine: str
    data: Path
    home: Path
    database: str | None = None
    postmaster: int | None = None

    def options(self) -> list[str]:
        """What ``rundial server`` is to be told of it."""
        return [] if self.database is None else ["--database", self.database]


@contextmanager
def place(engine: str) -> Iterator[Place]:
    """An empty place for the time of a block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True)))
        at = Place(engine, folder / "data", folder / "home")
        if engine == "postgres":
            cluster = stack.enter_context(Cluster(DURABLE))
            at = at._replace(database=cluster.empty(), postmaster=_postmaster(cluster.url("postgres")))
        yield at


@contextmanager
def serving(at: Place, servers: int = 1, options: Sequence[str] = ()) -> Iterator[list[Server]]:
    """Server processes on that place, each on a port of its own."""
    with ExitStack() as stack:
        yield [stack.enter_context(server(at.data, at.home, [*at.options(), *options])) for _ in range(servers)]


def available(engines: str) -> list[str]:
    """The engines of a comma list that can run here; the others are named on stderr."""
    chosen = [it for it in engines.split(",") if it]
    if unknown := set(chosen) - set(ENGINES):
        sys.exit(f"{', '.join(sorted(unknown))}: no such engine. There are {', '.join(ENGINES)}.")
    reason = why_not()
    if "postgres" in chosen and reason is not None:
        print(f"postgres is left out: {reason}", file=sys.stderr)
        chosen.remove("postgres")
    return chosen


def _postmaster(url: str) -> int:
    import psycopg

    with psycopg.connect(url) as db:
        row = db.execute("SHOW data_directory").fetchone()
    assert row is not None
    return int((Path(row[0]) / "postmaster.pid").read_text().split()[0])


# -- what it costs --------------------------------------------------------------------------------------------------


class Cpu(NamedTuple):
    """Seconds of CPU time, in user and kernel mode together."""

    server: float
    database: float
    clients: float
    machine: float

    @property
    def both(self) -> float:
        """Of server and database."""
        return self.server + self.database

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(*(now - before for now, before in zip(self, other)))

    @property
    def others(self) -> float:
        """What nobody here has used."""
        return max(0.0, self.machine - self.both - self.clients)


def cpu(at: Place, servers: Sequence[Server]) -> Cpu:
    """CPU time used so far. That of a client counts once it has ended and was waited for."""
    busy = psutil.cpu_times()
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Cpu(
        sum(_family_seconds(one.pid) for one in servers),
        _family_seconds(at.postmaster) if at.postmaster is not None else 0.0,
        own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime,
        sum(busy) - busy.idle - busy.iowait - busy.guest - busy.guest_nice,
    )


def _family_seconds(pid: int) -> float:
    """CPU time of a process, of the children it has and of those that have ended."""
    total = 0.0
    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:  # it has ended, and its parent has its time
            continue
        total += used.user + used.system
        if process is parent:
            total += used.children_user + used.children_system
    return total


def settle(at: Place, servers: Sequence[Server]) -> float:
    """Wait until the servers have been idle for a while. Returns the moment when they last had something to do."""
    begin = busy = time.perf_counter()
    used = cpu(at, servers).server
    while time.perf_counter() - busy < IDLE_SECONDS and time.perf_counter() - begin < SETTLE_SECONDS:
        time.sleep(0.5)
        now = cpu(at, servers).server
        if now - used > 0.05 or waiting(at):
            busy = time.perf_counter()
        used = now
    return busy


def waiting(at: Place) -> bool:
    """Whether there are points that have not been compacted."""
    if at.database is None:
        with closing(sqlite3.connect(next(at.data.glob("*.db")))) as file:
            return file.execute("SELECT 1 FROM inbox LIMIT 1").fetchone() is not None
    import psycopg

    with psycopg.connect(at.database) as db:
        return db.execute("SELECT 1 FROM inbox LIMIT 1").fetchone() is not None


class Bytes(NamedTuple):
    """What lies on the disk: all of it, what of it holds something, and what was written to PostgreSQL's own log."""

    disk: int
    used: int
    log: int


def stored(at: Place) -> Bytes:
    """Bytes on the disk. Where there is room for the next points, it is not *used*."""
    if at.database is None:
        with closing(sqlite3.connect(next(at.data.glob("*.db")))) as file:
            pages, free, size = (
                file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
            )
        return Bytes(folder_bytes(at.data), (pages - free) * size, 0)
    import psycopg

    with psycopg.connect(at.database, autocommit=True) as db:
        row = db.execute(
            "SELECT pg_database_size(current_database()),"
            " (SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname <> 'inbox'"
            " AND relnamespace = 'public'::regnamespace), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
        ).fetchone()
    assert row is not None
    return Bytes(*map(int, row))


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which ``part`` (0 to 1) of the values lie."""
    return float(np.quantile(values, part))


def synced_write_ms(folder: Path, writes: int = 100) -> tuple[float, float]:
    """What a write of 4 KB with fsync takes on this disk, in milliseconds: median and the slowest in a hundred."""
    path = folder / "synced"
    took: list[float] = []
    with path.open("wb", buffering=0) as file:
        for _ in range(writes):
            begin = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
            took.append((time.perf_counter() - begin) * 1e3)
    path.unlink()
    return percentile(took, 0.5), percentile(took, 0.99)
