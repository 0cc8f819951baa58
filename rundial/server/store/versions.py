"""Versions of artifacts inside a transaction: making one, finding one, keeping the number of them in bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from rundial.server.store.accounts import Principal, now_ms, within_bounds, within_project
from rundial.server.store.admission import document, find_project
from rundial.server.store.changes import Change
from rundial.server.store.engine import Db
from rundial.server.store.manifest import LATEST, MAX_METADATA, Initiation
from rundial.server.store.refusal import not_found

MAX_USERS = 1000
"""Runs named as users of a version at most."""
Json = dict[str, Any]
Publish = Callable[[Sequence[Change]], None]
_VERSION = re.compile("v([1-9][0-9]{0,8})")

VISIBLE = within_bounds("p")
SELECT = (
    "SELECT a.project_id, a.artifact_id, a.run_id, a.name, a.type, a.version, a.digest, a.metadata, a.files,"
    " a.size_bytes, a.step, a.created_ms, p.slug FROM artifacts a JOIN projects p ON p.project_id = a.project_id"
)


class Run(NamedTuple):
    """A run that somebody may see."""

    run_id: str
    project_id: str
    workspace_id: str


class StoredFile(NamedTuple):
    """A file of a version whose content is here."""

    path: str
    size: int
    sha256: str
    workspace_id: str


class Version(NamedTuple):
    """A version as the table has it, with its project's slug."""

    project_id: str
    artifact_id: str
    run_id: str
    name: str
    type: str | None
    version: int
    digest: str
    metadata: str
    files: int
    size_bytes: int
    step: int | None
    created_ms: int
    project_slug: str


def changed(run: Run, kind: str) -> Change:
    """What the live stream is told when a run has more of a kind."""
    return Change(run.run_id, run.project_id, run.workspace_id, [], [], False, frozenset({kind}))


def visible_run(db: Db, principal: Principal, run_id: str) -> Run | None:
    row = db.execute(
        "SELECT p.run_id, p.project_id, p.workspace_id FROM runs p WHERE p.run_id = ? AND " + VISIBLE,
        (run_id, *principal.bounds),
    ).fetchone()
    return Run(*row) if row else None


def known_run(db: Db, principal: Principal, run_id: str, project: str | None) -> Run:
    """The run, in the project if one is named. Raises :class:`Refusal` 404."""
    run = visible_run(db, principal, run_id)
    if run is not None:
        principal = within_project(db, principal, run.project_id)
    if run is None or (project is not None and find_project(db, principal, project) != run.project_id):
        raise not_found(f"Run {run_id[:200]!r}")
    return run


def publish_version(
    db: Db, run: Run, artifact_id: str, plan: Initiation, digest: str, files: int, size: int
) -> tuple[Json, bool]:
    """Make the uploaded files a version, or find that they are the newest version already.

    Args:
        artifact_id: the files are listed under it.
        plan: name, type, aliases, metadata, step and retention, all checked.
        digest: of the manifest.
        files, size: their number, and their bytes together.

    Returns:
        The version's document, and whether it was there before.
    """
    newest = newest_version(db, run.project_id, plan.name)
    deduped = newest is not None and newest[1:3] == (digest, plan.artifact_type)
    if newest is not None and deduped:
        drop_files(db, run.project_id, artifact_id)
        artifact_id = newest[0]
        _add_metadata(db, run.project_id, artifact_id, plan.metadata or {})
    else:
        _insert(db, run, artifact_id, plan, digest, files, size)
    _move_aliases(db, run, artifact_id, plan)
    link(db, run.run_id, artifact_id, "made")
    row = db.execute(f"{SELECT} WHERE a.project_id = ? AND a.artifact_id = ?", (run.project_id, artifact_id)).fetchone()
    found = describe(db, Version(*row))
    del found["metadata"]  # the answer is kept, to be given again
    if plan.keep_last is not None:
        _retain(db, run, plan.name, plan.keep_last)
    return found, deduped


def _insert(db: Db, run: Run, artifact_id: str, plan: Initiation, digest: str, files: int, size: int) -> None:
    db.execute(
        "INSERT INTO artifact_names (project_id, name, versions) VALUES (?, ?, 1)"
        " ON CONFLICT (project_id, name) DO UPDATE SET versions = artifact_names.versions + 1",
        (run.project_id, plan.name),
    )
    version = db.execute(
        "SELECT versions FROM artifact_names WHERE project_id = ? AND name = ?", (run.project_id, plan.name)
    ).fetchone()[0]
    db.execute(
        "INSERT INTO artifacts (project_id, artifact_id, run_id, name, type, version, digest, metadata, files,"
        " size_bytes, step, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            run.project_id,
            artifact_id,
            run.run_id,
            plan.name,
            plan.artifact_type,
            version,
            digest,
            document(plan.metadata or {}),
            files,
            size,
            plan.step,
            plan.time_ms or now_ms(),
        ),
    )


