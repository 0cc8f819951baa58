"""Editing runs: names, tags and notes; archiving; deleting with a way back.

A deleted run is one whose ``deleted_ms`` is not before its last sign of life: a run that goes on after its deletion
is there again, so that nothing a job still sends is lost in silence. What stays deleted is removed for good after
:data:`KEEP_MILLISECONDS`; until then it can be restored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import msgspec

from rundial.server.store.accounts import Principal, now_ms, within_bounds
from rundial.server.store.admission import MAX_NAME, MAX_NOTES, clean_text, tags_document
from rundial.server.store.changes import Change
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import Refusal, invalid, not_found

TABLES = """
ALTER TABLE runs ADD COLUMN archived_ms BIGINT;
ALTER TABLE runs ADD COLUMN deleted_ms BIGINT;
CREATE INDEX runs_deleted ON runs (deleted_ms, run_id) WHERE deleted_ms IS NOT NULL;
"""
PRESENT = "(r.deleted_ms IS NULL OR r.updated_ms > r.deleted_ms)"
"""Condition on ``runs r``: not deleted, or has gone on since."""
KEEP_MILLISECONDS = 7 * 24 * 3600 * 1000
PURGED_AT_ONCE = 20
"""Runs that one pass removes at most: the writer has others to serve."""
# Artifacts stay: they belong to the project, and other runs may use them.
_RUN_TABLES = (
    *("inbox", "chunks", "metric_keys", "markers", "rejected", "log_blobs", "spans", "traces", "media"),
    *("eval_results", "eval_runs", "json_lines", "json_streams", "dials", "commands", "streams", "runs"),
)
_COLUMNS = {"name": "name", "notes": "notes", "group": "run_group", "path": "path"}


class _Run(NamedTuple):
    run_id: str
    project_id: str
    workspace_id: str
    status: str
    tags: str


class RunEdits:
    """Changing what is known of runs. ``publish`` hears of every change on the writer thread, after its commit.

    Every method resolves after the commit; its future raises :class:`Refusal`: 404 when any of the runs is not
    visible to the principal, and then nothing was changed.
    """

    def __init__(self, engine: Engine, publish: Callable[[Sequence[Change]], None]) -> None:
        self._engine = engine
        self._publish = publish

    def edit(
        self,
        principal: Principal,
        run_ids: Sequence[str],
        *,
        texts: dict[str, str],
        tags: Sequence[str] | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        archived: bool | None = None,
    ) -> Future[int]:
        """Change runs; resolves to how many there are.

        Args:
            texts: what to set of ``name``, ``notes``, ``group`` and ``path``.
            tags: the tags instead of those the runs have.
            add_tags: tags the runs get; of those they have nothing changes.
            remove_tags: tags the runs lose.
            archived: whether the runs are archived; None leaves it.
        """
        if not texts.get("name", "named").strip():
            raise invalid("A run needs a name.", "Leave name out to keep the one it has.")
        if unknown := texts.keys() - _COLUMNS.keys():
            raise invalid(f"{sorted(unknown)[0][:40]!r} cannot be edited.", f"Set {', '.join(_COLUMNS)}.")
        values = {
            _COLUMNS[name]: clean_text(text, MAX_NOTES if name == "notes" else MAX_NAME) for name, text in texts.items()
        }

        def job(db: Db) -> list[_Run]:
            runs = _visible(db, principal, run_ids)
            for run in runs:
                old = tags if tags is not None else msgspec.json.decode(run.tags)
                new = tags_document([*(tag for tag in old if tag not in remove_tags), *add_tags])
                columns: dict[str, Any] = values | ({"tags": new} if new != run.tags else {})
                if archived is not None:
                    columns["archived_ms"] = now_ms() if archived else None
                if columns:
                    assigned = ", ".join(f"{column} = ?" for column in columns)
                    db.execute(f"UPDATE runs SET {assigned} WHERE run_id = ?", (*columns.values(), run.run_id))
            return runs

        return self._apply(job, lambda run: Change(*run[:3], [], [], True))

    def delete(self, principal: Principal, run_ids: Sequence[str]) -> Future[int]:
        """Delete runs; they can be restored for :data:`KEEP_MILLISECONDS`.

        The future also raises :class:`Refusal` 409 when any of them is running.
        """

        def job(db: Db) -> list[_Run]:
            runs = _visible(db, principal, run_ids)
            if running := [run.run_id for run in runs if run.status == "running"]:
                raise Refusal(
                    409, "CONFLICT", f"Run {running[0]} is running.", "Stop it first, or choose only runs that ended."
                )
            now = now_ms()
            # By its own clock a run may have changed a moment from now.
            db.executemany(
                "UPDATE runs SET deleted_ms = CASE WHEN updated_ms > ? THEN updated_ms ELSE ? END WHERE run_id = ?",
                [(now, now, run.run_id) for run in runs],
            )
            return runs

        return self._apply(job, lambda run: Change(*run[:3], [], [], False, frozenset({"deleted"})))

    def restore(self, principal: Principal, run_ids: Sequence[str]) -> Future[int]:
        """Take back a deletion."""

        def job(db: Db) -> list[_Run]:
            runs = _visible(db, principal, run_ids, deleted=True)
            db.executemany("UPDATE runs SET deleted_ms = NULL WHERE run_id = ?", [(run.run_id,) for run in runs])
            return runs

        return self._apply(job, lambda run: Change(*run[:3], [], [], True))

    def _apply(self, job: Callable[[Db], list[_Run]], change: Callable[[_Run], Change]) -> Future[int]:
        changes: list[Change] = []

        def work(db: Db) -> int:
            changes.clear()
            runs = job(db)
            changes.extend(map(change, runs))
            return len(runs)

        return self._engine.write(work, lambda _: self._publish(changes))


def purge_deleted(engine: Engine, now: int) -> int:
    """Remove runs for good whose deletion is older than :data:`KEEP_MILLISECONDS` at ``now``; how many."""
    with engine.read() as db:
        rows = db.execute(
            "SELECT r.run_id FROM runs r WHERE r.deleted_ms IS NOT NULL AND r.deleted_ms < ?"
            f" AND NOT {PRESENT} ORDER BY r.deleted_ms LIMIT ?",
            (now - KEEP_MILLISECONDS, PURGED_AT_ONCE),
        ).fetchall()
    for (run_id,) in rows:
        engine.write(lambda db, run_id=run_id: _remove(db, run_id)).result()  # type: ignore[misc]
    return len(rows)


def _remove(db: Db, run_id: str) -> None:
    if db.execute(f"SELECT 1 FROM runs r WHERE r.run_id = ? AND {PRESENT}", (run_id,)).fetchone():
        return  # went on, or was restored, at the last moment
    for table in _RUN_TABLES:
        db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))


def _visible(db: Db, principal: Principal, run_ids: Sequence[str], *, deleted: bool = False) -> list[_Run]:
    """The runs in the order given, each once. With ``deleted``, those that were deleted too."""
    runs: list[_Run] = []
    for run_id in dict.fromkeys(run_ids):
        row = db.execute(
            "SELECT r.run_id, r.project_id, r.workspace_id, r.status, r.tags FROM runs r"
            f" WHERE r.run_id = ? AND {within_bounds('r')}"
            f" AND {'1 = 1' if deleted else PRESENT}",
            (run_id, *principal.bounds),
        ).fetchone()
        if row is None:
            raise not_found(f"Run {run_id[:200]!r}")
        runs.append(_Run(*row))
    return runs
