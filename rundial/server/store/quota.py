"""Bounds on what one client can make others pay for: keys of a run, projects of a workspace, runs in a minute."""

from __future__ import annotations

from collections import deque

from rundial.events import Metrics
from rundial.server.store.batch import Batch
from rundial.server.store.engine import Db
from rundial.server.store.inbox import blocks_of, encode_blocks
from rundial.server.store.lists import marks, parts
from rundial.server.store.refusal import Refusal

MAX_RUN_KEYS = 200_000
"""Metrics of a run. Beyond it those that are there go on, and new ones are refused."""
RUNS_PER_MINUTE = 30_000
"""New runs of a workspace in a minute, for each process of the server."""
MAX_PROJECTS = 10_000
"""Projects of a workspace."""

_made: dict[str, deque[int]] = {}


def fit_keys(db: Db, run_id: str, batch: Batch, last: int | None) -> tuple[Batch, int]:
    """The batch without the keys that are too many for its run, and how many records nothing is left of.

    Keys count once the compactor has seen them, so a burst may go beyond the bound by what waits for it. ``last`` is
    the highest key id of the run.
    """
    if last is None or last + 1 < MAX_RUN_KEYS:
        return batch, 0
    names = {name for record in batch.metrics for name in record.values}
    known = _known(db, run_id, sorted(names))
    if names <= known:
        return batch, 0
    kept: list[Metrics] = []
    for record in batch.metrics:
        values = {name: value for name, value in record.values.items() if name in known}
        if values:
            kept.append(Metrics(record.time_ns, record.step, values, record.stage, record.context))
    blocks = blocks_of(kept)
    points = sum(block.points for block in blocks)
    fitted = batch._replace(metrics=kept, data=encode_blocks(blocks), points=points)
    return fitted, len(batch.metrics) - len(kept)


def _known(db: Db, run_id: str, names: list[str]) -> set[str]:
    known: set[str] = set()
    for some in parts(names):
        rows = db.execute(f"SELECT name FROM metric_keys WHERE run_id = ? AND name IN ({marks(some)})", (run_id, *some))
        known.update(str(row[0]) for row in rows)
    return known


def count_run(workspace_id: str, now: int) -> None:
    """Note that a workspace gets a run, at ``now`` in Unix milliseconds. Raises :class:`Refusal` 429: too many."""
    made = _made.setdefault(workspace_id, deque())
    while made and made[0] <= now - 60_000:
        made.popleft()
    if len(made) >= RUNS_PER_MINUTE:
        raise Refusal(
            429,
            "RATE_LIMITED",
            f"The workspace got {RUNS_PER_MINUTE} runs within a minute.",
            "Wait a minute; a client that retries loses nothing.",
            60,
        )
    made.append(now)


def check_projects(db: Db, workspace_id: str) -> None:
    """Whether a workspace may have one more project. Raises :class:`Refusal` 429 when it has too many."""
    held = db.execute("SELECT count(*) FROM projects WHERE workspace_id = ?", (workspace_id,)).fetchone()[0]
    if held >= MAX_PROJECTS:
        raise Refusal(429, "RATE_LIMITED", f"The workspace has {MAX_PROJECTS} projects.", "Log into one that is there.")