def is_held(db: Db, artifact_id: str, sha256: str) -> bool:
    """Whether a version that is still there has a file with this content."""
    row = db.execute(
        "SELECT 1 FROM artifacts a JOIN artifact_files f ON f.project_id = a.project_id"
        " AND f.artifact_id = a.artifact_id WHERE a.artifact_id = ? AND f.sha256 = ? AND f.uri IS NULL LIMIT 1",
        (artifact_id, sha256),
    ).fetchone()
    return row is not None


def remove_version(db: Db, project_id: str, artifact_id: str) -> None:
    """Remove a version with its aliases and lineage; the files' contents go when nothing else has them."""
    drop_files(db, project_id, artifact_id)
    db.execute("DELETE FROM artifact_aliases WHERE project_id = ? AND artifact_id = ?", (project_id, artifact_id))
    db.execute("DELETE FROM artifact_runs WHERE artifact_id = ?", (artifact_id,))
    db.execute("DELETE FROM artifacts WHERE project_id = ? AND artifact_id = ?", (project_id, artifact_id))


def drop_files(db: Db, project_id: str, artifact_id: str) -> None:
    db.execute("DELETE FROM artifact_files WHERE project_id = ? AND artifact_id = ?", (project_id, artifact_id))


def _retain(db: Db, run: Run, name: str, keep: int) -> None:
    """Remove what the run made beyond its newest ``keep``, but nothing that has an alias or that another run uses."""
    rows = db.execute(
        "SELECT artifact_id FROM artifacts WHERE project_id = ? AND name = ? AND run_id = ?"
        " ORDER BY created_ms DESC, version DESC",
        (run.project_id, name, run.run_id),
    ).fetchall()
    for (artifact_id,) in rows[keep:]:
        wanted = db.execute(
            "SELECT 1 FROM artifact_aliases WHERE project_id = ? AND artifact_id = ?"
            " UNION ALL SELECT 1 FROM artifact_runs WHERE artifact_id = ? AND run_id <> ? LIMIT 1",
            (run.project_id, artifact_id, artifact_id, run.run_id),
        ).fetchone()
        if wanted is None:
            remove_version(db, run.project_id, artifact_id)


def _add_metadata(db: Db, project_id: str, artifact_id: str, more: Json) -> None:
    """What is said of the same files again is added; what was said first is lost only if there is no room for both."""
    if not more:
        return
    where = (project_id, artifact_id)
    known = db.execute("SELECT metadata FROM artifacts WHERE project_id = ? AND artifact_id = ?", where).fetchone()[0]
    merged = document(msgspec.json.decode(known) | more)
    text = merged if len(merged) <= MAX_METADATA else document(more)
    db.execute("UPDATE artifacts SET metadata = ? WHERE project_id = ? AND artifact_id = ?", (text, *where))


def _move_aliases(db: Db, run: Run, artifact_id: str, plan: Initiation) -> None:
    """Move ``latest`` and aliases to the version, except from what the run logged later: uploads overtake others."""
    later = {
        alias
        for (alias,) in db.execute(
            "SELECT l.alias FROM artifact_aliases l JOIN artifacts a ON a.project_id = l.project_id"
            " AND a.artifact_id = l.artifact_id"
            " WHERE l.project_id = ? AND l.name = ? AND a.run_id = ? AND a.created_ms > ?",
            (run.project_id, plan.name, run.run_id, plan.time_ms or now_ms()),
        )
    }
    wanted = [alias for alias in (LATEST, *(plan.aliases or ())) if alias not in later]
    set_aliases(db, run.project_id, plan.name, artifact_id, wanted)


def set_aliases(db: Db, project_id: str, name: str, artifact_id: str, aliases: list[str]) -> None:
    db.executemany(
        "INSERT INTO artifact_aliases (project_id, name, alias, artifact_id) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (project_id, name, alias) DO UPDATE SET artifact_id = excluded.artifact_id",
        [(project_id, name, alias, artifact_id) for alias in aliases],
    )


def link(db: Db, run_id: str, artifact_id: str, role: str) -> None:
    db.execute(
        "INSERT INTO artifact_runs (run_id, artifact_id, role, time_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (run_id, artifact_id, role, now_ms()),
    )


