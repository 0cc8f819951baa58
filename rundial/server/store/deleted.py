"""Deleted runs, for as long as they can be restored."""

from __future__ import annotations

from typing import Any

from rundial.server.store.accounts import Principal
from rundial.server.store.admission import find_project
from rundial.server.store.cursors import behind, cut_page, position_of
from rundial.server.store.engine import Engine
from rundial.server.store.run_edits import KEEP_MILLISECONDS, PRESENT

Json = dict[str, Any]


class Deleted:
    """Reading what was deleted."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of_project(
        self, principal: Principal, project: str, *, limit: int, cursor: str | None
    ) -> tuple[list[Json], str | None] | None:
        """A page of a project's deleted runs, the last deleted first; None when the project is not visible.

        Raises :class:`Refusal` for a cursor that is none.
        """
        after = position_of(cursor, int, str)
        with self._engine.read() as db:
            project_id = find_project(db, principal, project)
            if project_id is None:
                return None
            where, values = behind("r.deleted_ms, r.run_id", after)
            rows = db.execute(
                "SELECT r.run_id, r.name, r.status, r.started_ms, r.deleted_ms FROM runs r"
                f" WHERE r.project_id = ? AND r.deleted_ms IS NOT NULL AND NOT {PRESENT}{where}"
                " ORDER BY r.deleted_ms DESC, r.run_id DESC LIMIT ?",
                (project_id, *values, limit + 1),
            ).fetchall()
        return cut_page(rows, limit, _document, lambda row: (row[4], row[0]))


def _document(row: tuple[Any, ...]) -> Json:
    run_id, name, status, started_ms, deleted_ms = row
    return {
        "runId": run_id,
        "runName": name,
        "status": status,
        "startedAtMs": started_ms,
        "deletedAtMs": deleted_ms,
        "purgedAtMs": deleted_ms + KEEP_MILLISECONDS,
    }
