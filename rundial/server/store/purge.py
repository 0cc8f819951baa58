"""The purge: deleted runs, uploads that nobody goes on with, and blobs that nothing refers to any more, are removed."""

from __future__ import annotations

import re
from itertools import groupby
from typing import NamedTuple

from rundial.server.store.accounts import now_ms
from rundial.server.store.blobs import Room
from rundial.server.store.engine import Db, Engine, StoreError
from rundial.server.store.run_edits import purge_deleted
from rundial.server.store.versions import drop_files

UNFINISHED_MILLISECONDS = 24 * 3600 * 1000
FINISHED_MILLISECONDS = 7 * 24 * 3600 * 1000
"""How long a finished upload is remembered, so that a client which missed the answer gets the same one."""
PASS_MILLISECONDS = 600_000
SWEEP_MILLISECONDS = 24 * 3600 * 1000
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

    def __init__(self, engine: Engine, blobs: Room) -> None:
        self._engine = engine
        self._blobs = blobs
        self._due_ms = 0
        self._sweep_due_ms = 0
        self._stopping = False

    def tick(self) -> None:
        """Do what is due: a pass every ten minutes, and at once when the last one left something to do."""
        if now_ms() < self._due_ms:
            return
        self._due_ms = now_ms() + PASS_MILLISECONDS
        if now_ms() >= self._sweep_due_ms:
            self.sweep()
            self._sweep_due_ms = now_ms() + SWEEP_MILLISECONDS
        if self.run(now_ms()) >= PASS_ROWS:
            self._due_ms = 0

    def stop(self) -> None:
        """End what is under way soon; the rest is done another time. For any thread."""
        self._stopping = True

    def run(self, now: int) -> int:
        """One pass, as if it were ``now`` (Unix milliseconds); how much was removed."""
        return purge_deleted(self._engine, now) + self._uploads(now) + self._unreferenced()

    def sweep(self) -> None:
        """Remove what a stop at the wrong moment, or an upload that was given up, left and the database does not know.

        In S3 a file lies at its place as soon as it is put there: what an upload has announced may stay.
        """
        folders = self._blobs.all_uploads()  # first: an upload is in the database before it has a folder
        with self._engine.read() as db:
            unfinished = {row[0] for row in db.execute("SELECT upload_id FROM uploads WHERE result IS NULL")}
        for upload_id in folders:
            if upload_id not in unfinished and not self._stopping:
                self._blobs.discard(upload_id)
        for names in self._blobs.all():
            if self._stopping:
                return
            for workspace_id, _, digest in (name.rpartition("/") for name in names):
                if _DIGEST.fullmatch(digest) and not self._is_known(workspace_id, digest):
                    with self._blobs.lock(digest):
                        if not self._is_known(workspace_id, digest):
                            self._blobs.delete(workspace_id, digest)

    def _uploads(self, now: int) -> int:
        with self._engine.read() as db:
            rows = db.execute(
                "SELECT run_id, upload_id, artifact_id, project_id, CASE WHEN result IS NULL THEN 0 ELSE 1 END"
                " FROM uploads WHERE touched_ms < ? AND (result IS NULL OR touched_ms < ?) LIMIT ?",
                (now - UNFINISHED_MILLISECONDS, now - FINISHED_MILLISECONDS, PASS_ROWS),
            ).fetchall()
        for old in map(_Old._make, rows):
            if self._stopping:
                break
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
                for place in self._engine.write(lambda db, digests=digests: _drop(db, digests)).result():  # type: ignore[misc]
                    self._blobs.delete(*place)
        return len(rows)

    def _is_known(self, workspace_id: str, digest: str) -> bool:
        with self._engine.read() as db:
            row = db.execute(
                "SELECT 1 FROM blobs WHERE sha256 = ? AND (? = '' OR workspace_id = ?)"
                " UNION ALL SELECT 1 FROM artifact_files WHERE sha256 = ? AND uri IS NULL LIMIT 1",
                (digest, workspace_id, workspace_id, digest),
            ).fetchone()
        return row is not None


def claim_place(engine: Engine, place: str) -> None:
    """Note where the blobs lie. Raises :class:`StoreError` when they lie elsewhere: this room would seem empty."""
    known = engine.write(lambda db: _claim(db, place)).result()
    if known is not None:
        there = "--artifacts " + known if known != "disk" else "without --artifacts"
        raise StoreError(
            f"the files of this server are in {known}, not in {place}. Start it {there}; docs/server.md says how they"
            " are moved."
        )


def _claim(db: Db, place: str) -> str | None:
    """Where blobs lie already, when it is another place."""
    row = db.execute("SELECT value FROM settings WHERE name = 'blobs'").fetchone()
    known = str(row[0]) if row else "disk"
    if known == place and row:
        return None
    if known != place and db.execute("SELECT 1 FROM blobs LIMIT 1").fetchone() is not None:
        return known
    db.execute(
        "INSERT INTO settings (name, value) VALUES ('blobs', ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (place,),
    )
    return None


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


def _drop(db: Db, digests: list[str]) -> list[tuple[str, str]]:
    """Forget those of the blobs that are still unreferenced; the workspace and the digest of each."""
    dropped = []
    for digest in digests:
        places = db.execute("SELECT workspace_id, sha256 FROM blobs WHERE sha256 = ?", (digest,)).fetchall()
        if db.execute(f"DELETE FROM blobs AS b WHERE b.sha256 = ? AND {_UNREFERENCED}", (digest,)).rowcount:
            dropped += [(place[0], place[1]) for place in places]
    return dropped