def newest_version(db: Db, project_id: str, name: str) -> tuple[str, str, str | None] | None:
    """Id, digest and type of the version that is ``latest``, or should be."""
    row: tuple[str, str, str | None] | None = db.execute(
        "SELECT a.artifact_id, a.digest, a.type FROM artifacts a LEFT JOIN artifact_aliases l"
        " ON l.project_id = a.project_id AND l.artifact_id = a.artifact_id AND l.alias = ?"
        " WHERE a.project_id = ? AND a.name = ?"
        " ORDER BY CASE WHEN l.alias IS NULL THEN 0 ELSE 1 END DESC, a.created_ms DESC, a.version DESC LIMIT 1",
        (LATEST, project_id, name),
    ).fetchone()
    return row


def visible_version(db: Db, principal: Principal, artifact_id: str) -> Version | None:
    row = db.execute(f"{SELECT} WHERE a.artifact_id = ? AND {VISIBLE}", (artifact_id, *principal.bounds)).fetchone()
    return Version(*row) if row else None


def resolve(db: Db, principal: Principal, project_id: str, reference: str) -> Version | None:
    """A reference is read from the nearest meaning outwards, as names may have ``/`` and ``:`` in them themselves."""
    places = [(project_id, reference)]
    project, slash, rest = reference.partition("/")
    other = find_project(db, within_project(db, principal, project_id), project) if slash else None
    if other is not None:
        places.append((other, rest))
    for place, text in places:
        name, colon, label = text.rpartition(":")
        for found in ((name, label) if colon else None, (text, LATEST)):
            artifact_id = found and _labelled(db, place, *found)
            if artifact_id:
                return visible_version(db, principal, artifact_id)
    return visible_version(db, principal, reference)


def _labelled(db: Db, project_id: str, name: str, label: str) -> str | None:
    version = _VERSION.fullmatch(label)
    row = (
        version
        and db.execute(
            "SELECT artifact_id FROM artifacts WHERE project_id = ? AND name = ? AND version = ?",
            (project_id, name, int(version[1])),
        ).fetchone()
    )
    row = (
        row
        or db.execute(
            "SELECT artifact_id FROM artifact_aliases WHERE project_id = ? AND name = ? AND alias = ?",
            (project_id, name, label),
        ).fetchone()
    )
    return row[0] if row else None


def describe(db: Db, row: Version) -> Json:
    aliases = db.execute(
        "SELECT alias FROM artifact_aliases WHERE project_id = ? AND artifact_id = ? ORDER BY alias",
        (row.project_id, row.artifact_id),
    )
    return {
        "artifactId": row.artifact_id,
        "projectId": row.project_id,
        "projectSlug": row.project_slug,
        "runId": row.run_id,
        "name": row.name,
        "version": row.version,
        "type": row.type,
        "aliases": [alias for (alias,) in aliases],
        "metadata": msgspec.json.decode(row.metadata),
        "fileCount": row.files,
        "sizeBytes": row.size_bytes,
        "sha256": row.digest,
        "step": row.step,
        "createdAtMs": row.created_ms,
    }


def list_files(db: Db, row: Version, limit: int, after: str | None) -> list[Json]:
    rows = db.execute(
        "SELECT path, size_bytes, sha256, content_type, uri, etag FROM artifact_files"
        " WHERE project_id = ? AND artifact_id = ? AND path > ? ORDER BY path LIMIT ?",
        (row.project_id, row.artifact_id, after or "", limit),
    )
    names = ("path", "sizeBytes", "sha256", "contentType", "uri", "etag")
    # Only references have the last two.
    return [dict(zip(names, file if file[4] is not None else file[:4])) for file in rows]


def stored_files(db: Db, row: Version, limit: int, after: str) -> list[StoredFile]:
    """The next files by path that are no references."""
    rows = db.execute(
        "SELECT f.path, f.size_bytes, f.sha256, p.workspace_id FROM artifact_files f"
        " JOIN projects p ON p.project_id = f.project_id"
        " WHERE f.project_id = ? AND f.artifact_id = ? AND f.uri IS NULL AND f.path > ? ORDER BY f.path LIMIT ?",
        (row.project_id, row.artifact_id, after, limit),
    )
    return [StoredFile(*file) for file in rows]


def list_runs(db: Db, artifact_id: str, role: str) -> list[Json]:
    rows = db.execute(
        "SELECT r.run_id, r.name, r.status FROM artifact_runs l JOIN runs r ON r.run_id = l.run_id"
        " WHERE l.artifact_id = ? AND l.role = ? ORDER BY l.time_ms, r.run_id LIMIT ?",
        (artifact_id, role, MAX_USERS),
    )
    return [{"runId": run_id, "runName": name, "status": status} for run_id, name, status in rows]
