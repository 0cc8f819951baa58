"""Arrivals: announced content on its way to be a blob, and what of it is still missing; in S3, S3 is asked for it.

A client says nothing to this server when S3 has taken a file. So whoever comes again with an upload, or finalizes it,
makes the server look: what S3 has whole becomes a blob of the workspace there and then.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

from rundial.server.store.accounts import now_ms
from rundial.server.store.engine import Db, Engine
from rundial.server.store.manifest import part_count
from rundial.server.store.s3 import Bucket, Target, encoded, part_digests, part_place

_WHOLE = 0
"""The part under which S3's own name for a file in parts is noted."""
Json = dict[str, Any]


class Place(NamedTuple):
    """Of an upload: where its rows are."""

    run_id: str
    upload_id: str
    artifact_id: str
    workspace_id: str
    project_id: str


class Missing(NamedTuple):
    """Content that is announced and is no blob yet."""

    path: str
    sha256: str
    size: int


class Arrivals:
    """What of uploads has arrived in a bucket."""

    def __init__(self, engine: Engine, bucket: Bucket) -> None:
        self._engine = engine
        self._bucket = bucket

    def missing(self, upload: Place, digests: dict[str, list[str]], seconds: int) -> list[Json]:
        """The files and parts that are to be put, with the addresses for that.

        Args:
            upload: which.
            digests: by SHA-256 of files, the SHA-256 of each of their parts, where the client knows them.
            seconds: how long the addresses are good.
        """
        if self._has_begun(upload):
            self.take(upload)
        with self._engine.read() as db:
            missing = missing_contents(db, upload)
        entries: list[Json] = []
        for content in missing:
            count = part_count(content.size)
            if count == 1:
                target = self._bucket.target(upload.workspace_id, content.sha256, content.size, seconds)
                entries.append({"path": content.path, "uploadStrategy": "single", **_described(target)})
                continue
            parts = self._missing_parts(upload, content, digests.get(content.sha256), seconds)
            entries.append({"path": content.path, "uploadStrategy": "multipart", "parts": parts})
        return entries

    def take(self, upload: Place) -> None:
        """Make blobs of what S3 has whole."""
        with self._engine.read() as db:
            missing = missing_contents(db, upload)
        # One lock after the other, so that no two can wait for each other.
        for _, group in groupby(sorted(missing, key=lambda it: it.sha256), key=lambda it: it.sha256[:2]):
            contents = list(group)
            with self._bucket.lock(contents[0].sha256):
                self._take(upload, contents)

    def _take(self, upload: Place, contents: list[Missing]) -> None:
        with self._engine.read() as db:
            still = {content.sha256 for content in missing_contents(db, upload)}
            known = {it.sha256 for it in contents if _is_blob(db, upload.workspace_id, it.sha256)}
        # A blob of another size under the same SHA-256 proves that what was announced is not true.
        wanted = [content for content in contents if content.sha256 in still - known]
        single = [(it.sha256, it.size) for it in wanted if part_count(it.size) == 1]
        there = [pair for pair, has in zip(single, self._bucket.have(upload.workspace_id, single)) if has]
        there += [(it.sha256, it.size) for it in wanted if part_count(it.size) > 1 and self._join(upload, it)]
        if there:
            self._engine.write(lambda db: note_blobs(db, upload, there)).result()

    def _join(self, upload: Place, content: Missing) -> bool:
        name = self._name(upload, content.sha256)
        if name is None:
            return False
        try:
            whole = self._bucket.join(upload.workspace_id, upload.upload_id, content.sha256, content.size, name)
        except FileNotFoundError:
            return False
        # What is joined is of no more use there; what is not the file that was announced has to come again.
        self._bucket.scrap(upload.upload_id, content.sha256, name)
        self._rename(upload, content.sha256, None)
        return whole

    def _missing_parts(self, upload: Place, content: Missing, announced: list[str] | None, seconds: int) -> list[Json]:
        digests = part_digests(content.size, announced)
        sha256, upload_id = content.sha256, upload.upload_id
        name = self._name(upload, sha256)
        known = None if name is None else self._bucket.parts(upload_id, sha256, name)
        if name is None or known is None:
            known, name = {}, self._begin(upload, sha256, digests is not None)
        parts: list[Json] = []
        for number in range(1, part_count(content.size) + 1):
            offset, size = part_place(content.size, number)
            digest = digests[number - 1] if digests else None
            there = known.get(number)
            if there and there.size == size and (digest is None or there.checksum in (None, encoded(digest))):
                continue
            target = self._bucket.part_target(upload_id, sha256, name, number, size, digest, seconds)
            parts.append({"partNumber": number, "offsetBytes": offset, "sizeBytes": size, **_described(target)})
        return parts

    def _begin(self, upload: Place, sha256: str, checked: bool) -> str:
        """Begin a file in parts; of two that do so at the same time both go on with the same."""
        mine = self._bucket.begin(upload.upload_id, sha256, checked)
        with self._bucket.lock(sha256):
            older = self._name(upload, sha256)
            if older is None or self._bucket.parts(upload.upload_id, sha256, older) is None:
                self._rename(upload, sha256, mine)
                return mine
        self._bucket.give_up(upload.upload_id, sha256, mine)
        return older

    def _has_begun(self, upload: Place) -> bool:
        """Whether it was initiated before, so that something may have come since."""
        with self._engine.read() as db:
            row = db.execute(
                "SELECT 1 FROM uploads WHERE run_id = ? AND upload_id = ? AND touched_ms > created_ms",
                (upload.run_id, upload.upload_id),
            ).fetchone()
        return row is not None

    def _name(self, upload: Place, sha256: str) -> str | None:
        with self._engine.read() as db:
            row = db.execute(
                "SELECT etag FROM upload_parts WHERE run_id = ? AND upload_id = ? AND sha256 = ? AND part = ?",
                (upload.run_id, upload.upload_id, sha256, _WHOLE),
            ).fetchone()
        return row[0] if row else None

    def _rename(self, upload: Place, sha256: str, name: str | None) -> None:
        def note(db: Db) -> None:
            db.execute(
                "DELETE FROM upload_parts WHERE run_id = ? AND upload_id = ? AND sha256 = ? AND part = ?",
                (upload.run_id, upload.upload_id, sha256, _WHOLE),
            )
            if name is not None:
                db.execute(
                    "INSERT INTO upload_parts (run_id, upload_id, sha256, part, etag) VALUES (?, ?, ?, ?, ?)",
                    (upload.run_id, upload.upload_id, sha256, _WHOLE, name),
                )

        self._engine.write(note).result()


