"""Run documents: rows of runs as what docs/http.md says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rundial.events import SYSTEM_PREFIX
from rundial.server.store.engine import Db
from rundial.server.store.lists import marks, parts
from rundial.server.store.metric_keys import KeyFacts, key_facts

SUMMARY_KEYS = 200
"""Metric keys whose last value stands in a run's summary at most."""

Json = dict[str, Any]
_NAMES = (
    *("runId", "runName", "kind", "status", "reason", "projectId", "projectSlug", "workspaceSlug", "group", "jobType"),
    *("tags", "notes", "config", "summary", "lastStep", "points", "startedAtMs", "updatedAtMs", "finishedAtMs"),
    *("path", "alias", "archivedAtMs"),
)
_RUN = (
    "SELECT r.run_id, r.name, r.kind, r.status, r.reason, r.project_id, p.slug, w.slug, r.run_group, r.job_type,"
    " r.tags, r.notes, r.config, r.summary, r.last_step, r.points, r.started_ms, r.updated_ms, r.finished_ms,"
    " r.path, r.alias, r.archived_ms,"
    " r.primary_name, r.primary_mode, r.best_value, r.best_step"
    " FROM runs r JOIN projects p ON p.project_id = r.project_id JOIN workspaces w ON w.workspace_id = r.workspace_id"
)


def documents(db: Db, run_ids: Sequence[str]) -> list[Json]:
    """Runs as in a list, in this order; what is not there is left out. Asks as often for many as for one."""
    rows: dict[str, tuple[Any, ...]] = {}
    for part in parts(run_ids):
        found = db.execute(f"{_RUN} WHERE r.run_id IN ({marks(part)})", part).fetchall()
        rows |= {row[0]: row for row in found}
    there = [run_id for run_id in run_ids if run_id in rows]
    facts = key_facts(db, there, SUMMARY_KEYS)
    return [_document(rows[run_id], facts[run_id]) for run_id in there]


def _document(row: tuple[Any, ...], facts: Sequence[KeyFacts]) -> Json:
    document = dict(zip(_NAMES, row))
    for name in ("tags", "config", "summary"):
        document[name] = msgspec.json.decode(document[name])
    last = {key.name: key.last_value for key in facts if not key.name.startswith(SYSTEM_PREFIX)}
    document["summary"] = last | document["summary"]
    metric, mode, value, step = row[len(_NAMES) :]
    document["primaryMetric"] = None
    if metric is not None:
        document["primaryMetric"] = {"name": metric, "mode": mode, "value": value, "step": step}
        best = {"best_metric_name": metric, "best_metric_mode": mode}
        if value is not None:
            best |= {"best_metric_value": value, "best_metric_step": step}
        document["summary"] = best | document["summary"]
    return document


def attempts_of(db: Db, run_id: str) -> tuple[list[Json], dict[str, int]]:
    """The attempts at a run, and how many values of each key were not finite."""
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
