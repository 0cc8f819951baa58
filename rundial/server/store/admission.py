"""Admission: which project and run a new stream belongs to, by its first record."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from rundial.events import RunStart
from rundial.server.store.accounts import Principal, new_id, now_ms, within
from rundial.server.store.engine import Db
from rundial.server.store.quota import check_projects, count_run
from rundial.server.store.refusal import Refusal, invalid, not_found
from rundial.server.store.tenancy import make_workspace

MAX_NAME = 200
MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of a run's whole config or summary as JSON."""
MAX_DEPTH = 64
MAX_TAGS = 1000
MAX_NOTES = 100_000
_SILENCE_MS = 120_000
_BEATS = 3


class Admitted(NamedTuple):
    """The run a stream belongs to from now on."""

    run_id: str
    created: bool
    base_step: int | None
    """The largest step of the run before this stream."""
    problem: str | None
    """Why the config of the record could not be taken."""


def admit(db: Db, principal: Principal, stream: str, start: RunStart) -> Admitted:
    """Create, attach to or reopen the run that ``start`` names, and note the stream as an attempt at it.

    Raises :class:`Refusal` when the run cannot be had on these terms; then nothing was changed.
    """
    run_id = checked_name("run id", start.run_id)
    row = db.execute(
        "SELECT workspace_id, project_id, status, last_step FROM runs WHERE run_id = ?", (run_id,)
    ).fetchone()
    if row is not None:
        _attach(db, principal, run_id, start, row[:3])
    elif start.resume == "must":
        raise not_found(f"Run {run_id}")
    else:
        _create_run(db, principal, run_id, start)
    problem: str | None = None
    try:
        merge_document(db, run_id, "config", start.config)
    except ValueError as error:
        problem = str(error)
    base_step = row[3] if row else None
    _note_stream(db, run_id, stream, start, row is None, base_step)
    return Admitted(run_id, row is None, base_step, problem)


def _attach(db: Db, principal: Principal, run_id: str, start: RunStart, row: tuple[str, str, str]) -> None:
    workspace_id, project_id, status = row
    if not principal.sees(workspace_id, project_id):
        raise not_found(f"Run {run_id}")
    if start.part:
        return
    if start.resume == "never" and not (status == "running" and not _is_led(db, run_id)):
        raise Refusal(
            409, "CONFLICT", f"Run {run_id} exists already.", 'Choose another id, or continue it with resume="must".'
        )
    if start.resume == "allow" and status not in ("running", "crashed"):
        raise Refusal(
            409, "CONFLICT", f"Run {run_id} is {status}.", 'Reopen it with resume="must", or choose another id.'
        )
    if status != "running":
        db.execute(
            "UPDATE runs SET status = 'running', reason = NULL, traceback = NULL, finished_ms = NULL WHERE run_id = ?",
            (run_id,),
        )


def _is_led(db: Db, run_id: str) -> bool:
    """Whether a leading stream has begun the run; its parts (other ranks, forked children) may come first."""
    return db.execute("SELECT 1 FROM streams WHERE run_id = ? AND part = 0 LIMIT 1", (run_id,)).fetchone() is not None


def _create_run(db: Db, principal: Principal, run_id: str, start: RunStart) -> None:
    principal, project_id = place(db, principal, start.workspace, start.project)
    count_run(principal.workspace_id, now_ms())
    started_ms = start.time_ns // 1_000_000
    db.execute(
        "INSERT INTO runs (run_id, workspace_id, project_id, name, kind, status, run_group, job_type, tags, config,"
        " summary, points, markers, started_ms, updated_ms, path, alias, notes, environment)"
        " VALUES (?, ?, ?, ?, ?, 'running', ?, ?, ?, '{}', '{}', 0, 0, ?, ?, ?, ?, ?, '{}')",
        (
            run_id,
            principal.workspace_id,
            project_id,
            clean_text(start.name, MAX_NAME) or run_id,
            start.kind,
            start.group and clean_text(start.group, MAX_NAME),
            start.job_type and clean_text(start.job_type, MAX_NAME),
            tags_document(start.tags),
            started_ms,
            now_ms(),
            clean_text(start.path or "", MAX_NAME),
            start.alias and clean_text(start.alias, MAX_NAME),
            start.notes and clean_text(start.notes, MAX_NOTES),
        ),
    )


def _note_stream(db: Db, run_id: str, stream: str, start: RunStart, created: bool, base_step: int | None) -> None:
    try:
        system = document(start.system)
    except ValueError:  # said of the machine for the reader's convenience; the run does not depend on it
        system = "{}"
    beat = start.heartbeat_seconds if 0 < start.heartbeat_seconds < 3600 else 3600.0
    db.execute(
        "INSERT INTO streams (run_id, stream, next_seq, created_run, base_step, rank, part, host, pid, client, system,"
        " silence_ms, status, started_ms, last_seen_ms, received, duplicate, rejected, dropped, non_finite)"
        " VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'running', ?, ?, 0, 0, '{}', '{}', '{}')",
        (
            run_id,
            stream,
            int(created),
            base_step,
            _int64(start.rank),
            int(start.part),
            clean_text(start.host, MAX_NAME),
            _int64(start.pid),
            clean_text(start.client, MAX_NAME),
            system,
            max(_SILENCE_MS, int(_BEATS * beat * 1000)),
            start.time_ns // 1_000_000,
            now_ms(),
        ),
    )


