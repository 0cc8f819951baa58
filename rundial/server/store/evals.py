"""Evaluations as they come in: suites of a project, eval runs, and what scorers said of examples.

A suite comes into being with its first run and is known by its name. An eval run belongs to the run that names it
first; what other runs of the project say under the same id joins it, so that workers can share one evaluation.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any, NamedTuple

from rundial.events import EvalResult, EvalStart
from rundial.server.store.accounts import new_id
from rundial.server.store.admission import MAX_NAME, clean_text, document
from rundial.server.store.engine import Db

MAX_ID = 128
MAX_LABEL = 256
"""Characters of an example's id and of a scorer's name."""
MAX_META = 64 * 1024
MAX_DESCRIPTION = 256 * 1024
"""Characters of an eval run's dataset, scorers or config, as JSON."""
_TRACE_ID = re.compile("[0-9a-f]{32}")
_INT64 = 1 << 63

TABLES = """
CREATE TABLE eval_suites (
    project_id TEXT NOT NULL,
    suite_id TEXT NOT NULL,
    name TEXT NOT NULL,
    dataset TEXT NOT NULL,
    scorers TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (project_id, suite_id)
);
CREATE UNIQUE INDEX eval_suites_by_name ON eval_suites (project_id, name);
CREATE TABLE eval_runs (
    project_id TEXT NOT NULL,
    eval_run_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    suite_id TEXT,
    dataset TEXT NOT NULL,
    scorers TEXT NOT NULL,
    config TEXT NOT NULL,
    started_ms BIGINT NOT NULL,
    PRIMARY KEY (project_id, eval_run_id)
);
CREATE INDEX eval_runs_by_id ON eval_runs (eval_run_id);
CREATE INDEX eval_runs_by_run ON eval_runs (run_id, started_ms);
CREATE INDEX eval_runs_by_suite ON eval_runs (project_id, suite_id, started_ms);
CREATE TABLE eval_results (
    run_id TEXT NOT NULL,
    eval_run_id TEXT NOT NULL,
    example_id TEXT NOT NULL,
    scorer TEXT NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    passed BIGINT,
    time_ns BIGINT NOT NULL,
    source_run_id TEXT NOT NULL,
    trace_id TEXT,
    evidence TEXT,
    meta TEXT NOT NULL,
    PRIMARY KEY (run_id, eval_run_id, example_id, scorer)
);
CREATE INDEX eval_results_by_scorer ON eval_results (run_id, eval_run_id, scorer, passed, score);
"""

_PUT_RESULT = (
    "INSERT INTO eval_results (run_id, eval_run_id, example_id, scorer, score, passed, time_ns, source_run_id,"
    " trace_id, evidence, meta) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (run_id, eval_run_id, example_id, scorer) DO UPDATE SET score = excluded.score,"
    " passed = excluded.passed, time_ns = excluded.time_ns, source_run_id = excluded.source_run_id,"
    " trace_id = excluded.trace_id, evidence = excluded.evidence, meta = excluded.meta"
    " WHERE excluded.time_ns >= eval_results.time_ns"
)


class Start(NamedTuple):
    """An EvalStart that may be stored."""

    eval_run_id: str
    suite: str
    suite_id: str | None
    dataset: str
    scorers: str
    config: str
    started_ms: int


class Result(NamedTuple):
    """An EvalResult that may be stored."""

    eval_run_id: str
    example_id: str
    scorer: str
    score: float
    passed: int | None
    time_ns: int
    trace_id: str | None
    evidence: str | None
    meta: str


