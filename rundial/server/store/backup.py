"""Backing up a store while a server writes to it, and restoring what was backed up.

::

    manifest.json        what it is, written last: without it there is no backup
    rundial.db           SQLite: the database as it was at one moment; PostgreSQL: database.dump, of pg_dump
    owner.key            as secret as the data folder, and so is the backup
    blobs/ab/abcdef…     the files that this database knows

Files are never written again once they are there. So those that are there are copied first, then the database,
then the files that have come since; if one of those that the copy knows has been removed meanwhile, the database is
copied again. Files in S3 stay where they are.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import secrets
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import msgspec

from rundial.server.store import dumps
from rundial.server.store.engine import Db, StoreError
from rundial.server.store.files import copy, new_file, sync
from rundial.server.store.looking import DATABASE, connect, looking, place_of_files
from rundial.version import __version__

FORMAT = 1
MANIFEST = "manifest.json"
DUMP = "database.dump"
KEY = "owner.key"
ARCHIVES = (".tar", ".tar.gz", ".tgz")
ATTEMPTS = 3
Tell = Callable[[str], None]


class Manifest(msgspec.Struct, rename="camel"):
    """What a backup holds. Times are Unix milliseconds, sizes bytes."""

    format: int
    version: str
    created_ms: int
    engine: str
    """``sqlite`` or ``postgres``."""
    schema: int
    database_sha256: str
    runs: int
    points: int
    blobs: int
    blob_bytes: int
    files: str
    """``disk``, or the bucket that the files are in."""
    damaged: list[str] = []
    """Files that the database knows and that were not there, or not what they should be."""


class Sink(Protocol):
    """Where a backup goes."""

    def add(self, name: str, file: IO[bytes], size: int) -> str:
        """Take ``size`` bytes in; their SHA-256."""

    def finish(self) -> None:
        """Make it durable, and let it be seen."""

    def abort(self) -> None:
        """Remove what is there so far."""


class _Folder:
    """A backup as a folder, which gets its name when it is whole."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._draft = _draft_of(target)
        self._draft.mkdir(mode=0o700, parents=True)

    def add(self, name: str, file: IO[bytes], size: int) -> str:
        path = self._draft / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with new_file(path) as out:
            digest = copy(file, out, size)
            out.flush()
            os.fsync(out.fileno())
        return digest

    def finish(self) -> None:
        if self._target.is_dir():
            self._target.rmdir()  # an empty one
        self._draft.rename(self._target)
        sync(self._target.parent)

    def abort(self) -> None:
        shutil.rmtree(self._draft, ignore_errors=True)


class _Archive:
    """A backup as one file."""

    def __init__(self, target: Path, compressed: bool) -> None:
        self._target = target
        self._draft = _draft_of(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._file = new_file(self._draft)
        # Most of it is compressed already, so the quickest level is the right one.
        self._gzip = gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=1) if compressed else None
        self._tar = tarfile.open(fileobj=self._gzip or self._file, mode="w|")  # noqa: SIM115 - closed by finish

    def add(self, name: str, file: IO[bytes], size: int) -> str:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = size, 0o600, int(time.time())
        hashed = _Hashed(file)
        self._tar.addfile(member, hashed)
        return hashed.digest.hexdigest()

    def finish(self) -> None:
        self._tar.close()
        if self._gzip is not None:
            self._gzip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._draft.rename(self._target)
        sync(self._target.parent)

    def abort(self) -> None:
        for part in (self._tar, self._gzip, self._file):
            with suppress(OSError):  # what cannot be written any more is about to be removed
                if part is not None:
                    part.close()
        self._draft.unlink(missing_ok=True)


class _Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


class Snapshot(NamedTuple):
    """A copy of the database, and what is in it."""

    path: Path
    name: str
    engine: str
    blobs: dict[str, int]
    """Sizes by digest."""
    schema: int
    runs: int
    points: int
    files: str


def back_up(data: Path, database: str | None, target: Path, tell: Tell = lambda text: None) -> Manifest:
    """Back up the store of a data folder to a new folder, or to a new file that ends with one of :data:`ARCHIVES`.

    Raises :class:`StoreError`: there is something at ``target``, there is no store, no room, or no ``pg_dump``.
    """
    is_archive = target.name.endswith(ARCHIVES)
    if target.exists() and (is_archive or not target.is_dir() or any(target.iterdir())):
        raise StoreError(f"{target} is there already. Name a new folder or file.")
    sink: Sink | None = None
    try:
        sink = _Archive(target, target.name.endswith("gz")) if is_archive else _Folder(target)
        manifest = _fill(sink, data, database, target.parent, tell)
        sink.finish()
    except BaseException as error:
        if sink is not None:
            sink.abort()
        if isinstance(error, OSError):
            raise StoreError(f"the backup cannot be written: {error}. Nothing is left of it.") from error
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"the database cannot be read: {error}. `rundial server check` says more.") from error
        raise
    return manifest


