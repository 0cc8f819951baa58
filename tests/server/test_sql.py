"""The store's SQL can be spread over machines by run: what has a run's data says which run it is of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rundial.server.store.engine import Db, Engine
from rundial.server.store.schema import migrate
from tests.server.statements import Statement, statements

RUN_TABLES = {
    *("runs", "streams", "rejected", "markers", "inbox", "metric_keys", "chunks", "log_blobs", "spans", "traces"),
    *("media", "eval_results", "dials", "commands", "json_streams", "json_lines", "uploads", "upload_parts"),
    "artifact_runs",
}
"""What a run has. Everything else is of a project or of a workspace, few rows, and the same on every machine."""

OWNERS = ("run_id", "project_id", "workspace_id")
KEYS_WITHOUT_OWNER = {
    "settings": "the server's own",
    "migrations": "the server's own",
    "api_keys": "looked up by what the client shows; belong to a workspace",
    "login_links": "looked up by what the client shows",
    "sessions": "looked up by what the client shows",
    "workspaces": "few, the same on every machine",
    "projects": "few, the same on every machine",
    "users": "looked up by address; few, the same on every machine",
    "artifacts": "looked up by id, which a signed address has; of a project",
    "audit": "an id of its own, with an index by workspace; nothing refers to it",
}
"""Tables that may have a primary key or a unique index which does not begin with their owner, and why."""

WITHOUT_RUN = {
    "SELECT s.run_id, r.project_id FROM streams s": "all that clients say of a stream is its id; the answer is kept",
    "SELECT r.run_id, r.workspace_id, r.project_id FROM streams s": "the same, for a run that waits for commands",
    "SELECT 1 FROM inbox LIMIT 1": "housekeeping: is there anything at all",
    "SELECT count(*), sum(points), min(received_ms) FROM inbox": "the server's own metrics",
    "SELECT count(DISTINCT run_id) FROM streams": "the server's own metrics",
    "SELECT run_id FROM runs WHERE run_id > ?": "a check of everything",
    "SELECT m.run_id, m.media_id FROM media m": "a check of everything",
    "SELECT count(*), sum(points) FROM runs": "a backup of everything",
    "SELECT run_id, sum(points), min(received_ms)": "housekeeping: which runs there is something to compact of",
    "SELECT run_id, stream, last_seen_ms FROM streams WHERE status = 'running'": "housekeeping: who is silent",
    "DELETE FROM json_lines WHERE seen_ms < ?": "housekeeping, once an hour",
    "SELECT upload_id FROM uploads WHERE result IS NULL": "housekeeping, once after a start",
    "SELECT run_id, upload_id, artifact_id, project_id, CASE": "housekeeping, every ten minutes",
    "SELECT DISTINCT b.sha256 FROM blobs b": "housekeeping: what no run and no project has any more",
    "DELETE FROM blobs AS b": "housekeeping: what no run and no project has any more",
    "SELECT r.run_id FROM runs r WHERE r.deleted_ms IS NOT NULL": "housekeeping: what is to be removed for good",
    "SELECT r.run_id, r.name, r.status FROM artifact_runs l": "an artifact's users, which are runs of a whole project",
    "DELETE FROM artifact_runs WHERE artifact_id = ?": "an artifact's users, which are runs of a whole project",
    "SELECT run_id, upload_id, artifact_id, workspace_id, project_id, digest": "by the id in a signed address, too",
}
"""Statements over a run's tables that do not say which run, by how they begin, and why they may."""

_OWNED = re.compile(
    r"\b(run_id|project_id|workspace_id)\b *(= \?|IN \()|INSERT INTO \w+ \(run_id\b|INSERT INTO runs \("
)


def test_statements_are_found() -> None:
    """The collector sees the store: constants, texts with names in them, and those that are put together."""
    found = {statement.text for statement in statements()}
    assert len(found) > 150
    assert any("ON CONFLICT (run_id, trace_id, span_id)" in text for text in found)
    tables = set().union(*(statement.tables for statement in statements()))
    assert tables > RUN_TABLES - {"json_streams"}


def _says_which(statement: Statement) -> bool:
    if _OWNED.search(statement.text):
        return True
    # A part of it is put together in the function around it, or it is the beginning of others.
    return "{}" in statement.text and _OWNED.search(statement.context) is not None


def _is_part(statement: Statement) -> bool:
    """Only a beginning: where it is used it is looked at again, with what follows."""
    return statement.is_constant and "WHERE" not in statement.text


def test_every_statement_says_which_run_it_is_of() -> None:
    """``run_id`` or, for lists of runs, the project stands in each; the exceptions are few and have reasons."""
    bad = [
        f"{statement.place}: {statement.text[:120]}"
        for statement in statements()
        if statement.tables & RUN_TABLES
        and not _says_which(statement)
        and not _is_part(statement)
        and not any(statement.text.startswith(known) for known in WITHOUT_RUN)
    ]
    assert not bad, "\n".join(bad)


def test_every_exception_is_still_needed() -> None:
    """One that no statement uses any more has to go."""
    texts = [statement.text for statement in statements()]
    assert [known for known in WITHOUT_RUN if not any(text.startswith(known) for text in texts)] == []


@pytest.fixture
def engine(tmp_path: Path, database: Callable[[Path], str | None]) -> Engine:
    engine = Engine(database(tmp_path) or tmp_path / "rundial.db")
    migrate(engine)
    return engine


def test_every_key_begins_with_its_owner(engine: Engine) -> None:
    """Primary keys and unique indexes; what PostgreSQL spreads must have the run in each, and first."""
    with engine.read() as db:
        keys = _postgres_keys(db) if engine.shared else _sqlite_keys(db)
    engine.close()
    own = KEYS_WITHOUT_OWNER | ({} if engine.shared else {"inbox": "of SQLite alone: an id in order of arrival"})
    assert {table for table, _ in keys} >= RUN_TABLES
    assert [key for key in keys if key[1] not in OWNERS and key[0] not in own] == []
    assert [key for key in keys if key[0] in RUN_TABLES - own.keys() and key[1] != "run_id"] == []


def _sqlite_keys(db: Db) -> list[tuple[str, str]]:
    """Table and first column of each."""
    keys = []
    tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").fetchall()
    for (table,) in tables:
        columns = [row for row in db.execute(f"PRAGMA table_info({table})") if row[5] == 1]
        keys += [(table, row[1]) for row in columns]
        for index in db.execute(f"PRAGMA index_list({table})").fetchall():
            if index[2]:
                keys.append((table, db.execute(f"PRAGMA index_info({index[1]})").fetchone()[2]))
    return keys


def _postgres_keys(db: Db) -> list[tuple[str, str]]:
    rows = db.execute(
        "SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND i.indisunique"
    )
    return [(table, column) for table, column in rows.fetchall()]