def append(db: Db, run_id: str, stream: str, events: list[tuple[int, EvalStart | EvalResult]], now: int) -> None:
    """Take in the events of one batch, with their sequence numbers, inside the writer's transaction.

    Of several results for one example and scorer the one with the latest time counts. Raises ValueError, before
    anything is written, when one of them cannot be stored.
    """
    starts = [checked_start(event) for _, event in events if isinstance(event, EvalStart)]
    results = [checked_result(event) for _, event in events if isinstance(event, EvalResult)]
    project_id = db.execute("SELECT project_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0]
    for start in starts:
        _take_start(db, project_id, run_id, start, now)
    put_results(db, project_id, run_id, results, now)


def put_results(db: Db, project_id: str, run_id: str, results: list[Result], now: int) -> None:
    """Store checked results that ``run_id`` logged, each with the run that its eval run belongs to."""
    owners = {
        eval_run_id: _owner(db, project_id, run_id, eval_run_id, now)
        for eval_run_id in dict.fromkeys(result.eval_run_id for result in results)
    }
    db.executemany(_PUT_RESULT, [(owners[result.eval_run_id], *result[:6], run_id, *result[6:]) for result in results])


def checked_start(event: EvalStart) -> Start:
    """An eval run's start as it is stored. Raises ValueError."""
    suite = clean_text(event.suite, MAX_NAME).strip()
    if not suite:
        raise ValueError("a suite must have a name")
    if not 0 <= event.time_ns < _INT64:
        raise ValueError("time_ns must be a Unix time in nanoseconds")
    return Start(
        _identifier("eval_run_id", event.eval_run_id),
        suite,
        None if event.suite_id is None else _identifier("suite_id", event.suite_id),
        _bounded("dataset", event.dataset, MAX_DESCRIPTION),
        _bounded("scorers", event.scorers, MAX_DESCRIPTION),
        _bounded("config", event.config, MAX_DESCRIPTION),
        event.time_ns // 1_000_000,
    )


def checked_result(event: EvalResult) -> Result:
    """A result as it is stored. Raises ValueError."""
    if not isfinite(event.score):
        raise ValueError("score must be a finite number")
    if event.trace_id is not None and not _TRACE_ID.fullmatch(event.trace_id):
        raise ValueError("trace_id must be 32 lower-case hexadecimal digits")
    if not 0 <= event.time_ns < _INT64:
        raise ValueError("time_ns must be a Unix time in nanoseconds")
    return Result(
        _identifier("eval_run_id", event.eval_run_id),
        _label("example_id", event.example_id),
        _label("scorer", event.scorer),
        float(event.score),
        None if event.passed is None else int(event.passed),
        event.time_ns,
        event.trace_id,
        None if event.evidence is None else _bounded("evidence", event.evidence, MAX_META),
        _bounded("meta", event.meta, MAX_META),
    )


def put_suite(
    db: Db,
    project_id: str,
    name: str,
    suite_id: str | None,
    dataset: str,
    scorers: str,
    now: int,
) -> str:
    """The id of the suite, found by its id or else by its name, or made; it takes over dataset and scorers."""
    known = db.execute(
        "SELECT suite_id FROM eval_suites WHERE project_id = ? AND (suite_id = ? OR name = ?)"
        " ORDER BY CASE WHEN suite_id = ? THEN 0 ELSE 1 END LIMIT 1",
        (project_id, suite_id, name, suite_id),
    ).fetchone()
    if known is None:
        known = (suite_id or new_id("evs"),)
        db.execute(
            "INSERT INTO eval_suites (project_id, suite_id, name, dataset, scorers, created_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (project_id, known[0], name, dataset, scorers, now),
        )
    else:
        db.execute(
            "UPDATE eval_suites SET dataset = ?, scorers = ? WHERE project_id = ? AND suite_id = ?",
            (dataset, scorers, project_id, known[0]),
        )
    return str(known[0])


def _take_start(db: Db, project_id: str, run_id: str, start: Start, now: int) -> None:
    suite_id = put_suite(db, project_id, start.suite, start.suite_id, start.dataset, start.scorers, now)
    db.execute(
        "INSERT INTO eval_runs (project_id, eval_run_id, run_id, suite_id, dataset, scorers, config, started_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (project_id, eval_run_id) DO UPDATE SET"
        " suite_id = excluded.suite_id, dataset = excluded.dataset, scorers = excluded.scorers,"
        " config = excluded.config",
        (
            project_id,
            start.eval_run_id,
            run_id,
            suite_id,
            start.dataset,
            start.scorers,
            start.config,
            start.started_ms,
        ),
    )


def _owner(db: Db, project_id: str, run_id: str, eval_run_id: str, now: int) -> str:
    """The run an eval run belongs to: this one, when nobody has named it before."""
    db.execute(
        "INSERT INTO eval_runs (project_id, eval_run_id, run_id, dataset, scorers, config, started_ms)"
        " VALUES (?, ?, ?, '{}', '[]', '{}', ?) ON CONFLICT (project_id, eval_run_id) DO NOTHING",
        (project_id, eval_run_id, run_id, now),
    )
    owner: str = db.execute(
        "SELECT run_id FROM eval_runs WHERE project_id = ? AND eval_run_id = ?", (project_id, eval_run_id)
    ).fetchone()[0]
    return owner


def _identifier(what: str, text: str) -> str:
    if not text or len(text) > MAX_ID or not text.isprintable():
        raise ValueError(f"{what} must be 1 to {MAX_ID} printable characters")
    return text


def _label(what: str, text: str) -> str:
    if not text or len(text) > MAX_LABEL:
        raise ValueError(f"{what} must have 1 to {MAX_LABEL} characters")
    return clean_text(text, MAX_LABEL)


def _bounded(what: str, value: Any, most: int) -> str:
    text = document(value)
    if len(text) > most:
        raise ValueError(f"{what} is longer than {most} characters")
    return text