def _fill(sink: Sink, data: Path, database: str | None, beside: Path, tell: Tell) -> Manifest:
    blobs = data / "blobs"
    copied: dict[str, int] = {}
    damaged: list[str] = []
    with looking(data, database) as read:
        with read() as db:
            on_disk = place_of_files(db) == "disk"
            known = _blobs(db) if on_disk else {}
        tell(f"copying {len(known):,} files")
        _copy_blobs(sink, blobs, known, copied, damaged)
        for attempt in range(1, ATTEMPTS + 1):
            tell("copying the database")
            with _snapshot(data, database, beside) as snapshot:
                wanted = snapshot.blobs if on_disk else {}
                gone = _copy_blobs(sink, blobs, wanted, copied, damaged)
                with read() as db:
                    removed = gone - _blobs(db).keys() if gone else set()
                if removed and attempt < ATTEMPTS:
                    continue  # they were deleted a moment ago, and the copy still speaks of them
                damaged += sorted(gone)
                with snapshot.path.open("rb") as file:
                    digest = sink.add(snapshot.name, file, snapshot.path.stat().st_size)
                break
    if (data / KEY).is_file():
        with (data / KEY).open("rb") as file:
            sink.add(KEY, file, os.fstat(file.fileno()).st_size)
    manifest = Manifest(
        format=FORMAT,
        version=__version__,
        created_ms=time.time_ns() // 1_000_000,
        engine=snapshot.engine,
        schema=snapshot.schema,
        database_sha256=digest,
        runs=snapshot.runs,
        points=snapshot.points,
        blobs=len(copied),
        blob_bytes=sum(copied.values()),
        files=snapshot.files,
        damaged=sorted(set(damaged) & snapshot.blobs.keys()),
    )
    text = msgspec.json.format(msgspec.json.encode(manifest))
    sink.add(MANIFEST, BytesIO(text), len(text))
    return manifest


def _copy_blobs(
    sink: Sink, folder: Path, wanted: dict[str, int], copied: dict[str, int], damaged: list[str]
) -> set[str]:
    """Copy the files that are not copied yet; which are not there. One of the wrong content is copied and named."""
    gone: set[str] = set()
    for digest in sorted(wanted.keys() - copied.keys()):
        try:
            with (folder / digest[:2] / digest).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if sink.add(blob_name(digest), file, size) != digest:
                    damaged.append(digest)
        except FileNotFoundError:
            gone.add(digest)
            continue
        copied[digest] = size
    return gone


@contextmanager
def _snapshot(data: Path, database: str | None, beside: Path) -> Iterator[Snapshot]:
    """A copy of the database in a file of its own, as it was at one moment."""
    path = beside / f".rundial-{secrets.token_hex(8)}.backup"
    try:
        if database is not None:
            with dumps.dump(database, path) as db:
                yield _described(path, DUMP, "postgres", db)
            return
        new_file(path).close()
        with closing(connect(data)) as source, closing(sqlite3.connect(path, isolation_level=None)) as copy:
            source.backup(copy)  # at once: in steps it would begin anew whenever the server has written
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
            yield _described(path, DATABASE, "sqlite", copy)
    finally:
        for leftover in beside.glob(f"{path.name}*"):
            leftover.unlink(missing_ok=True)


def _described(path: Path, name: str, engine: str, db: Db) -> Snapshot:
    schema = db.execute("SELECT max(number) FROM migrations").fetchone()[0] or 0
    runs, points = db.execute("SELECT count(*), sum(points) FROM runs").fetchone()
    return Snapshot(path, name, engine, _blobs(db), schema, runs, int(points or 0), place_of_files(db))


def _blobs(db: Db) -> dict[str, int]:
    return dict(db.execute("SELECT sha256, max(size_bytes) FROM blobs GROUP BY sha256").fetchall())


def blob_name(digest: str) -> str:
    """Where a file is in a backup, as in a data folder."""
    return f"blobs/{digest[:2]}/{digest}"


def _draft_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
