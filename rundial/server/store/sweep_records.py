"""The record of a sweep, as its maker or one of its runs tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rundial.server.store.admission import MAX_NAME, clean_text, document
from rundial.server.store.engine import Db

MAX_ID = 128
MAX_CONFIG = 256 * 1024
"""Characters of a sweep's config as JSON."""
MAX_SWEEPS = 10_000
"""Sweeps of a project."""

TABLES = """
CREATE TABLE sweeps (
    project_id TEXT NOT NULL,
    sweep_id TEXT NOT NULL,
    name TEXT NOT NULL,
    method TEXT NOT NULL,
    config TEXT NOT NULL,
    state TEXT NOT NULL,
    author TEXT NOT NULL,
    turned_by TEXT,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    asked_ms BIGINT,
    PRIMARY KEY (project_id, sweep_id)
);
CREATE INDEX sweeps_by_age ON sweeps (project_id, created_ms, sweep_id);
"""


def told_by(db: Db, run_id: str, said: Mapping[str, Any], now: int) -> None:
    """Take in what a run says of its sweep: ``id``, and what :func:`merge` takes. Raises ValueError."""
    sweep_id = said.get("id")
    if not isinstance(sweep_id, str):
        raise ValueError("sweep needs an id")
    project_id = db.execute("SELECT project_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0]
    merge(db, project_id, sweep_id, said, "", now)


def merge(db: Db, project_id: str, sweep_id: str, said: Mapping[str, Any], author: str, now: int) -> None:
    """Make the sweep, or put what is new into what is known; its state stays.

    Args:
        said: ``name``, and ``config`` as ``wandb.sweep`` takes one. Of ``config`` the newest word on each key counts;
            of its ``parameters`` those that are not named again stay, for a search may come upon some of them late.
        author: who says it, for people.
        now: Unix milliseconds.

    Raises:
        ValueError: what cannot be kept. Nothing was written.
    """
    if not sweep_id or len(sweep_id) > MAX_ID or not sweep_id.isprintable() or "/" in sweep_id:
        raise ValueError(f"the id must be 1 to {MAX_ID} printable characters without '/'")
    config, name = said.get("config") or {}, said.get("name") or ""
    if not isinstance(config, dict) or not isinstance(name, str):
        raise ValueError("config must be a mapping and name a text")
    config = msgspec.json.decode(document(config))
    row = known_row(db, project_id, sweep_id, "name, config, author")
    known: dict[str, Any] = {} if row is None else msgspec.json.decode(row[1])
    merged = _merged(known, config)
    text = document(merged)
    if len(text) > MAX_CONFIG:
        raise ValueError(f"the config is longer than {MAX_CONFIG} characters")
    shown = clean_text(name or str(merged.get("name") or ""), MAX_NAME) or (row[0] if row else "")
    method = clean_text(str(merged.get("method") or ""), MAX_NAME)
    if row is None:
        held = db.execute("SELECT count(*) FROM sweeps WHERE project_id = ?", (project_id,)).fetchone()[0]
        if held >= MAX_SWEEPS:
            raise ValueError(f"the project has {MAX_SWEEPS:,} sweeps already")
        db.execute(
            "INSERT INTO sweeps (project_id, sweep_id, name, method, config, state, author, created_ms, updated_ms)"
            " VALUES (?, ?, ?, ?, ?, 'running', ?, ?, ?)",
            (project_id, sweep_id, shown, method, text, author, now, now),
        )
    elif merged != known or shown != row[0] or (author and not row[2]):
        db.execute(
            "UPDATE sweeps SET name = ?, method = ?, config = ?, author = ?, updated_ms = ?"
            " WHERE project_id = ? AND sweep_id = ?",
            (shown, method, text, row[2] or author, now, project_id, sweep_id),
        )


def _merged(known: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """The newest word on each key; parameters, which may be nested, one by one."""
    merged = {**known, **said}
    old, new = known.get("parameters"), said.get("parameters")
    if isinstance(old, dict) and isinstance(new, dict):
        both = {
            name: _merged(old[name], about) if _is_nested(old.get(name)) and _is_nested(about) else about
            for name, about in new.items()
        }
        merged["parameters"] = {**old, **both}
    return merged


def _is_nested(about: Any) -> bool:
    return isinstance(about, dict) and isinstance(about.get("parameters"), dict)


def known_row(db: Db, project_id: str, sweep_id: str, columns: str) -> Any:
    """These columns of a sweep; None when it is not known."""
    return db.execute(
        f"SELECT {columns} FROM sweeps WHERE project_id = ? AND sweep_id = ?", (project_id, sweep_id)
    ).fetchone()


def note_seen(db: Db, project_id: str, sweep_id: str, now: int, finished: bool) -> None:
    """An agent has asked at ``now``, in Unix milliseconds; ``finished`` when it had nothing left to try."""
    state = ", state = 'finished', updated_ms = ?" if finished else ""
    db.execute(
        f"UPDATE sweeps SET asked_ms = ?{state} WHERE project_id = ? AND sweep_id = ?",
        (now, *([now] if finished else []), project_id, sweep_id),
    )
