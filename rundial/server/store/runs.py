"""Runs: what there is to see of workspaces, projects and runs, as the documents of docs/http.md.

Whatever the principal may not see is left out, or None, exactly as if it did not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rundial.events import SYSTEM_PREFIX
from rundial.server.store.accounts import Principal, within_bounds
from rundial.server.store.admission import find_project
from rundial.server.store.cursors import cursor_of, position_of
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import invalid
from rundial.server.store.run_edits import PRESENT
from rundial.server.store.series import key_facts

MAX_MARKERS = 10_000
SUMMARY_KEYS = 200
"""Metric keys whose last value stands in a run's summary at most."""

Json = dict[str, Any]
_Page = tuple[list[Json], str | None]

_ORDER = {
    "runId": "r.run_id",
    "startedAtMs": "r.started_ms",
    "updatedAtMs": "r.updated_ms",
    "runName": "r.name",
}
_RUN = (
    "SELECT r.run_id, r.name, r.kind, r.status, r.reason, r.project_id, p.slug, w.slug, r.run_group, r.job_type,"
    " r.tags, r.notes, r.config, r.summary, r.last_step, r.points, r.started_ms, r.updated_ms, r.finished_ms,"
    " r.path, r.alias, r.archived_ms,"
    " r.primary_name, r.primary_mode, r.best_value, r.best_step"
    " FROM runs r JOIN projects p ON p.project_id = r.project_id JOIN workspaces w ON w.workspace_id = r.workspace_id"
)
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
            order_by: ``runId``, ``startedAtMs``, ``updatedAtMs`` or ``runName``; equal ones are ordered by id.
            cursor: where the page before ended, as it said.
            search: a part of the name or id, in whatever case.
            statuses: only runs in one of these; none means all.
            archived: only archived runs, or only others; None means both.

        Raises:
            Refusal: an unknown order or a cursor that is none.
        """
        column = _ORDER.get(order_by)
        if column is None or order not in ("asc", "desc"):
            raise invalid(
                f"Runs cannot be ordered by {order_by[:40]!r} {order[:40]!r}.", f"Order by {', '.join(_ORDER)}."
            )
        with self._engine.read() as db:
            project_id = find_project(db, principal, project) if _is_own(principal, workspace) else None
            if project_id is None:
                return None
            where, values = ["r.project_id = ?", PRESENT], [project_id]
            if archived is not None:
                where.append(f"r.archived_ms IS {'NOT ' if archived else ''}NULL")
            for part, more in (_after(column, order, cursor), _search(search), _statuses(statuses)):
                if part:
                    where.append(part)
                    values += more
            rows = db.execute(
                f"{_RUN} WHERE {' AND '.join(where)} ORDER BY {column} {order}, r.run_id {order} LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
            documents = [_document(db, row) for row in rows[:limit]]
        return documents, cursor_of(documents[-1][order_by], documents[-1]["runId"]) if len(rows) > limit else None

    def row(self, principal: Principal, run_id: str) -> Json | None:
        """The run as in a list."""
        with self._engine.read() as db:
            row = _visible_row(db, principal, run_id)
            return _document(db, row) if row else None

    def get(self, principal: Principal, run_id: str) -> Json | None:
        """The run with its attempts, traceback and counts of non-finite values."""
        with self._engine.read() as db:
            row = _visible_row(db, principal, run_id)
            if row is None:
                return None
            document = _document(db, row)
            traceback, environment = db.execute(
                "SELECT traceback, environment FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
            document["traceback"], document["environment"] = traceback, msgspec.json.decode(environment)
            document["attempts"], document["nonFinite"] = _attempts(db, run_id)
        return document

    def visible(self, principal: Principal, run_ids: Sequence[str]) -> bool:
        """Whether the principal may see all of the runs."""
        with self._engine.read() as db:
            return all(
                db.execute(
                    f"SELECT 1 FROM runs r WHERE r.run_id = ? AND {_VISIBLE}", (run_id, *principal.bounds)
                ).fetchone()
                for run_id in dict.fromkeys(run_ids)
            )

    def markers(self, principal: Principal, run_id: str) -> list[Json] | None:
        """The run's markers, oldest first, with one where each later attempt begins."""
        found = self.markers_of(principal, [run_id], MAX_MARKERS)
        return None if found is None else found[run_id]

    def markers_of(self, principal: Principal, run_ids: Sequence[str], limit: int) -> dict[str, list[Json]] | None:
        """The same of many runs, of each the newest ``limit``."""
        if not self.visible(principal, run_ids):
            return None
        with self._engine.read() as db:
            return {run_id: _markers(db, run_id, limit) for run_id in run_ids}

    def project_of(self, principal: Principal, project: str) -> str | None:
        """The id of a project, from its id or slug."""
        with self._engine.read() as db:
            return find_project(db, principal, project)


