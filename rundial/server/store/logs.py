"""Log lines: what runs wrote, in blobs of a thousand lines with a small index."""

from __future__ import annotations

import sqlite3

from rundial.events import LogLine

TABLES = ""


def append(db: sqlite3.Connection, run_id: str, stream: str, events: list[tuple[int, LogLine]], now: int) -> None:
    """Take in the events of one batch, with their sequence numbers, inside the writer's transaction."""
