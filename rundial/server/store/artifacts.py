"""Artifacts: the versions of a name in a project, with aliases, files and lineage.

What a version contains is never changed, its number never used again, and ``latest`` is always the newest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rundial.server.store.accounts import Principal
from rundial.server.store.admission import find_project
from rundial.server.store.engine import Db, Engine
from rundial.server.store.manifest import LATEST, clean_aliases
from rundial.server.store.refusal import invalid, not_found
from rundial.server.store.versions import (
    SELECT,
    VISIBLE,
    Json,
    Publish,
    Run,
    StoredFile,
    Version,
    changed,
    describe,
    known_run,
    link,
    list_files,
    list_runs,
    newest_version,
    remove_version,
    resolve,
    set_aliases,
    stored_files,
    visible_run,
    visible_version,
)

STORED_PAGE = 1000
_CURSOR = re.compile("([0-9]{1,18})-([a-z0-9_]{1,60})")

TABLES = """
CREATE TABLE blobs (
    workspace_id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, sha256)
);
CREATE INDEX blobs_by_digest ON blobs (sha256);
CREATE TABLE uploads (
    run_id TEXT NOT NULL,
    upload_key TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    artifact_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    files BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    plan TEXT NOT NULL,
    result TEXT,
    created_ms BIGINT NOT NULL,
    touched_ms BIGINT NOT NULL,
    PRIMARY KEY (run_id, upload_key)
);
CREATE UNIQUE INDEX uploads_by_id ON uploads (upload_id);
CREATE INDEX uploads_by_age ON uploads (touched_ms);
CREATE TABLE upload_parts (
    run_id TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    part BIGINT NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (run_id, upload_id, sha256, part)
);
CREATE TABLE artifacts (
    project_id TEXT NOT NULL,
    artifact_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL,
    metadata TEXT NOT NULL,
    files BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    step BIGINT,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (project_id, artifact_id),
    UNIQUE (project_id, name, version)
);
CREATE UNIQUE INDEX artifacts_by_id ON artifacts (artifact_id);
CREATE INDEX artifacts_by_time ON artifacts (project_id, created_ms, artifact_id);
CREATE TABLE artifact_names (
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    versions BIGINT NOT NULL,
    PRIMARY KEY (project_id, name)
);
CREATE TABLE artifact_files (
    project_id TEXT NOT NULL,
    artifact_id TEXT NOT NULL,
    path TEXT NOT NULL,
    size_bytes BIGINT,
    sha256 TEXT,
    content_type TEXT,
    uri TEXT,
    etag TEXT,
    PRIMARY KEY (project_id, artifact_id, path)
);
CREATE INDEX artifact_files_by_digest ON artifact_files (sha256);
CREATE TABLE artifact_aliases (
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    alias TEXT NOT NULL,
    artifact_id TEXT NOT NULL,
    PRIMARY KEY (project_id, name, alias)
);
CREATE INDEX artifact_aliases_by_id ON artifact_aliases (project_id, artifact_id);
CREATE TABLE artifact_runs (
    run_id TEXT NOT NULL,
    artifact_id TEXT NOT NULL,
    role TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (run_id, artifact_id, role)
);
CREATE INDEX artifact_runs_by_artifact ON artifact_runs (artifact_id, role, time_ms);
"""


class Artifacts:
    """Versions: reading, looking up by reference, and what may be done to them. Uploads make them."""

    def __init__(self, engine: Engine, publish: Publish) -> None:
        self._engine = engine
        self._publish = publish

    def of_run(self, principal: Principal, run_id: str, *, limit: int, cursor: str | None) -> Json | None:
        """A page of what the run made and used, newest first; None when the run is not visible."""
        after = _position(cursor)
        with self._engine.read() as db:
            if visible_run(db, principal, run_id) is None:
                return None
            rows = db.execute(
                f"{SELECT.replace('SELECT', 'SELECT l.role, l.time_ms,', 1)}"
                " JOIN artifact_runs l ON l.artifact_id = a.artifact_id"
                f" WHERE l.run_id = ? AND {VISIBLE} AND (l.time_ms < ? OR (l.time_ms = ? AND a.artifact_id < ?))"
                " ORDER BY l.time_ms DESC, a.artifact_id DESC, l.role LIMIT ?",
                (run_id, *principal.bounds, *after, limit + 1),
            ).fetchall()
            found = [(describe(db, Version(*row[2:])) | {"role": row[0]}) for row in rows[:limit]]
        return {"artifacts": found, "page": _page(rows, limit, lambda row: (row[1], row[3]))}

    def of_project(
        self,
        principal: Principal,
        project: str,
        *,
        name: str | None,
        type: str | None,
        limit: int,
        cursor: str | None,
    ) -> Json | None:
        """A page of the project's versions, newest first; None when the project is not visible."""
        after = _position(cursor)
        with self._engine.read() as db:
            project_id = find_project(db, principal, project)
            if project_id is None:
                return None
            rows = db.execute(
                f"{SELECT} WHERE a.project_id = ? AND (? IS NULL OR a.name = ?) AND (? IS NULL OR a.type = ?)"
                " AND (a.created_ms < ? OR (a.created_ms = ? AND a.artifact_id < ?))"
                " ORDER BY a.created_ms DESC, a.artifact_id DESC LIMIT ?",
                (project_id, name, name, type, type, *after, limit + 1),
            ).fetchall()
            found = [describe(db, Version(*row)) for row in rows[:limit]]
        return {"artifacts": found, "page": _page(rows, limit, lambda row: (row[11], row[1]))}

    def get(self, principal: Principal, artifact_id: str, *, files: int, after: str | None) -> Json | None:
        """A version with at most ``files`` of its files, those after the path ``after``, and its lineage."""
        with self._engine.read() as db:
            row = visible_version(db, principal, artifact_id)
            if row is None:
                return None
            found = describe(db, row)
            listed = list_files(db, row, files + 1, after)
            found["files"] = listed[:files]
            more = len(listed) > files
            found["page"] = {"hasMore": more, "nextCursor": listed[files - 1]["path"] if more else None}
            found["madeBy"] = list_runs(db, artifact_id, "made")
            found["usedBy"] = list_runs(db, artifact_id, "used")
        return found

    def use(self, principal: Principal, run_id: str, project: str | None, reference: str) -> Json:
        """The version that ``reference`` means to the run, with all its files; noted as used by the run.

        ``reference`` is ``name``, ``name:alias``, ``name:vN``, each with ``project/`` before it, or an artifact's id.
        Raises :class:`Refusal` 404 when the run or the version is not visible.
        """

        def note(db: Db) -> tuple[Run, Version]:
            run = known_run(db, principal, run_id, project)
            row = resolve(db, principal, run.project_id, reference)
            if row is None:
                raise not_found(f"Artifact {reference[:200]!r}")
            link(db, run.run_id, row.artifact_id, "used")
            return run, row

        _, row = self._engine.write(note, lambda noted: self._tell(noted[0])).result()
        with self._engine.read() as db:
            return describe(db, row) | {"files": list_files(db, row, row.files, None)}

    def file(self, principal: Principal, artifact_id: str, path: str) -> Json | None:
        """One file of a version: ``sizeBytes``, ``sha256``, ``uri`` when it lies elsewhere, and ``workspaceId``."""
        with self._engine.read() as db:
            row = visible_version(db, principal, artifact_id)
            found = (
                row
                and db.execute(
                    "SELECT f.size_bytes, f.sha256, f.uri, p.workspace_id FROM artifact_files f"
                    " JOIN projects p ON p.project_id = f.project_id"
                    " WHERE f.project_id = ? AND f.artifact_id = ? AND f.path = ?",
                    (row.project_id, artifact_id, path),
                ).fetchone()
            )
        return dict(zip(("sizeBytes", "sha256", "uri", "workspaceId"), found)) if found else None

    def version(self, principal: Principal, artifact_id: str) -> Version | None:
        """The row of a version; None when it is not visible."""
        with self._engine.read() as db:
            return visible_version(db, principal, artifact_id)

    def stored(self, principal: Principal, artifact_id: str, after: str) -> list[StoredFile]:
        """The next :data:`STORED_PAGE` files whose content is here, by path; none when the version is not visible."""
        with self._engine.read() as db:
            row = visible_version(db, principal, artifact_id)
            return [] if row is None else stored_files(db, row, STORED_PAGE, after)

    def change_aliases(self, principal: Principal, artifact_id: str, add: list[str], remove: list[str]) -> Json | None:
        """Move aliases to a version, or take them from it. Raises :class:`Refusal`; None when it is not visible."""
        if LATEST in (*add, *remove):
            raise invalid("latest cannot be given or taken.", "It is always the newest version.")
        added, removed = clean_aliases(add), clean_aliases(remove)

        def change(db: Db) -> Version | None:
            row = visible_version(db, principal, artifact_id)
            if row is not None:
                db.executemany(
                    "DELETE FROM artifact_aliases WHERE project_id = ? AND name = ? AND alias = ? AND artifact_id = ?",
                    [(row.project_id, row.name, alias, artifact_id) for alias in removed],
                )
                set_aliases(db, row.project_id, row.name, artifact_id, added)
            return row

        return self._changed(principal, change)

    def delete(self, principal: Principal, artifact_id: str) -> Json | None:
        """Remove a version, whoever uses it; what it was is returned. None when it is not visible."""

        def remove(db: Db) -> Version | None:
            row = visible_version(db, principal, artifact_id)
            if row is not None:
                remove_version(db, row.project_id, artifact_id)
                newest = newest_version(db, row.project_id, row.name)
                if newest is not None:
                    set_aliases(db, row.project_id, row.name, newest[0], [LATEST])
            return row

        return self._changed(principal, remove)

    def _changed(self, principal: Principal, change: Callable[[Db], Version | None]) -> Json | None:
        def tell(row: Version | None) -> None:
            if row is not None:
                self._tell(Run(row.run_id, row.project_id, principal.workspace_id))

        row = self._engine.write(change, tell).result()
        if row is None:
            return None
        with self._engine.read() as db:
            return describe(db, row)

    def _tell(self, run: Run) -> None:
        self._publish([changed(run, "artifacts")])


def _position(cursor: str | None) -> tuple[int, int, str]:
    """Before what to go on, as the ``ORDER BY`` needs it."""
    if not cursor:
        return 2**62, 2**62, ""
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise invalid("The cursor is not one of this server.", "Begin again without a cursor.")
    return int(match[1]), int(match[1]), match[2]


def _page(rows: list[Any], limit: int, position: Callable[[Any], tuple[int, str]]) -> Json:
    more = len(rows) > limit
    return {"hasMore": more, "nextCursor": "{}-{}".format(*position(rows[limit - 1])) if more else None}
