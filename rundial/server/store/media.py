"""Media: what was logged at a step and is no number. Of one key, step and index the latest counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from rundial.server.store.accounts import Principal, new_id, now_ms
from rundial.server.store.admission import document
from rundial.server.store.cursors import cursor_of, position_of
from rundial.server.store.engine import Db, Engine
from rundial.server.store.manifest import MediaEntry, Sha256, checked_media
from rundial.server.store.refusal import Refusal, invalid, not_found
from rundial.server.store.versions import Publish, Run, changed, drop_files, known_run, visible_run

MAX_KEYS = 10_000
MAX_STEPS = 10_000
Json = dict[str, Any]

TABLES = """
CREATE TABLE media (
    run_id TEXT NOT NULL,
    media_key TEXT NOT NULL,
    step BIGINT NOT NULL,
    place BIGINT NOT NULL,
    media_id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    caption TEXT,
    width BIGINT,
    height BIGINT,
    table_rows BIGINT,
    table_columns BIGINT,
    metadata TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    content_type TEXT,
    PRIMARY KEY (run_id, media_key, step, place)
);
CREATE UNIQUE INDEX media_by_id ON media (run_id, media_id);
CREATE INDEX media_by_digest ON media (sha256);
"""

_DEFAULT_TYPES = {
    "table": "application/json",
    "histogram": "application/json",
    "plotly": "application/json",
    "text": "text/plain",
    "html": "text/html",
}
_NAMES = (
    "media_key, step, place, media_id, media_type, time_ms, caption, width, height, table_rows, table_columns,"
    " metadata, sha256, size_bytes, content_type"
)
_COLUMNS = ", ".join(f"m.{name}" for name in _NAMES.split(", "))


class ArtifactItem(msgspec.Struct, rename="camel"):
    """An item of ``POST /api/v1/ingest/media``: a file of a version that is there already."""

    media_key: str
    media_type: str
    step: int
    artifact_id: str
    artifact_path: str
    artifact_sha256: Sha256 | None = None
    timestamp_ms: int | None = None
    index: int = 0
    caption: str | None = None
    width: int | None = None
    height: int | None = None
    table_rows: int | None = None
    table_columns: int | None = None
    metadata: Json | None = None


class Media:
    """Reading media, and noting what the older wire has uploaded as artifacts."""

    def __init__(self, engine: Engine, publish: Publish) -> None:
        self._engine = engine
        self._publish = publish

    def of_run(
        self, principal: Principal, run_id: str, *, key: str | None, limit: int, cursor: str | None
    ) -> Json | None:
        """The run's keys, and a page of its items by key, step and index; None when the run is not visible."""
        after = position_of(cursor, str, int, int)
        where, values = "m.run_id = ?", [run_id]
        if key is not None:
            where, values = where + " AND m.media_key = ?", [*values, key]
        if after is not None:
            where += " AND (m.media_key > ? OR (m.media_key = ? AND (m.step > ? OR (m.step = ? AND m.place > ?))))"
            values += [after[0], after[0], after[1], after[1], after[2]]
        with self._engine.read() as db:
            if visible_run(db, principal, run_id) is None:
                return None
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM media m WHERE {where} ORDER BY m.media_key, m.step, m.place LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
            keys = _keys(db, run_id)
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        page = {"hasMore": more, "nextCursor": cursor_of(last[0], last[1], last[2]) if last else None}
        return {"keys": keys, "items": [_document(run_id, row) for row in rows[:limit]], "page": page}

    def keys_of(self, principal: Principal, run_ids: Sequence[str]) -> list[Json] | None:
        """The keys of several runs, and in how many of them each is; None when one of them is not visible."""
        found: dict[tuple[str, str], Json] = {}
        with self._engine.read() as db:
            for run_id in run_ids:
                if visible_run(db, principal, run_id) is None:
                    return None
                for one in _keys(db, run_id):
                    known = found.setdefault((one["key"], one["mediaType"]), {**one, "count": 0, "runs": 0})
                    known["count"] += one["count"]
                    known["runs"] += 1
                    known["firstStep"] = min(known["firstStep"], one["firstStep"])
                    known["lastStep"] = max(known["lastStep"], one["lastStep"])
        return [found[name] for name in sorted(found)][:MAX_KEYS]

    def at_step(
        self, principal: Principal, run_ids: Sequence[str], key: str, step: int | None, limit: int
    ) -> Json | None:
        """Of several runs what each has of a key at its newest step up to ``step``, or else at its first.

        Args:
            step: None for the newest of each.
            limit: items of each run.

        Returns:
            ``steps``, all at which one of them has any, the newest :data:`MAX_STEPS`; and ``runs``: of those that have
            the key ``{"step", "count", "items"}``. None when one of the runs is not visible.
        """
        steps: set[int] = set()
        runs: Json = {}
        with self._engine.read() as db:
            for run_id in run_ids:
                if visible_run(db, principal, run_id) is None:
                    return None
                own = db.execute(
                    "SELECT step, count(*) FROM media WHERE run_id = ? AND media_key = ?"
                    " GROUP BY step ORDER BY step DESC LIMIT ?",
                    (run_id, key, MAX_STEPS),
                ).fetchall()
                if not own:
                    continue
                steps.update(at for at, _ in own)
                at, count = next((one for one in own if step is None or one[0] <= step), own[-1])
                rows = db.execute(
                    f"SELECT {_COLUMNS} FROM media m WHERE m.run_id = ? AND m.media_key = ? AND m.step = ?"
                    " ORDER BY m.place LIMIT ?",
                    (run_id, key, at, limit),
                )
                runs[run_id] = {"step": at, "count": count, "items": [_document(run_id, row) for row in rows]}
        return {"steps": sorted(steps)[-MAX_STEPS:], "runs": runs}

    def content(self, principal: Principal, run_id: str, media_id: str) -> tuple[str, str, str | None] | None:
        """Workspace, SHA-256 and content type of an item; None when it is not visible."""
        with self._engine.read() as db:
            run = visible_run(db, principal, run_id)
            if run is None:
                return None
            row = db.execute(
                "SELECT sha256, content_type, media_type FROM media WHERE run_id = ? AND media_id = ?",
                (run_id, media_id),
            ).fetchone()
        return (run.workspace_id, row[0], row[1] or _DEFAULT_TYPES.get(row[2])) if row else None

    def ingest(self, principal: Principal, run_id: str, project: str | None, items: Sequence[ArtifactItem]) -> int:
        """Note files of finalized versions as media. All or none; how many there are.

        Raises :class:`Refusal`: 400 for an unknown type, 404 when the run, a version or its file is not visible.
        """
        entries = [(item, checked_media(_entry(item))) for item in items]

        def note(db: Db) -> Run:
            run = known_run(db, principal, run_id, project)
            for item, entry in entries:
                _put(db, run, new_id("med"), entry, now_ms(), *_artifact_file(db, run, item))
            return run

        self._engine.write(note, lambda run: self._publish([changed(run, "media")])).result()
        return len(entries)


