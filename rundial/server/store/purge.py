"""The purge: deleted runs, uploads that nobody goes on with, and blobs that nothing refers to any more, are removed."""

from __future__ import annotations

import re
from itertools import groupby
from typing import NamedTuple

from rundial.server.store.accounts import now_ms
from rundial.server.store.blobs import Blobs
from rundial.server.store.engine import Db, Engine
from rundial.server.store.run_edits import purge_deleted
from rundial.server.store.versions import drop_files

UNFINISHED_MILLISECONDS = 24 * 3600 * 1000
FINISHED_MILLISECONDS = 7 * 24 * 3600 * 1000
"""How long a finished upload is remembered, so that a client which missed the answer gets the same one."""
PASS_MILLISECONDS = 600_000
PASS_ROWS = 200
"""Uploads and blobs that one pass removes at most: the writer has others to serve."""
_DIGEST = re.compile("[0-9a-f]{64}")
_UNREFERENCED = (
    "NOT EXISTS (SELECT 1 FROM artifact_files f WHERE f.sha256 = b.sha256)"
    " AND NOT EXISTS (SELECT 1 FROM media m WHERE m.sha256 = b.sha256)"
)


class _Old(NamedTuple):
    """An upload that is over."""

    run_id: str
    upload_id: str
    artifact_id: str
    project_id: str
    finished: int


class Purge:
    """Keeps the disk clean. Not for several threads."""

    def __init__(self, engine: Engine, blobs: Blobs) -> None:
        self._engine = engine
        self._blobs = blobs
        self._due_ms = 0
        self._swept = False

    def tick(self) -> None:
        """Do what is due: a pass every ten minutes, and at once when the last one left something to do."""
        if now_ms() < self._due_ms:
            return
        if not self._swept:
            self.sweep()
            self._swept = True
        if self.run(now_ms()) < PASS_ROWS:
            self._due_ms = now_ms() + PASS_MILLISECONDS

    def run(self, now: int) -> int:
        """One pass, as if it were ``now`` (Unix milliseconds); how much was removed."""
        return purge_deleted(self._engine, now) + self._uploads(now) + self._unreferenced()

    def sweep(self) -> None:
        """Remove what a stop at the wrong moment left on the disk and the database does not know."""
        folders = self._blobs.all_uploads()  # first: an upload is in the database before it has a folder
        with self._engine.read() as db:
            unfinished = {row[0] for row in db.execute("SELECT upload_id FROM uploads WHERE result IS NULL")}
        for upload_id in folders:
            if upload_id not in unfinished:
                self._blobs.discard(upload_id)
        for digests in self._blobs.all():
            for digest in digests:
                if _DIGEST.fullmatch(digest) and not self._is_known(digest):
                    with self._blobs.lock(digest):
                        if not self._is_known(digest):
                            self._blobs.delete(digest)

    def _uploads(self, now: int) -> int:
        with self._engine.read() as db:
            rows = db.execute(
                "SELECT run_id, upload_id, artifact_id, project_id, CASE WHEN result IS NULL THEN 0 ELSE 1 END"
                " FROM uploads WHERE touched_ms < ? AND (result IS NULL OR touched_ms < ?) LIMIT ?",
                (now - UNFINISHED_MILLISECONDS, now - FINISHED_MILLISECONDS, PASS_ROWS),
            ).fetchall()
        for old in map(_Old._make, rows):
            self._engine.write(lambda db, old=old: _forget(db, old)).result()  # type: ignore[misc]
            self._blobs.discard(old.upload_id)
        return len(rows)

    def _unreferenced(self) -> int:
        with self._engine.read() as db:
            rows = db.execute(
                f"SELECT DISTINCT b.sha256 FROM blobs b WHERE {_UNREFERENCED} ORDER BY b.sha256 LIMIT ?", (PASS_ROWS,)
            ).fetchall()
        for _, same_lock in groupby((row[0] for row in rows), key=lambda digest: digest[:2]):
            digests = list(same_lock)
            with self._blobs.lock(digests[0]):
                for digest in self._engine.write(lambda db, digests=digests: _drop(db, digests)).result():  # type: ignore[misc]
                    self._blobs.delete(digest)
        return len(rows)

    def _is_known(self, digest: str) -> bool:
        with self._engine.read() as db:
            return db.execute("SELECT 1 FROM blobs WHERE sha256 = ? LIMIT 1", (digest,)).fetchone() is not None


def _forget(db: Db, old: _Old) -> None:
    gone = db.execute(
        "DELETE FROM uploads WHERE run_id = ? AND upload_id = ? AND (result IS NOT NULL) = ?",
        (old.run_id, old.upload_id, bool(old.finished)),
    ).rowcount
    if not gone:
        return  # finished at the last moment
    db.execute("DELETE FROM upload_parts WHERE run_id = ? AND upload_id = ?", (old.run_id, old.upload_id))
    if not old.finished:
        drop_files(db, old.project_id, old.artifact_id)


def _drop(db: Db, digests: list[str]) -> list[str]:
    """Forget those of the blobs that are still unreferenced, and say which."""
    dropped = []
    for digest in digests:
        if db.execute(f"DELETE FROM blobs AS b WHERE b.sha256 = ? AND {_UNREFERENCED}", (digest,)).rowcount:
            dropped.append(digest)
    return dropped
