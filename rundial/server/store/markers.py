"""Markers: what happened to a run and when, for its charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rundial.server.store.engine import Db
from rundial.server.store.lists import marks, parts

MAX_MARKERS = 10_000

Json = dict[str, Any]


def markers_of(db: Db, run_ids: Sequence[str], limit: int) -> dict[str, list[Json]]:
    """Of each run the newest ``limit``, oldest first, with one where each later attempt begins."""
    found: dict[str, list[Json]] = {run_id: [] for run_id in run_ids}
    attempts: dict[str, list[tuple[int, int | None]]] = {run_id: [] for run_id in found}
    for part in parts(list(found)):
        for run_id, ms, kind, name, step, attrs in db.execute(
            "SELECT run_id, time_ms, kind, name, step, attrs FROM (SELECT m.run_id, m.time_ms, m.kind, m.name, m.step,"
            " m.attrs, row_number() OVER (PARTITION BY m.run_id ORDER BY m.time_ms DESC, m.place DESC) AS number"
            f" FROM markers m WHERE m.run_id IN ({marks(part)})) AS newest WHERE number <= ?"
            " ORDER BY run_id, number DESC",
            (*part, limit),
        ):
            marker = {"timeMs": ms, "kind": kind, "name": name, "step": step, "attrs": msgspec.json.decode(attrs)}
            found[run_id].append(marker)
        for run_id, ms, step in db.execute(
            f"SELECT run_id, started_ms, base_step FROM streams WHERE run_id IN ({marks(part)})"
            " AND part = 0 AND rank = 0 ORDER BY run_id, started_ms, stream",
            part,
        ):
            attempts[run_id].append((ms, step))
    return {run_id: _with_resumes(markers, attempts[run_id]) for run_id, markers in found.items()}


def _with_resumes(found: list[Json], attempts: Sequence[tuple[int, int | None]]) -> list[Json]:
    # Whoever continues a run has no marker of its own: the attempt says when, and from which step on.
    resumes: list[Json] = [
        {"timeMs": ms, "kind": "resume", "name": f"attempt {number}", "step": step, "attrs": {}}
        for number, (ms, step) in enumerate(attempts[1:], 2)
    ]
    return sorted(found + resumes, key=lambda marker: marker["timeMs"]) if resumes else found
