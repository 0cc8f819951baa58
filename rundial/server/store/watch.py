"""The watch: runs whose processes have all fallen silent are marked crashed."""

from __future__ import annotations

from rundial.server.store.accounts import now_ms
from rundial.server.store.changes import Change
from rundial.server.store.engine import Db


def silent_streams(db: Db, since_ms: int) -> list[tuple[str, str, int]]:
    """Run, id and last sign of life (Unix milliseconds) of streams that have been silent for too long."""
    now = now_ms()
    return db.execute(
        "SELECT run_id, stream, last_seen_ms FROM streams"
        " WHERE status = 'running' AND last_seen_ms + silence_ms < ? AND ? + silence_ms < ?",
        (now, since_ms, now),
    ).fetchall()


def mark_silent(db: Db, since_ms: int) -> list[Change]:
    """Mark streams that have been silent for too long, and runs that have no living stream left.

    ``since_ms`` is when this server began to listen (Unix milliseconds): what was silent before could not be heard.
    """
    now = now_ms()
    silent = silent_streams(db, since_ms)
    db.executemany("UPDATE streams SET status = 'crashed' WHERE run_id = ? AND stream = ?", [row[:2] for row in silent])
    changes: list[Change] = []
    for run_id in dict.fromkeys(row[0] for row in silent):
        last_seen = max(row[2] for row in silent if row[0] == run_id)
        changed = db.execute(
            "UPDATE runs SET status = 'crashed', reason = ?, finished_ms = ?, updated_ms = ? WHERE run_id = ?"
            " AND status = 'running' AND NOT EXISTS"
            " (SELECT 1 FROM streams WHERE streams.run_id = runs.run_id AND streams.status = 'running')",
            (f"no sign of life for {(now - last_seen) // 1000} seconds", last_seen, now, run_id),
        ).rowcount
        if changed:
            project_id, workspace_id = db.execute(
                "SELECT project_id, workspace_id FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
            changes.append(Change(run_id, project_id, workspace_id, [], [], True))
    return changes
