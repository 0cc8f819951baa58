"""Runs: what there is to see of workspaces, projects and runs, as the documents of docs/http.md.

Whatever the principal may not see is left out, or None, exactly as if it did not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rundial.server.store.accounts import Principal, within_bounds
from rundial.server.store.admission import find_project
from rundial.server.store.cursors import cursor_of, position_of
from rundial.server.store.engine import Db, Engine
from rundial.server.store.lists import marks, parts
from rundial.server.store.markers import MAX_MARKERS, markers_of
from rundial.server.store.run_documents import attempts_of, documents
from rundial.server.store.run_edits import PRESENT
from rundial.server.store.run_orders import Filter, check_order, ordered

Json = dict[str, Any]
_Page = tuple[list[Json], str | None]

_VISIBLE = f"{within_bounds('r')} AND {PRESENT}"


class Runs:
    """Reading what the store knows of runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def workspaces(self, principal: Principal, *, limit: int, cursor: str | None) -> _Page:
        """The workspaces the principal may see, by slug: that of his key, or all of them."""
        after = position_of(cursor, str)
        workspace_id = principal.bounds[0]
        with self._engine.read() as db:
            rows = db.execute(
                "SELECT workspace_id, slug, name FROM workspaces WHERE (? IS NULL OR workspace_id = ?) AND slug > ?"
                " ORDER BY slug LIMIT ?",
                (workspace_id, workspace_id, after[0] if after else "", limit + 1),
            ).fetchall()
        role = "owner" if principal.may("admin") else "member" if principal.may("metrics:write") else "viewer"
        found = [{"workspaceId": row[0], "workspaceSlug": row[1], "name": row[2], "role": role} for row in rows[:limit]]
        return found, cursor_of(rows[limit - 1][1]) if len(rows) > limit else None

    def projects(self, principal: Principal, workspace: str, *, limit: int, cursor: str | None) -> _Page | None:
        """Projects by slug; None when the workspace is not visible."""
        if not _is_own(principal, workspace):
            return None
        after = position_of(cursor, str)
        with self._engine.read() as db:
            rows = db.execute(
                "SELECT p.project_id, p.slug, p.name, count(r.run_id),"
                " coalesce(sum(CASE WHEN r.status = 'running' THEN 1 ELSE 0 END), 0),"
                " coalesce(max(r.updated_ms), p.created_ms)"
                f" FROM projects p LEFT JOIN runs r ON r.project_id = p.project_id AND {PRESENT}"
                " WHERE p.workspace_id = ? AND (? IS NULL OR p.project_id = ?) AND p.slug > ?"
                " GROUP BY p.project_id, p.slug, p.name, p.created_ms ORDER BY p.slug LIMIT ?",
                (
                    *(principal.workspace_id, principal.project_id, principal.project_id),
                    *(after[0] if after else "", limit + 1),
                ),
            ).fetchall()
        names = ("projectId", "projectSlug", "name", "runCount", "runningCount", "updatedAtMs")
        documents = [dict(zip(names, row)) for row in rows[:limit]]
        return documents, cursor_of(rows[limit - 1][1]) if len(rows) > limit else None

    def query(
        self,
        principal: Principal,
        workspace: str,
        project: str,
        *,
        limit: int,
        order: str,
        order_by: str,
        cursor: str | None,
        search: str | None,
        statuses: Sequence[str],
        archived: bool | None = None,
    ) -> _Page | None:
        """A page of a project's runs; None when the project is not visible.

        Args:
            order: ``asc`` or ``desc``.
            order_by: see :func:`ordered`.
            cursor: where the page before ended, as it said.
            search: a part of the name or id, in whatever case.
            statuses: only runs in one of these; none means all.
            archived: only archived runs, or only others; None means both.

        Raises:
            Refusal: an unknown order or a cursor that is none.
        """
        check_order(order_by, order)
        with self._engine.read() as db:
            project_id = find_project(db, principal, project) if _is_own(principal, workspace) else None
            if project_id is None:
                return None
            where, values = [PRESENT], []
            if archived is not None:
                where.append(f"r.archived_ms IS {'NOT ' if archived else ''}NULL")
            for part, more in (_search(search), _statuses(statuses)):
                if part:
                    where.append(part)
                    values += more
            run_ids, following = ordered(
                db, Filter(project_id, " AND ".join(where), values), order_by, order, cursor, limit
            )
            return documents(db, run_ids), following

    def row(self, principal: Principal, run_id: str) -> Json | None:
        """The run as in a list."""
        with self._engine.read() as db:
            return _visible_document(db, principal, run_id)

    def get(self, principal: Principal, run_id: str) -> Json | None:
        """The run with its attempts, traceback and counts of non-finite values."""
        with self._engine.read() as db:
            document = _visible_document(db, principal, run_id)
            if document is None:
                return None
            traceback, environment = db.execute(
                "SELECT traceback, environment FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
            document["traceback"], document["environment"] = traceback, msgspec.json.decode(environment)
            document["attempts"], document["nonFinite"] = attempts_of(db, run_id)
        return document

    def visible(self, principal: Principal, run_ids: Sequence[str]) -> bool:
        """Whether the principal may see all of the runs."""
        with self._engine.read() as db:
            return _visible_ids(db, principal, run_ids) >= set(run_ids)

    def markers(self, principal: Principal, run_id: str) -> list[Json] | None:
        """The run's markers, oldest first, with one where each later attempt begins."""
        found = self.markers_of(principal, [run_id], MAX_MARKERS)
        return None if found is None else found[run_id]

    def markers_of(self, principal: Principal, run_ids: Sequence[str], limit: int) -> dict[str, list[Json]] | None:
        """The same of many runs, of each the newest ``limit``."""
        if not self.visible(principal, run_ids):
            return None
        with self._engine.read() as db:
            return markers_of(db, run_ids, limit)

    def project_of(self, principal: Principal, project: str) -> str | None:
        """The id of a project, from its id or slug."""
        with self._engine.read() as db:
            return find_project(db, principal, project)


def _is_own(principal: Principal, workspace: str) -> bool:
    return workspace in (principal.workspace_slug, principal.workspace_id)


def _visible_document(db: Db, principal: Principal, run_id: str) -> Json | None:
    return documents(db, [run_id])[0] if _visible_ids(db, principal, [run_id]) else None


def _visible_ids(db: Db, principal: Principal, run_ids: Sequence[str]) -> set[str]:
    """Those of the runs that the principal may see."""
    found: set[str] = set()
    for part in parts(list(dict.fromkeys(run_ids))):
        rows = db.execute(
            f"SELECT r.run_id FROM runs r WHERE r.run_id IN ({marks(part)}) AND {_VISIBLE}", (*part, *principal.bounds)
        )
        found.update(row[0] for row in rows)
    return found


def _search(text: str | None) -> tuple[str, list[Any]]:
    if not text:
        return "", []
    escaped = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return "(lower(r.name) LIKE ? ESCAPE '\\' OR lower(r.run_id) LIKE ? ESCAPE '\\')", [f"%{escaped}%"] * 2


def _statuses(statuses: Sequence[str]) -> tuple[str, list[Any]]:
    wanted = list(dict.fromkeys(statuses))[:100]
    return (f"r.status IN ({', '.join('?' * len(wanted))})", wanted) if wanted else ("", [])
