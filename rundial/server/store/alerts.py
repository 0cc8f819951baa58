"""The alerts of a project: what its runs raised for people to look at."""

from __future__ import annotations

from typing import Any

import msgspec

from rundial.server.store.accounts import Principal
from rundial.server.store.admission import find_project
from rundial.server.store.cursors import behind, cut_page, position_of
from rundial.server.store.engine import Engine
from rundial.server.store.run_edits import PRESENT

Json = dict[str, Any]


class Alerts:
    """Reading markers of the kind ``alert`` over all runs of a project."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of_project(
        self, principal: Principal, project: str, *, limit: int, cursor: str | None
    ) -> tuple[list[Json], str | None] | None:
        """A page of alerts, newest first; None when the project is not visible.

        Raises :class:`Refusal` for a cursor that is none.
        """
        after = position_of(cursor, int, str, int)
        with self._engine.read() as db:
            project_id = find_project(db, principal, project)
            if project_id is None:
                return None
            where, values = behind("m.time_ms, m.run_id, m.place", after)
            rows = db.execute(
                "SELECT m.run_id, m.place, r.name, m.time_ms, m.name, m.step, m.attrs"
                " FROM runs r JOIN markers m ON m.run_id = r.run_id"
                f" WHERE r.project_id = ? AND m.kind = 'alert' AND {PRESENT}{where}"
                " ORDER BY m.time_ms DESC, m.run_id DESC, m.place DESC LIMIT ?",
                (project_id, *values, limit + 1),
            ).fetchall()
        return cut_page(rows, limit, _document, lambda row: (row[3], row[0], row[1]))


def _document(row: tuple[Any, ...]) -> Json:
    run_id, place, run_name, ms, title, step, attrs = row
    said = msgspec.json.decode(attrs)
    return {
        "runId": run_id,
        "place": place,
        "runName": run_name,
        "timeMs": ms,
        "title": title,
        "step": step,
        "level": said.get("level") or "info",
        "text": said.get("text") or "",
    }
