"""Evaluations as clients make them that speak JSON and have no stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from rundial.events import EvalResult, EvalStart, RunStart
from rundial.server.store.accounts import Principal, new_id, now_ms, within_project
from rundial.server.store.admission import admit, find_project
from rundial.server.store.changes import Change
from rundial.server.store.engine import Db, Engine
from rundial.server.store.eval_runs import EVAL_RUN, Json, eval_run_document, suite_document
from rundial.server.store.evals import append, checked_result, checked_start, put_results, put_suite
from rundial.server.store.holds import of_project
from rundial.server.store.refusal import Refusal, invalid, not_found


class JsonEvals:
    """Making suites, eval runs and results. ``publish`` hears of what changed, after the commit."""

    def __init__(self, engine: Engine, publish: Callable[[Sequence[Change]], None]) -> None:
        self._engine = engine
        self._publish = publish

    def create_suite(
        self, principal: Principal, project: str, name: str, dataset: Json, scorers: list[Json], suite_id: str | None
    ) -> Future[Json]:
        """Make a suite, or give a known one this dataset and these scorers. The future may raise :class:`Refusal`."""

        def job(db: Db) -> Json:
            project_id = _project(db, principal, project)
            start = _checked(checked_start, EvalStart(time.time_ns(), "any", name, dataset, scorers, {}, suite_id))
            known = put_suite(db, project_id, start.suite, start.suite_id, start.dataset, start.scorers, now_ms())
            row = db.execute(
                "SELECT suite_id, name, dataset, scorers, created_ms FROM eval_suites"
                " WHERE project_id = ? AND suite_id = ?",
                (project_id, known),
            ).fetchone()
            return suite_document(row) | {"projectId": project_id}

        return self._engine.write(job, holds=of_project(self._engine, principal, project))

    def create_run(
        self,
        principal: Principal,
        project: str,
        suite_id: str,
        config: Json,
        run_id: str | None,
        eval_run_id: str | None,
    ) -> Future[Json]:
        """Begin a run of a suite, in a run of kind eval that is made for it or in one that is there already.

        The future may raise :class:`Refusal`: unknown project or suite, an id that means another run.
        """
        changes: list[Change] = []
        backing_id = run_id or new_id("run")

        def job(db: Db) -> Json:
            changes.clear()
            project_id = _project(db, principal, project)
            suite = db.execute(
                "SELECT name, dataset, scorers, suite_id FROM eval_suites"
                " WHERE project_id = ? AND (suite_id = ? OR name = ?)"
                " ORDER BY CASE WHEN suite_id = ? THEN 0 ELSE 1 END LIMIT 1",
                (project_id, suite_id, suite_id, suite_id),
            ).fetchone()
            if suite is None:
                raise not_found(f"Suite {suite_id[:200]!r}")
            name, dataset, scorers, known_id = suite
            start = EvalStart(
                time.time_ns(),
                eval_run_id or new_id("evr"),
                name,
                msgspec.json.decode(dataset),
                msgspec.json.decode(scorers),
                config,
                known_id,
            )
            _checked(checked_start, start)
            backing = _backing_run(db, principal, project_id, backing_id, name, config)
            append(db, backing, "", [(0, start)], now_ms())
            row = db.execute(
                f"{EVAL_RUN} WHERE e.project_id = ? AND e.eval_run_id = ?", (project_id, start.eval_run_id)
            ).fetchone()
            if row[1] != backing:
                raise Refusal(
                    409, "CONFLICT", f"Eval run {start.eval_run_id} belongs to run {row[1]}.", "Choose another id."
                )
            changes.append(_change(principal, project_id, backing))
            return eval_run_document(db, row)

        holds = of_project(self._engine, principal, project, backing_id)
        return self._engine.write(job, lambda _: self._publish(changes), holds=holds)

    def take(
        self, principal: Principal, project: str, eval_run_id: str, results: Sequence[EvalResult]
    ) -> Future[dict[int, str]]:
        """Store results of one eval run; resolves to why some were refused, by their position.

        An eval run that nobody began gets a run of its own, so that results sent late are not lost. The future may
        raise :class:`Refusal`: an unknown project.
        """
        changes: list[Change] = []
        made_id = new_id("run")

        def job(db: Db) -> dict[int, str]:
            changes.clear()
            project_id = _project(db, principal, project)
            good, refused = [], {}
            for place, event in enumerate(results):
                try:
                    good.append(checked_result(event))
                except ValueError as error:
                    refused[place] = str(error)
            if good:
                row = db.execute(
                    "SELECT run_id FROM eval_runs WHERE project_id = ? AND eval_run_id = ?", (project_id, eval_run_id)
                ).fetchone()
                run_id = row[0] if row else _backing_run(db, principal, project_id, made_id, eval_run_id, {})
                put_results(db, project_id, run_id, good, now_ms())
                changes.append(_change(principal, project_id, run_id))
            return refused

        holds = of_project(self._engine, principal, project, made_id)
        return self._engine.write(job, lambda _: self._publish(changes), holds=holds)


def _project(db: Db, principal: Principal, project: str) -> str:
    project_id = find_project(db, principal, project)
    if project_id is None:
        raise not_found(f"Project {project[:200]!r}")
    return project_id


def _backing_run(db: Db, principal: Principal, project_id: str, run_id: str, name: str, config: Json) -> str:
    """A run of kind eval for what comes without a stream: made here, or attached to when it is in the project."""
    row = db.execute("SELECT project_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is not None and row[0] != project_id:
        raise not_found(f"Run {run_id}")
    principal = within_project(db, principal, project_id)
    stream = secrets.token_hex(16)
    start = RunStart(
        time.time_ns(),
        run_id,
        principal.workspace_slug,
        project_id,
        name,
        "eval",
        "allow",
        config=config,
        client="json",
    )
    admitted = admit(db, principal, stream, start)
    # Nobody beats this stream's heart: left open it would be taken for dead, and the run with it.
    db.execute(
        "UPDATE streams SET status = 'completed', ended_ms = ? WHERE run_id = ? AND stream = ?",
        (now_ms(), admitted.run_id, stream),
    )
    return admitted.run_id


def _checked(check: Callable[[EvalStart], Any], event: EvalStart) -> Any:
    try:
        return check(event)
    except ValueError as error:
        raise invalid(f"The evaluation cannot be taken: {error}.", "docs/http.md shows its fields.") from error


def _change(principal: Principal, project_id: str, run_id: str) -> Change:
    return Change(run_id, project_id, principal.workspace_id, [], [], True, frozenset({"evals"}))
