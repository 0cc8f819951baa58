"""Evaluations as they are read and compared. What the principal may not see is None, as if it did not exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rundial.server.store.accounts import Principal
from rundial.server.store.admission import find_project
from rundial.server.store.cursors import cursor_of, position_of
from rundial.server.store.engine import Db, Engine
from rundial.server.store.run_edits import PRESENT

Json = dict[str, Any]
STATUSES = ("same", "regressed", "improved", "added", "removed")

EVAL_RUN = (
    "SELECT e.eval_run_id, e.run_id, r.name, r.status, e.suite_id, s.name, e.dataset, e.scorers, e.config,"
    " e.started_ms, e.project_id FROM eval_runs e JOIN runs r ON r.run_id = e.run_id"
    " LEFT JOIN eval_suites s ON s.project_id = e.project_id AND s.suite_id = e.suite_id"
)
# Where both have a verdict it decides, where neither has one the score does; one verdict alone decides nothing.
_PAIRS = """
WITH pairs AS (
    SELECT b.example_id, b.scorer, b.score AS old, c.score AS new, b.passed AS old_passed, c.passed AS new_passed
    FROM eval_results b LEFT JOIN eval_results c
    ON c.run_id = ? AND c.eval_run_id = ? AND c.example_id = b.example_id AND c.scorer = b.scorer
    WHERE b.run_id = ? AND b.eval_run_id = ?
    UNION ALL
    SELECT c.example_id, c.scorer, NULL, c.score, NULL, c.passed
    FROM eval_results c WHERE c.run_id = ? AND c.eval_run_id = ? AND NOT EXISTS (
        SELECT 1 FROM eval_results b
        WHERE b.run_id = ? AND b.eval_run_id = ? AND b.example_id = c.example_id AND b.scorer = c.scorer)
), judged AS (
    SELECT example_id, scorer, old, new, old_passed, new_passed, CASE
        WHEN new IS NULL THEN 'removed'
        WHEN old IS NULL THEN 'added'
        WHEN old_passed > new_passed THEN 'regressed'
        WHEN old_passed < new_passed THEN 'improved'
        WHEN old_passed IS NULL AND new_passed IS NULL AND new < old THEN 'regressed'
        WHEN old_passed IS NULL AND new_passed IS NULL AND new > old THEN 'improved'
        ELSE 'same' END AS status
    FROM pairs
)
"""


class Evals:
    """Reading and comparing eval runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def suites(
        self, principal: Principal, project: str, *, limit: int, cursor: str | None, runs: int
    ) -> tuple[list[Json], str | None] | None:
        """A page of the project's suites by name, each with its newest runs; None when the project is not visible.

        Eval runs that never named a suite stand in a last entry without id and name.
        """
        after = position_of(cursor, str)
        with self._engine.read() as db:
            project_id = find_project(db, principal, project)
            if project_id is None:
                return None
            rows = db.execute(
                "SELECT suite_id, name, dataset, scorers, created_ms FROM eval_suites"
                " WHERE project_id = ? AND name > ? ORDER BY name LIMIT ?",
                (project_id, after[0] if after else "", limit + 1),
            ).fetchall()
            found = [suite_document(row) for row in rows[:limit]]
            more = len(rows) > limit
            if not more:
                found.append({"suiteId": None, "name": None, "dataset": {}, "scorers": [], "createdAtMs": None})
            for suite in found:
                where, values = "e.suite_id = ?", [suite["suiteId"]]
                if suite["suiteId"] is None:
                    where, values = "e.suite_id IS NULL", []
                suite["runCount"] = db.execute(
                    f"SELECT count(*) FROM eval_runs e WHERE e.project_id = ? AND {where}", (project_id, *values)
                ).fetchone()[0]
                suite["runs"] = [
                    eval_run_document(db, row)
                    for row in db.execute(
                        f"{EVAL_RUN} WHERE e.project_id = ? AND {PRESENT} AND {where}"
                        " ORDER BY e.started_ms DESC, e.eval_run_id LIMIT ?",
                        (project_id, *values, runs),
                    ).fetchall()
                ]
        if not more and not found[-1]["runs"]:
            found.pop()
        return found, cursor_of(rows[limit - 1][1]) if more else None

    def of_run(self, run_id: str, limit: int = 1000) -> list[Json]:
        """The eval runs that belong to a run the caller may see, newest first."""
        with self._engine.read() as db:
            rows = db.execute(
                f"{EVAL_RUN} WHERE e.run_id = ? ORDER BY e.started_ms DESC, e.eval_run_id LIMIT ?", (run_id, limit)
            ).fetchall()
            return [eval_run_document(db, row) for row in rows]

    def results(
        self,
        principal: Principal,
        eval_run_id: str,
        *,
        project: str | None,
        limit: int,
        cursor: str | None,
        scorer: str | None,
        failed_only: bool,
        text: str,
    ) -> Json | None:
        """A page of an eval run's results by example and scorer; None when it is not visible.

        Args:
            project: where it is, by id or slug; None for any the caller may see.
            scorer: only what this one said.
            failed_only: only what did not pass.
            text: only examples whose id has this in it, in whatever case.

        Raises:
            Refusal: the cursor is none.
        """
        after = position_of(cursor, str, str)
        with self._engine.read() as db:
            row = _find(db, principal, eval_run_id, project)
            if row is None:
                return None
            where, values = ["run_id = ?", "eval_run_id = ?"], [row[1], eval_run_id]
            if scorer is not None:
                where.append("scorer = ?")
                values.append(scorer)
            if failed_only:
                where.append("passed = 0")
            if text:
                where.append("lower(example_id) LIKE ? ESCAPE '\\'")
                values.append(_containing(text))
            if after:
                where.append("(example_id > ? OR (example_id = ? AND scorer > ?))")
                values += [after[0], *after]
            rows = db.execute(
                "SELECT example_id, scorer, score, passed, time_ns, source_run_id, trace_id, evidence, meta"
                f" FROM eval_results WHERE {' AND '.join(where)} ORDER BY example_id, scorer LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
            more = len(rows) > limit
            return {
                "evalRun": eval_run_document(db, row),
                "rows": [_result(row) for row in rows[:limit]],
                "page": _page(cursor_of(*rows[limit - 1][:2]) if more else None),
            }

    def diff(
        self,
        principal: Principal,
        project: str,
        baseline: str,
        candidate: str,
        *,
        limit: int,
        cursor: str | None,
        scorer: str | None,
        statuses: Sequence[str],
    ) -> Json | None:
        """A page of what changed between two eval runs, and the counts over all pages; None when one is not visible.

        Args:
            project: of both, by id or slug.
            baseline, candidate: ids of eval runs: what was before, and what is now.
            scorer: only what this one said.
            statuses: only rows in one of these; none means all.

        Raises:
            Refusal: the cursor is none.
        """
        after = position_of(cursor, str, str)
        with self._engine.read() as db:
            old, new = _find(db, principal, baseline, project), _find(db, principal, candidate, project)
            if old is None or new is None:
                return None
            before, now = (old[1], baseline), (new[1], candidate)
            pairs = (*now, *before, *now, *before)
            only, chosen = ("scorer = ?", [scorer]) if scorer is not None else ("1 = 1", [])
            counted = db.execute(
                f"{_PAIRS} SELECT status, count(*) FROM judged WHERE {only} GROUP BY status", (*pairs, *chosen)
            )
            counts = dict.fromkeys(STATUSES, 0) | dict(counted.fetchall())
            where, values = [only], list(chosen)
            wanted = list(dict.fromkeys(statuses))
            if wanted:
                where.append(f"status IN ({', '.join('?' * len(wanted))})")
                values += wanted
            if after:
                where.append("(example_id > ? OR (example_id = ? AND scorer > ?))")
                values += [after[0], *after]
            rows = db.execute(
                f"{_PAIRS} SELECT example_id, scorer, old, new, old_passed, new_passed, status FROM judged"
                f" WHERE {' AND '.join(where)} ORDER BY example_id, scorer LIMIT ?",
                (*pairs, *values, limit + 1),
            ).fetchall()
        more = len(rows) > limit
        return {
            "projectId": old[-1],
            "baselineEvalRunId": baseline,
            "candidateEvalRunId": candidate,
            "counts": counts,
            "rows": [_pair(row) for row in rows[:limit]],
            "page": _page(cursor_of(*rows[limit - 1][:2]) if more else None),
        }


def _find(db: Db, principal: Principal, eval_run_id: str, project: str | None) -> tuple[Any, ...] | None:
    """The eval run, if the principal may see it; the newest, should several projects have one of that id."""
    project_id = principal.project_id
    if project is not None:
        project_id = find_project(db, principal, project)
        if project_id is None:
            return None
    found: tuple[Any, ...] | None = db.execute(
        f"{EVAL_RUN} WHERE e.eval_run_id = ? AND (? IS NULL OR r.workspace_id = ?) AND (? IS NULL OR e.project_id = ?)"
        " ORDER BY e.started_ms DESC LIMIT 1",
        (eval_run_id, *principal.bounds[:2], project_id, project_id),
    ).fetchone()
    return found


def suite_document(row: tuple[Any, ...]) -> Json:
    """A suite from its id, name, dataset, scorers and time."""
    suite_id, name, dataset, scorers, created = row
    return {
        "suiteId": suite_id,
        "name": name,
        "dataset": msgspec.json.decode(dataset),
        "scorers": msgspec.json.decode(scorers),
        "createdAtMs": created,
    }


def eval_run_document(db: Db, row: tuple[Any, ...]) -> Json:
    """An eval run from what :data:`EVAL_RUN` selects, with what its results amount to."""
    names = ("evalRunId", "runId", "runName", "status", "suiteId", "suiteName", "dataset", "scorers", "config")
    found = dict(zip(names, row))
    for name in ("dataset", "scorers", "config"):
        found[name] = msgspec.json.decode(found[name])
    found["startedAtMs"], found["projectId"] = row[9:]
    found["summary"] = {
        scorer: {"count": count, "mean": 2 * half, "passed": passed, "judged": judged}
        | {"passRate": passed / judged if judged else None}
        # Half the mean, of shares: avg() of PostgreSQL raises when the squares of the scores are beyond a double.
        for scorer, count, half, passed, judged in db.execute(
            "SELECT e.scorer, n.results, sum(e.score / (2.0 * n.results)), coalesce(sum(e.passed), 0), count(e.passed)"
            " FROM eval_results e JOIN (SELECT scorer, count(*) AS results FROM eval_results"
            " WHERE run_id = ? AND eval_run_id = ? GROUP BY scorer) n ON n.scorer = e.scorer"
            " WHERE e.run_id = ? AND e.eval_run_id = ? GROUP BY e.scorer, n.results ORDER BY e.scorer",
            (found["runId"], found["evalRunId"]) * 2,
        )
    }
    return found


def _result(row: tuple[Any, ...]) -> Json:
    example_id, scorer, score, passed, time_ns, source, trace_id, evidence, meta = row
    return {
        "exampleId": example_id,
        "scorer": scorer,
        "score": score,
        "passed": None if passed is None else bool(passed),
        "timestampMs": time_ns // 1_000_000,
        "runId": source,
        "traceId": trace_id,
        "evidenceRef": evidence and msgspec.json.decode(evidence),
        "meta": msgspec.json.decode(meta),
    }


def _pair(row: tuple[Any, ...]) -> Json:
    example_id, scorer, old, new, old_passed, new_passed, status = row
    return {
        "exampleId": example_id,
        "scorer": scorer,
        "baselineScore": old,
        "candidateScore": new,
        "baselinePassed": None if old_passed is None else bool(old_passed),
        "candidatePassed": None if new_passed is None else bool(new_passed),
        "delta": None if old is None or new is None else new - old,
        "regressed": status == "regressed",
        "status": status,
    }


def _page(cursor: str | None) -> Json:
    return {"hasMore": cursor is not None, "nextCursor": cursor}


def _containing(text: str) -> str:
    escaped = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
