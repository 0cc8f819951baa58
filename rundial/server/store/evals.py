"""Evaluation suites, their runs and results."""

from __future__ import annotations

import sqlite3

from rundial.events import EvalResult, EvalStart

TABLES = ""


def append(
    db: sqlite3.Connection, run_id: str, stream: str, events: list[tuple[int, EvalStart | EvalResult]], now: int
) -> None:
    """Take in the events of one batch, with their sequence numbers, inside the writer's transaction."""
