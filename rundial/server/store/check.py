"""Checking a store: whether the database is sound, and whether what it says holds together.

Everything is read at snapshots, a run at a time, so a server may go on writing meanwhile. Chunks are compared with
their checksums, what is packed is unpacked and compared with what is noted of it; of files the SHA-256 is taken.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rundial.server.store import chunks
from rundial.server.store.chunks import UNPACKING
from rundial.server.store.columns import unpack_ints
from rundial.server.store.engine import Db
from rundial.server.store.inbox import read_tail
from rundial.server.store.logs import Lines
from rundial.server.store.looking import Read, place_of_files
from rundial.server.store.schema import MIGRATIONS

PAGE_RUNS = 200
READ_BYTES = 1024 * 1024
_decode_lines = msgspec.msgpack.Decoder(Lines).decode


class Problem(NamedTuple):
    """Something that does not hold."""

    place: str
    """Which run, file or table."""
    text: str


class Counts(NamedTuple):
    """How much was looked at."""

    runs: int = 0
    points: int = 0
    chunks: int = 0
    chunks_unsealed: int = 0
    """Of them those without checksums, which an earlier version wrote: numbers in them could differ unseen."""
    log_lines: int = 0
    blobs: int = 0
    blob_bytes: int = 0


class Report(NamedTuple):
    """What came of a check."""

    counts: Counts
    problems: list[Problem]
    elsewhere: str | None
    """The bucket that the files are in, which were not looked at; None when they are in the folder."""


def check(
    read: Read, data: Path, *, is_sqlite: bool, quick: bool = False, tell: Callable[[str], None] = lambda text: None
) -> Report:
    """Check a store.

    Args:
        read: from :func:`looking.looking`.
        data: its folder, for the files.
        is_sqlite: whether the database itself can be asked for its pages.
        quick: leave out what takes long: unpacking chunks and logs, and the content of files.
        tell: hears what is looked at next.

    Raises the database's error when it cannot be read at all.
    """
    problems: list[Problem] = []
    tell("the database")
    with read() as db:
        problems += _schema(db)
        if is_sqlite:
            problems += _pages(db, quick)
        place = place_of_files(db)
    counts = Counts()
    tell("the runs")
    for run_id in _run_ids(read):
        with read() as db:
            counts = _check_run(db, run_id, quick, counts, problems)
    if place == "disk":
        tell("the files")
        counts = _check_blobs(read, data / "blobs", quick, counts, problems)
    with read() as db:
        problems += _references(db)
    return Report(counts, problems, None if place == "disk" else place)


def _schema(db: Db) -> Iterator[Problem]:
    number = db.execute("SELECT max(number) FROM migrations").fetchone()[0] or 0
    if number != len(MIGRATIONS):
        yield Problem("migrations", f"the database is at schema {number}, this version makes {len(MIGRATIONS)}")


def _pages(db: Db, quick: bool) -> Iterator[Problem]:
    for (text,) in db.execute("PRAGMA quick_check" if quick else "PRAGMA integrity_check"):
        if text != "ok":
            yield Problem("the database file", str(text))
    for table, row, parent, _ in db.execute("PRAGMA foreign_key_check"):
        yield Problem(f"table {table}", f"row {row} refers to a row of {parent} that is not there")


def _run_ids(read: Read) -> Iterator[str]:
    last = ""
    while True:
        with read() as db:
            rows = db.execute(
                "SELECT run_id FROM runs WHERE run_id > ? ORDER BY run_id LIMIT ?", (last, PAGE_RUNS)
            ).fetchall()
        yield from (row[0] for row in rows)
        if len(rows) < PAGE_RUNS:
            return
        last = rows[-1][0]


def _check_run(db: Db, run_id: str, quick: bool, counts: Counts, problems: list[Problem]) -> Counts:
    """One run, at one snapshot."""
    row = db.execute("SELECT points FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return counts  # removed meanwhile

    def add(text: str) -> None:
        problems.append(Problem(f"run {run_id}", text))

    keys = db.execute("SELECT key_id, name, kind, points, upto FROM metric_keys WHERE run_id = ?", (run_id,)).fetchall()
    stored = dict(
        db.execute("SELECT key_id, sum(points) FROM chunks WHERE run_id = ? GROUP BY key_id", (run_id,)).fetchall()
    )
    for key_id, name, _, points, _ in keys:
        if stored.pop(key_id, 0) != points:
            add(f"metric {name!r}: its chunks do not have the {points} points it should")
    for key_id in stored:
        add(f"there are chunks of a metric {key_id} that is not there")
    waiting = _waiting(db, run_id, {(name, kind): upto for _, name, kind, _, upto in keys}, add)
    there = sum(points for _, _, _, points, _ in keys) + waiting
    if there != row[0]:
        add(f"{row[0]} points were taken in, {there} are there")
    kinds = {key_id: kind for key_id, _, kind, _, _ in keys}
    found, unsealed = (0, 0) if quick else _check_chunks(db, run_id, kinds, add)
    lines = 0 if quick else _check_logs(db, run_id, add)
    for stream, following, received, rejected, dropped in db.execute(
        "SELECT stream, next_seq, received, rejected, dropped FROM streams WHERE run_id = ?", (run_id,)
    ):
        accounted = received + sum(msgspec.json.decode(rejected).values()) + sum(msgspec.json.decode(dropped).values())
        if accounted != following:
            add(f"stream {stream}: {following} records came, {accounted} are accounted for")
    return counts._replace(
        runs=counts.runs + 1,
        points=counts.points + there,
        chunks=counts.chunks + found,
        chunks_unsealed=counts.chunks_unsealed + unsealed,
        log_lines=counts.log_lines + lines,
    )


def _waiting(db: Db, run_id: str, upto: dict[Any, int], add: Callable[[str], None]) -> int:
    """The points of the inbox that are in no chunk yet."""
    try:
        tail = read_tail(db, run_id)
        columns = (tail.column(name, upto.get(name, 0)) for name in tail.columns)
        return sum(len(column.steps) for column in columns if column is not None)
    except UNPACKING as error:
        add(f"its inbox cannot be read: {error}")
        return 0


def _check_chunks(db: Db, run_id: str, kinds: dict[int, str], add: Callable[[str], None]) -> tuple[int, int]:
    """How many there are, and of them without checksums."""
    count = unsealed = 0
    for key_id, place, points, least, most, crcs, *columns in db.execute(
        "SELECT key_id, place, points, min_step, max_step, crcs, labels, steps, times, vals FROM chunks"
        " WHERE run_id = ?",
        (run_id,),
    ):
        count += 1
        unsealed += crcs is None
        wrong = chunks.problem(kinds.get(key_id, "number"), points, crcs, *columns)
        if wrong is not None:
            add(f"chunk {place} of metric {key_id} is damaged: {wrong}")
            continue
        steps = unpack_ints(columns[1], points)
        if (int(steps.min()), int(steps.max())) != (least, most):
            add(f"chunk {place} of metric {key_id} is not what is noted of it")
    return count, unsealed


def _check_logs(db: Db, run_id: str, add: Callable[[str], None]) -> int:
    expected = 1
    for place, lines, data in db.execute(
        "SELECT place, lines, data FROM log_blobs WHERE run_id = ? ORDER BY place", (run_id,)
    ):
        try:
            found = len(_decode_lines(zlib.decompress(data)).messages)
        except UNPACKING as error:
            add(f"its log is damaged from line {place} on: {error}")
            found = lines
        if (place, found) != (expected, lines):
            add(f"its log has {found} lines at {place}, and should have {lines} at {expected}")
        expected = place + lines
    return expected - 1


def _check_blobs(read: Read, folder: Path, quick: bool, counts: Counts, problems: list[Problem]) -> Counts:
    with read() as db:
        rows = db.execute("SELECT sha256, min(size_bytes), max(size_bytes) FROM blobs GROUP BY sha256").fetchall()
    size = 0
    for sha256, least, most in rows:
        size += most
        text = _wrong_with(folder / sha256[:2] / sha256, sha256, most, quick)
        if least != most:
            text = "it is noted with two sizes"
        if text is not None:
            with read() as db:  # it may have been removed since
                if db.execute("SELECT 1 FROM blobs WHERE sha256 = ?", (sha256,)).fetchone() is not None:
                    problems.append(Problem(f"file {sha256}", text))
    return counts._replace(blobs=len(rows), blob_bytes=size)


def _wrong_with(path: Path, sha256: str, size: int, quick: bool) -> str | None:
    try:
        with path.open("rb") as file:
            if (found := os.fstat(file.fileno()).st_size) != size:
                return f"it has {found} bytes and should have {size}"
            if not quick and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return "its content is not what it should be"
    except FileNotFoundError:
        return "it is not there"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None


def _references(db: Db) -> Iterator[Problem]:
    """What refers to a file that the database does not know. Files of an upload that goes on come later."""
    for project_id, artifact_id, path in db.execute(
        "SELECT f.project_id, f.artifact_id, f.path FROM artifact_files f"
        " JOIN artifacts a ON a.project_id = f.project_id AND a.artifact_id = f.artifact_id"
        " WHERE f.sha256 IS NOT NULL AND f.uri IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.sha256 = f.sha256)"
    ):
        yield Problem(f"artifact {artifact_id} of project {project_id}", f"the file {path!r} was never taken in")
    for run_id, media_id in db.execute(
        "SELECT m.run_id, m.media_id FROM media m WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.sha256 = m.sha256)"
    ):
        yield Problem(f"run {run_id}", f"the content of {media_id} was never taken in")
