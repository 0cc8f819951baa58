"""Dials: what a run offers to be turned, and whether its project lets anybody do so."""

from __future__ import annotations

from typing import Any

import msgspec

from rundial.events import DIAL_KINDS, DIAL_ROLES, Dial
from rundial.server.store.accounts import now_ms
from rundial.server.store.admission import clean_text, document
from rundial.server.store.engine import Db
from rundial.server.store.refusal import invalid

MAX_DIALS = 1_000
MAX_NAME = 250
MAX_CHOICES = 1_000
MAX_DESCRIPTION = 1_000

Json = dict[str, Any]


def dial_documents(db: Db, run_id: str) -> list[Json]:
    """What a run offers, in the order of the names."""
    rows = db.execute("SELECT name, spec, value, updated_ms FROM dials WHERE run_id = ? ORDER BY name", (run_id,))
    return [
        {"name": name, **msgspec.json.decode(spec), "value": msgspec.json.decode(value), "updatedAtMs": updated_ms}
        for name, spec, value, updated_ms in rows.fetchall()
    ]


def find_dial(db: Db, run_id: str, name: str) -> Dial:
    """A dial by its name. Raises :class:`Refusal`."""
    row = db.execute("SELECT spec, value FROM dials WHERE run_id = ? AND name = ?", (run_id, name)).fetchone()
    if row is None:
        rows = db.execute("SELECT name FROM dials WHERE run_id = ? ORDER BY name LIMIT 20", (run_id,)).fetchall()
        known = ", ".join(row[0] for row in rows)
        hint = f"There are: {known}." if known else "The run offers none; run.dial(...) in its script does."
        raise invalid(f"The run has no dial {name[:80]!r}.", hint)
    spec = msgspec.json.decode(row[0])
    return Dial(0, name, **spec, value=msgspec.json.decode(row[1]))


def is_on(db: Db, run_id: str) -> bool:
    """Whether the run's project lets its dials be turned."""
    row = db.execute(
        "SELECT 1 FROM control_off c JOIN runs r ON r.project_id = c.project_id WHERE r.run_id = ?", (run_id,)
    ).fetchone()
    return row is None


def switch(db: Db, project_id: str, author: str, on: bool) -> None:
    """Let the dials of a project's runs be turned, or not."""
    if on:
        db.execute("DELETE FROM control_off WHERE project_id = ?", (project_id,))
        return
    db.execute(
        "INSERT INTO control_off (project_id, author, since_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (project_id, author, now_ms()),
    )


def check_dials(db: Db, run_id: str, dials: list[Dial]) -> dict[str, tuple[str, str, int]]:
    """The rows of these dials, by name, of one name the last. Raises ValueError for what cannot be stored."""
    rows = {dial.name: _dial_row(dial) for dial in dials}
    if rows:
        _check_room(db, run_id, rows)
    return rows


def put_dials(db: Db, run_id: str, stream: str, rows: dict[str, tuple[str, str, int]], now: int) -> None:
    """Store checked dials that a stream offers."""
    db.executemany(
        # What a process that died had still to say comes late, and must not take its successor's dials away.
        "INSERT INTO dials (run_id, name, stream, spec, value, told_ns, updated_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run_id, name) DO UPDATE SET stream = excluded.stream, spec = excluded.spec,"
        " value = excluded.value, told_ns = excluded.told_ns, updated_ms = excluded.updated_ms"
        " WHERE excluded.told_ns >= dials.told_ns",
        [(run_id, name, stream, *row, now) for name, row in rows.items()],
    )


def _dial_row(dial: Dial) -> tuple[str, str, int]:
    if not dial.name or clean_text(dial.name, MAX_NAME) != dial.name:
        raise ValueError(f"a dial's name has 1 to {MAX_NAME} printable characters")
    if dial.kind not in DIAL_KINDS:
        raise ValueError(f"kind must be one of {', '.join(DIAL_KINDS)}")
    if len(dial.choices or ()) > MAX_CHOICES:
        raise ValueError(f"more than {MAX_CHOICES} choices")
    if dial.role not in (None, *DIAL_ROLES):
        raise ValueError(f"role must be one of {', '.join(DIAL_ROLES)}")
    spec = {
        "kind": dial.kind,
        "min": dial.min,
        "max": dial.max,
        "step": dial.step,
        "choices": dial.choices,
        "unit": dial.unit and clean_text(dial.unit, MAX_NAME),
        "description": dial.description and clean_text(dial.description, MAX_DESCRIPTION),
        "role": dial.role or "member",
    }
    if not 0 <= dial.time_ns < 2**63:
        raise ValueError("time does not fit into 64 bits")
    return document(spec), document(dial.value), dial.time_ns


def _check_room(db: Db, run_id: str, rows: dict[str, Any]) -> None:
    known = {row[0] for row in db.execute("SELECT name FROM dials WHERE run_id = ?", (run_id,))}
    if len(known | rows.keys()) > MAX_DIALS:
        raise ValueError(f"more than {MAX_DIALS} dials")