def missing_contents(db: Db, upload: Place) -> list[Missing]:
    """What is announced and is no blob of the workspace, each content once."""
    rows = db.execute(
        "SELECT min(f.path), f.sha256, max(f.size_bytes) FROM artifact_files f"
        " WHERE f.project_id = ? AND f.artifact_id = ? AND f.uri IS NULL AND NOT EXISTS (SELECT 1 FROM blobs b"
        " WHERE b.workspace_id = ? AND b.sha256 = f.sha256 AND b.size_bytes = f.size_bytes)"
        " GROUP BY f.sha256 ORDER BY min(f.path)",
        (upload.project_id, upload.artifact_id, upload.workspace_id),
    )
    return [Missing(*row) for row in rows]


def note_blobs(db: Db, upload: Place, contents: list[tuple[str, int]]) -> None:
    """Contents, SHA-256 and size of each, are blobs of the workspace now."""
    db.executemany(
        "INSERT INTO blobs (workspace_id, sha256, size_bytes, created_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(upload.workspace_id, sha256, size, now_ms()) for sha256, size in contents],
    )


def _is_blob(db: Db, workspace_id: str, sha256: str) -> bool:
    row = db.execute("SELECT 1 FROM blobs WHERE workspace_id = ? AND sha256 = ?", (workspace_id, sha256)).fetchone()
    return row is not None


def _described(target: Target) -> Json:
    return {"url": target.url, "requiredHeaders": target.headers}