def place(db: Db, principal: Principal, workspace: str, project: str) -> tuple[Principal, str]:
    """The principal as one of the workspace, and the id of the project; each is named by slug, id or name.

    What does not exist is made: a workspace for the owner of the server, a project for whom the scope allows it.
    Raises :class:`Refusal` 404 for others.
    """
    known = within(db, principal, workspace)
    if known is None and not principal.everywhere:
        raise not_found(f"Workspace {workspace[:MAX_NAME]!r}")
    principal = known or make_workspace(db, principal, checked_name("workspace", workspace))
    found = find_project(db, principal, project)
    if found is not None:
        return principal, found
    if principal.project_id is not None or not principal.may("project:write"):
        raise not_found(f"Project {project[:MAX_NAME]!r}")
    name = checked_name("project", project)
    check_projects(db, principal.workspace_id)
    project_id = new_id("prj")
    db.execute(
        "INSERT INTO projects (project_id, workspace_id, slug, name, created_ms) VALUES (?, ?, ?, ?, ?)",
        (project_id, principal.workspace_id, _free_slug(db, principal.workspace_id, name), name, now_ms()),
    )
    return principal, project_id


def find_project(db: Db, principal: Principal, project: str) -> str | None:
    """The id of a project the principal may see, named by its slug, its id or its name, in this order.

    Slugs and names are looked for in his own workspace, ids in every one he may see.
    """
    if principal.everywhere:
        known = db.execute("SELECT project_id FROM projects WHERE project_id = ?", (project,)).fetchone()
        if known is not None and principal.project_id in (None, known[0]):
            return str(known[0])
    row = db.execute(
        "SELECT project_id FROM projects WHERE workspace_id = ? AND (slug = ? OR project_id = ? OR name = ?)"
        " ORDER BY CASE WHEN slug = ? THEN 0 WHEN project_id = ? THEN 1 ELSE 2 END, created_ms LIMIT 1",
        (principal.workspace_id, *[project] * 5),
    ).fetchone()
    return row[0] if row and principal.project_id in (None, row[0]) else None


def _free_slug(db: Db, workspace_id: str, name: str) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or "project"
    taken = {
        row[0]
        for row in db.execute(
            "SELECT slug FROM projects WHERE workspace_id = ? AND slug LIKE ?", (workspace_id, stem + "%")
        )
    }
    slug, number = stem, 2
    while slug in taken:
        slug, number = f"{stem}-{number}", number + 1
    return slug


def checked_name(what: str, text: str) -> str:
    """A name as it came. Raises :class:`Refusal` when it could be taken for a path or cannot be shown."""
    if not text or len(text) > MAX_NAME or not text.isprintable() or "/" in text or text.strip(". ") == "":
        raise invalid(
            f"The {what} {text[:40]!r} cannot be used.", "Write 1 to 200 printable characters, no '/', not only dots."
        )
    return text


def clean_text(text: str, most: int) -> str:
    """Text without control characters but for line breaks and tabs, at most ``most`` characters."""
    text = text[:most]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def tags_document(tags: list[str]) -> str:
    return document([clean_text(tag, MAX_NAME) for tag in dict.fromkeys(tags)][:MAX_TAGS])


def document(value: Any) -> str:
    """A value as JSON text (NaN becomes null). Raises ValueError when it is too deep, too long or no JSON."""
    if not _is_shallow(value, MAX_DEPTH):
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"no JSON: {error}") from error
    if len(text) > MAX_DOCUMENT:
        raise ValueError(f"longer than {MAX_DOCUMENT} bytes")
    return text.decode()


def merge_document(db: Db, run_id: str, column: str, update: dict[str, Any]) -> None:
    """Merge ``update`` into the run's ``config`` or ``summary``, nested mappings key by key. Raises ValueError."""
    if not update:
        return
    assert column in ("config", "summary")
    update = msgspec.json.decode(document(update))
    old = msgspec.json.decode(db.execute(f"SELECT {column} FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0])
    db.execute(f"UPDATE runs SET {column} = ? WHERE run_id = ?", (document(_merged(old, update)), run_id))


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for key, value in new.items():
        known = result.get(key)
        result[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def _is_shallow(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(_is_shallow(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels > 0 and all(_is_shallow(item, levels - 1) for item in value)
    return True


def _int64(number: int) -> int:
    return number if -(2**63) <= number < 2**63 else -1
