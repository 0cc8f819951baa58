"""What is in a database, on both engines."""

from __future__ import annotations

from rundial.server.store.engine import Db


def tables(db: Db, shared: bool) -> list[str]:
    """In the order they were made, as each refers to earlier ones only."""
    if shared:
        rows = db.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY oid"
        )
    else:
        rows = db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        )
    return [name for (name,) in rows.fetchall() if name != "migrations"]


def columns(db: Db, shared: bool, table: str) -> dict[str, str]:
    """Name and type of each."""
    if shared:
        return dict(
            db.execute(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name = ? ORDER BY ordinal_position",
                (table,),
            ).fetchall()
        )
    return {row[1]: row[2] for row in db.execute(f"PRAGMA table_info({table})").fetchall()}