def put_uploaded(db: Db, run: Run, media_id: str, entry: MediaEntry, time_ms: int | None) -> Json:
    """The one file that was uploaded under ``media_id`` becomes an item of the run; its document."""
    sha256, size, content_type = db.execute(
        "SELECT sha256, size_bytes, content_type FROM artifact_files WHERE project_id = ? AND artifact_id = ?",
        (run.project_id, media_id),
    ).fetchone()
    row = _put(db, run, media_id, entry, time_ms or now_ms(), sha256, size, content_type)
    drop_files(db, run.project_id, media_id)
    found = _document(run.run_id, row)
    del found["metadata"]  # the answer is kept, to be given again
    return found


def _put(
    db: Db,
    run: Run,
    media_id: str,
    entry: MediaEntry,
    time_ms: int,
    sha256: str,
    size: int,
    content_type: str | None,
) -> tuple[Any, ...]:
    row = (
        entry.key,
        entry.step,
        entry.index,
        media_id,
        entry.media_type,
        time_ms if entry.time_ms is None else entry.time_ms,
        entry.caption,
        entry.width,
        entry.height,
        entry.table_rows,
        entry.table_columns,
        document(entry.metadata or {}),
        sha256,
        size,
        content_type,
    )
    # Uploads overtake each other; what counts is the time at which the item was logged.
    db.execute(
        f"INSERT INTO media (run_id, {_NAMES}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run_id, media_key, step, place) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in _NAMES.split(", ")[3:])
        + " WHERE excluded.time_ms >= media.time_ms",
        (run.run_id, *row),
    )
    return row


def _entry(item: ArtifactItem) -> MediaEntry:
    fields = {
        "key": item.media_key,
        "step": item.step,
        "mediaType": item.media_type,
        "timeMs": item.timestamp_ms,
        "index": item.index,
        "caption": item.caption,
        "width": item.width,
        "height": item.height,
        "tableRows": item.table_rows,
        "tableColumns": item.table_columns,
        "metadata": item.metadata,
    }
    try:
        return msgspec.convert(fields, MediaEntry)
    except msgspec.ValidationError as error:
        raise invalid(f"The item cannot be understood: {error}.", "docs/http.md shows its fields.") from error


def _artifact_file(db: Db, run: Run, item: ArtifactItem) -> tuple[str, int, str | None]:
    row: tuple[str, int, str | None] | None = db.execute(
        "SELECT f.sha256, f.size_bytes, f.content_type FROM artifacts a JOIN artifact_files f"
        " ON f.project_id = a.project_id AND f.artifact_id = a.artifact_id"
        " WHERE a.project_id = ? AND a.artifact_id = ? AND f.path = ? AND f.uri IS NULL",
        (run.project_id, item.artifact_id, item.artifact_path),
    ).fetchone()
    if row is None:
        raise not_found(f"File {item.artifact_path[:200]!r} of artifact {item.artifact_id[:200]!r}")
    if item.artifact_sha256 not in (None, row[0]):
        # Of a single file the older client sends the file's digest, of several the manifest's.
        known = db.execute("SELECT digest FROM artifacts WHERE artifact_id = ?", (item.artifact_id,)).fetchone()
        if known[0] != item.artifact_sha256:
            raise Refusal(409, "CONFLICT", "The artifact has other contents.", "Upload it again.")
    return row


def _keys(db: Db, run_id: str) -> list[Json]:
    rows = db.execute(
        "SELECT media_key, media_type, count(*), min(step), max(step) FROM media WHERE run_id = ?"
        " GROUP BY media_key, media_type ORDER BY media_key, media_type LIMIT ?",
        (run_id, MAX_KEYS),
    )
    return [dict(zip(("key", "mediaType", "count", "firstStep", "lastStep"), row)) for row in rows]


def _document(run_id: str, row: tuple[Any, ...]) -> Json:
    key, step, index, media_id, kind, time_ms, caption, width, height, rows, columns, metadata, sha, size, content = row
    return {
        "mediaId": media_id,
        "key": key,
        "step": step,
        "timeMs": time_ms,
        "mediaType": kind,
        "index": index,
        "caption": caption,
        "width": width,
        "height": height,
        "tableRows": rows,
        "tableColumns": columns,
        "metadata": msgspec.json.decode(metadata),
        "sha256": sha,
        "sizeBytes": size,
        "contentType": content or _DEFAULT_TYPES.get(kind),
        "url": f"/api/v1/runs/{quote(run_id, safe='')}/media/{media_id}",
    }
