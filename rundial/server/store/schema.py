"""The tables, as numbered migrations.

A migration is never edited once released; a change is a new one. Every table that holds run data has a key that
begins with ``run_id``, so that it can be spread over machines by run. Times are Unix milliseconds (``_ms``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from rundial.server.store import (
    agents,
    artifacts,
    audit,
    chunks,
    commands,
    evals,
    json_wire,
    logs,
    media,
    run_edits,
    run_orders,
    spans,
    sweep_records,
    users,
)
from rundial.server.store.engine import Db, Engine, StoreError

_FIRST = """
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE workspaces (
    workspace_id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE TABLE projects (
    project_id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (workspace_id),
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    UNIQUE (workspace_id, slug)
);
CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    workspace_id TEXT NOT NULL REFERENCES workspaces (workspace_id),
    project_id TEXT REFERENCES projects (project_id),
    scopes TEXT NOT NULL,
    label TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    revoked_ms BIGINT,
    last_used_ms BIGINT
);
CREATE TABLE login_links (
    hash TEXT PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES api_keys (key_id),
    expires_ms BIGINT NOT NULL
);
CREATE TABLE sessions (
    hash TEXT PRIMARY KEY,
    session_id TEXT NOT NULL UNIQUE,
    key_id TEXT NOT NULL REFERENCES api_keys (key_id),
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (workspace_id),
    project_id TEXT NOT NULL REFERENCES projects (project_id),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    traceback TEXT,
    run_group TEXT,
    job_type TEXT,
    tags TEXT NOT NULL,
    notes TEXT,
    config TEXT NOT NULL,
    summary TEXT NOT NULL,
    last_step BIGINT,
    points BIGINT NOT NULL,
    markers BIGINT NOT NULL,
    started_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    finished_ms BIGINT,
    path TEXT NOT NULL,
    alias TEXT,
    environment TEXT NOT NULL,
    primary_name TEXT,
    primary_mode TEXT,
    best_value DOUBLE PRECISION,
    best_step BIGINT,
    last_stage TEXT
);
CREATE INDEX runs_by_project ON runs (project_id, started_ms, run_id);
CREATE TABLE streams (
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    stream TEXT NOT NULL,
    next_seq BIGINT NOT NULL,
    created_run BIGINT NOT NULL,
    base_step BIGINT,
    rank BIGINT NOT NULL,
    part BIGINT NOT NULL,
    host TEXT NOT NULL,
    pid BIGINT NOT NULL,
    client TEXT NOT NULL,
    system TEXT NOT NULL,
    silence_ms BIGINT NOT NULL,
    status TEXT NOT NULL,
    started_ms BIGINT NOT NULL,
    last_seen_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    received BIGINT NOT NULL,
    duplicate BIGINT NOT NULL,
    rejected TEXT NOT NULL,
    dropped TEXT NOT NULL,
    non_finite TEXT NOT NULL,
    ledger TEXT,
    PRIMARY KEY (run_id, stream)
);
CREATE UNIQUE INDEX streams_by_id ON streams (stream);
CREATE INDEX streams_running ON streams (run_id) WHERE status = 'running';
CREATE TABLE rejected (
    run_id TEXT NOT NULL,
    stream TEXT NOT NULL,
    seq BIGINT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (run_id, stream, seq)
);
CREATE TABLE markers (
    run_id TEXT NOT NULL,
    place BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    step BIGINT,
    attrs TEXT NOT NULL,
    PRIMARY KEY (run_id, place)
);
CREATE TABLE inbox (
    id {serial},
    run_id TEXT NOT NULL,
    records BIGINT NOT NULL,
    points BIGINT NOT NULL,
    received_ms BIGINT NOT NULL,
    data {bytes} NOT NULL{inbox_key}
);
CREATE INDEX inbox_by_run ON inbox (run_id, id, points, received_ms);
CREATE TABLE metric_keys (
    run_id TEXT NOT NULL,
    key_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    points BIGINT NOT NULL,
    last_step BIGINT NOT NULL,
    last_ms BIGINT NOT NULL,
    last_number DOUBLE PRECISION,
    last_text TEXT,
    upto BIGINT NOT NULL,
    PRIMARY KEY (run_id, key_id),
    UNIQUE (run_id, name, kind)
);
CREATE TABLE chunks (
    run_id TEXT NOT NULL,
    key_id BIGINT NOT NULL,
    place BIGINT NOT NULL,
    points BIGINT NOT NULL,
    min_step BIGINT NOT NULL,
    max_step BIGINT NOT NULL,
    labels {bytes},
    steps {bytes} NOT NULL,
    times {bytes} NOT NULL,
    vals {bytes} NOT NULL,
    PRIMARY KEY (run_id, key_id, place)
);
"""

# Keys that do not begin with the run would keep a table from being spread over machines by run. The ids are random.
_SPREAD = """
DROP INDEX streams_by_id;
CREATE INDEX streams_by_id ON streams (stream);
DROP INDEX uploads_by_id;
CREATE INDEX uploads_by_id ON uploads (upload_id);
"""

MIGRATIONS = (
    _FIRST,
    logs.TABLES,
    spans.TABLES,
    artifacts.TABLES,
    media.TABLES,
    evals.TABLES,
    run_edits.TABLES,
    commands.TABLES,
    users.TABLES + agents.TABLES + audit.TABLES,
    json_wire.TABLES,
    commands.ROLES,
    _SPREAD,
    chunks.CHECKSUMS,
    sweep_records.TABLES,
    run_orders.TABLES,
)


def migrate(engine: Engine) -> None:
    """Bring the database up to this version's tables, each migration in a transaction of its own.

    Of several processes that open a database at once each waits for the others and then finds the work done.
    Raises :class:`StoreError` when the database was written by a newer version.
    """
    done = engine.write(_version).result()
    if done > len(MIGRATIONS):
        raise StoreError(
            f"the database was written by a newer version of rundial: it is at schema {done}, this version knows"
            f" {len(MIGRATIONS)}. Install that version, or newer."
        )
    for number in range(done + 1, len(MIGRATIONS) + 1):
        engine.write(lambda db, number=number: _apply(db, number, engine.types)).result()  # type: ignore[misc]


def _version(db: Db) -> int:
    db.execute("CREATE TABLE IF NOT EXISTS migrations (number BIGINT PRIMARY KEY, applied_ms BIGINT NOT NULL)")
    row = db.execute("SELECT max(number) FROM migrations").fetchone()
    return row[0] or 0


def _apply(db: Db, number: int, types: Mapping[str, str]) -> None:
    if db.execute("SELECT 1 FROM migrations WHERE number = ?", (number,)).fetchone() is not None:
        return  # another process was quicker
    for statement in MIGRATIONS[number - 1].format(**types).split(";"):
        if statement.strip():
            db.execute(statement)
    db.execute("INSERT INTO migrations VALUES (?, ?)", (number, time.time_ns() // 1_000_000))