def _markers(db: Db, run_id: str, limit: int) -> list[Json]:
    rows = db.execute(
        "SELECT time_ms, kind, name, step, attrs FROM markers WHERE run_id = ?"
        " ORDER BY time_ms DESC, place DESC LIMIT ?",
        (run_id, limit),
    ).fetchall()
    found = [
        {"timeMs": ms, "kind": kind, "name": name, "step": step, "attrs": msgspec.json.decode(attrs)}
        for ms, kind, name, step, attrs in reversed(rows)
    ]
    # Whoever continues a run has no marker of its own: the attempt says when, and from which step on.
    attempts = db.execute(
        "SELECT started_ms, base_step FROM streams WHERE run_id = ? AND part = 0 AND rank = 0"
        " ORDER BY started_ms, stream",
        (run_id,),
    ).fetchall()
    resumes = [
        {"timeMs": ms, "kind": "resume", "name": f"attempt {number}", "step": step, "attrs": {}}
        for number, (ms, step) in enumerate(attempts[1:], 2)
    ]
    return sorted(found + resumes, key=lambda marker: marker["timeMs"]) if resumes else found


def _is_own(principal: Principal, workspace: str) -> bool:
    return workspace in (principal.workspace_slug, principal.workspace_id)


def _visible_row(db: Db, principal: Principal, run_id: str) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = db.execute(
        f"{_RUN} WHERE r.run_id = ? AND {_VISIBLE}", (run_id, *principal.bounds)
    ).fetchone()
    return row


def _document(db: Db, row: tuple[Any, ...]) -> Json:
    names = (
        "runId",
        "runName",
        "kind",
        "status",
        "reason",
        "projectId",
        "projectSlug",
        "workspaceSlug",
        "group",
        "jobType",
        "tags",
        "notes",
        "config",
        "summary",
        "lastStep",
        "points",
        "startedAtMs",
        "updatedAtMs",
        "finishedAtMs",
        "path",
        "alias",
        "archivedAtMs",
    )
    document = dict(zip(names, row))
    for name in ("tags", "config", "summary"):
        document[name] = msgspec.json.decode(document[name])
    found = key_facts(db, document["runId"], SUMMARY_KEYS)
    last = {facts.name: facts.last_value for facts in found if not facts.name.startswith(SYSTEM_PREFIX)}
    document["summary"] = last | document["summary"]
    metric, mode, value, step = row[len(names) :]
    document["primaryMetric"] = None
    if metric is not None:
        document["primaryMetric"] = {"name": metric, "mode": mode, "value": value, "step": step}
        best = {"best_metric_name": metric, "best_metric_mode": mode}
        if value is not None:
            best |= {"best_metric_value": value, "best_metric_step": step}
        document["summary"] = best | document["summary"]
    return document


def _attempts(db: Db, run_id: str) -> tuple[list[Json], dict[str, int]]:
    attempts: list[Json] = []
    non_finite: dict[str, int] = {}
    for row in db.execute(
        "SELECT stream, host, pid, rank, client, system, started_ms, last_seen_ms, ended_ms, status, received,"
        " duplicate, rejected, dropped, non_finite, ledger FROM streams WHERE run_id = ? ORDER BY started_ms, stream",
        (run_id,),
    ):
        names = (
            "stream",
            "host",
            "pid",
            "rank",
            "client",
            "system",
            "startedAtMs",
            "lastSeenMs",
            "endedAtMs",
            "status",
        )
        attempt = dict(zip(names, row))
        attempt["system"] = msgspec.json.decode(attempt["system"])
        attempt["received"], attempt["duplicate"] = row[10], row[11]
        attempt["rejected"], attempt["dropped"] = msgspec.json.decode(row[12]), msgspec.json.decode(row[13])
        ledger = msgspec.json.decode(row[15]) if row[15] else {"logged": None, "nonFinite": {}}
        attempt["logged"] = ledger["logged"]
        attempt["ledger"] = ledger if row[15] else None
        attempts.append(attempt)
        # Markers are sent at once and may be fewer than the values; the client's own account comes at the end.
        seen: dict[str, int] = msgspec.json.decode(row[14])
        for key in seen | ledger["nonFinite"]:
            count = max(seen.get(key, 0), ledger["nonFinite"].get(key, 0))
            non_finite[key] = non_finite.get(key, 0) + count
    return attempts, non_finite


def _after(column: str, order: str, cursor: str | None) -> tuple[str, list[Any]]:
    """What comes behind the last row of the page before."""
    position = position_of(cursor, int if column.endswith("_ms") else str, str)
    if position is None:
        return "", []
    sign = ">" if order == "asc" else "<"
    value, run_id = position
    return f"({column} {sign} ? OR ({column} = ? AND r.run_id {sign} ?))", [value, value, run_id]


def _search(text: str | None) -> tuple[str, list[Any]]:
    if not text:
        return "", []
    escaped = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return "(lower(r.name) LIKE ? ESCAPE '\\' OR lower(r.run_id) LIKE ? ESCAPE '\\')", [f"%{escaped}%"] * 2


def _statuses(statuses: Sequence[str]) -> tuple[str, list[Any]]:
    wanted = list(dict.fromkeys(statuses))[:100]
    return (f"r.status IN ({', '.join('?' * len(wanted))})", wanted) if wanted else ("", [])
