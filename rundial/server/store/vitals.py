"""Vitals: whether the store can do its work, and the few numbers that say how it fares."""

from __future__ import annotations

import os
import secrets
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import NamedTuple

from rundial.server.store.accounts import now_ms
from rundial.server.store.chunks import left_out
from rundial.server.store.engine import Db, Engine, StoreError
from rundial.server.store.schema import MIGRATIONS

ANSWER_SECONDS = 5.0
"""How long the writer may take to answer. It may have a large group at hand, but not for so long."""
LEAST_FREE_BYTES = 64 * 1024 * 1024
BLOB_SECONDS = 60.0
"""How long the sums over all files are good; they look at each."""


class Gauges(NamedTuple):
    """How the store fares. Sizes in bytes."""

    inbox_batches: int
    inbox_points: int
    compactor_lag_seconds: float
    """Age of the oldest batch that is not compacted; 0 when there is none."""
    writer_waiting: int
    """Functions that wait for the writer of this process."""
    runs_running: int
    blobs: int
    blob_bytes: int
    damaged_chunks: int
    """Chunks that this process left out, because they are not what was written."""


class Vitals:
    """Looks at the store from outside. For any thread.

    Args:
        engine: the database.
        folder: the data folder.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._guard = threading.Lock()
        self._blobs = (0, 0)
        self._blobs_at: float | None = None

    def problem(self) -> str | None:
        """What keeps the store from taking in data, a sentence without secrets or paths; None when nothing does."""
        try:
            schema = self._engine.write(_schema, run_id="vitals").result(ANSWER_SECONDS)
        except (FutureTimeoutError, StoreError, self._engine.error):
            return "The database does not answer."
        if schema != len(MIGRATIONS):
            return f"The database is at schema {schema}, and this server is made for {len(MIGRATIONS)}."
        return self._disk()

    def gauges(self) -> Gauges:
        """The numbers as they are now. Raises the database's error when it cannot be read."""
        with self._engine.read() as db:
            batches, points, oldest = db.execute("SELECT count(*), sum(points), min(received_ms) FROM inbox").fetchone()
            running = db.execute("SELECT count(DISTINCT run_id) FROM streams WHERE status = 'running'").fetchone()[0]
            blobs, size = self._blob_sums(db)
        lag = 0.0 if oldest is None else max(0.0, (now_ms() - oldest) / 1000)
        return Gauges(batches, int(points or 0), lag, self._engine.waiting, running, blobs, size, left_out())

    def _blob_sums(self, db: Db) -> tuple[int, int]:
        with self._guard:
            if self._blobs_at is None or time.monotonic() - self._blobs_at > BLOB_SECONDS:
                row = db.execute("SELECT count(*), sum(size_bytes) FROM blobs").fetchone()
                self._blobs, self._blobs_at = (row[0], int(row[1] or 0)), time.monotonic()
            return self._blobs

    def _disk(self) -> str | None:
        try:
            room = os.statvfs(self._folder)
            trial = self._folder / f".trial-{secrets.token_hex(8)}"
            try:
                trial.write_bytes(b"x")
            finally:
                trial.unlink(missing_ok=True)
        except OSError:
            return "The data folder cannot be written."
        if room.f_bavail * room.f_frsize < LEAST_FREE_BYTES:
            return "The disk of the data folder is full."
        return None


def _schema(db: Db) -> int:
    number: int = db.execute("SELECT max(number) FROM migrations").fetchone()[0] or 0
    return number
