"""Losses: what a stream said that is not kept, with reasons, so that its account balances."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rundial.server.store.admission import document
from rundial.server.store.batch import Bad
from rundial.server.store.engine import Db

MAX_REJECTED = 1_000
"""Rejected records kept with their reason, of each stream; all are counted."""
_MAX_TALLIES = 10_000


def note_rejected(db: Db, run_id: str, stream: str, rejected: Sequence[Bad]) -> None:
    """Keep records that could not be taken, with the reason, and count them by code."""
    if not rejected:
        return
    kept = db.execute("SELECT count(*) FROM rejected WHERE run_id = ? AND stream = ?", (run_id, stream)).fetchone()[0]
    db.executemany(
        "INSERT INTO rejected (run_id, stream, seq, code, reason) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(run_id, stream, *bad) for bad in rejected[: max(0, MAX_REJECTED - kept)]],
    )
    codes: dict[str, int] = {}
    for bad in rejected:
        codes[bad.code] = codes.get(bad.code, 0) + 1
    _note(db, run_id, stream, "rejected", codes)


def note_losses(db: Db, run_id: str, stream: str, dropped: dict[str, int], non_finite: dict[str, int]) -> None:
    """Count what the client had to drop, by reason, and values that are no finite numbers, by key."""
    _note(db, run_id, stream, "dropped", dropped)
    _note(db, run_id, stream, "non_finite", non_finite)


def add_up(tally: dict[str, int], more: dict[str, int]) -> None:
    """Add counts to a tally, which grows to so many names and no further."""
    for key, count in more.items():
        name = key if key in tally or len(tally) < _MAX_TALLIES else "(other)"
        tally[name] = tally.get(name, 0) + count


def _note(db: Db, run_id: str, stream: str, column: str, more: dict[str, int]) -> None:
    if not more:
        return
    where = (run_id, stream)
    text = db.execute(f"SELECT {column} FROM streams WHERE run_id = ? AND stream = ?", where).fetchone()[0]
    tally: dict[str, int] = msgspec.json.decode(text)
    add_up(tally, more)
    db.execute(f"UPDATE streams SET {column} = ? WHERE run_id = ? AND stream = ?", (document(tally), *where))
