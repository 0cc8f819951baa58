"""Acks: what a run says of its dials and of the commands that it was handed, as it comes in."""

from __future__ import annotations

from rundial.events import OUTCOMES, Ack, Dial
from rundial.server.store.admission import clean_text, document
from rundial.server.store.commands import MAX_ERROR, MAX_REASON, finish, next_place
from rundial.server.store.dials import MAX_NAME, check_dials, put_dials
from rundial.server.store.engine import Db
from rundial.server.store.refusal import Refusal


def append(db: Db, run_id: str, stream: str, events: list[tuple[int, Dial | Ack]], now: int) -> None:
    """Take in the events of one batch, with their sequence numbers, inside the writer's transaction.

    Raises ValueError, before anything is written, when one of them is neither.
    """
    rows = check_dials(db, run_id, [event for _, event in events if isinstance(event, Dial)])
    acks = [_checked_ack(event) for _, event in events if isinstance(event, Ack)]
    put_dials(db, run_id, stream, rows, now)
    for ack in acks:
        _take_ack(db, run_id, ack, now)


def _checked_ack(ack: Ack) -> Ack:
    if ack.status not in OUTCOMES:
        raise ValueError(f"status must be one of {', '.join(OUTCOMES)}")
    if not 0 < len(ack.command_id) <= MAX_NAME:
        raise ValueError(f"command_id has 1 to {MAX_NAME} characters")
    if not 0 <= ack.time_ns < 2**63:
        raise ValueError("time does not fit into 64 bits")
    document([ack.value, ack.former, ack.ranks])
    return ack


def _take_ack(db: Db, run_id: str, ack: Ack, now: int) -> None:
    row = db.execute(
        "SELECT status, finished_ms FROM commands WHERE run_id = ? AND command_id = ?", (run_id, ack.command_id)
    ).fetchone()
    if row is None:
        _insert_answered(db, run_id, ack, now)
    elif row[1] is None or (ack.status == "applied" and row[0] != "applied"):
        finish(db, run_id, ack.command_id, ack.status, now, ack.error, ack.former, ack.ranks)
    if ack.status == "applied":
        db.execute(
            "UPDATE dials SET value = ?, updated_ms = ? WHERE run_id = ? AND name = ? AND told_ns <= ?",
            (document(ack.value), now, run_id, ack.name, ack.time_ns),
        )


def _insert_answered(db: Db, run_id: str, ack: Ack, now: int) -> None:
    """A command that did not come by way of the server, such as through a queue directory."""
    try:
        place = next_place(db, run_id)
    except Refusal:
        return
    sent_ms = ack.time_ns // 1_000_000
    db.execute(
        "INSERT INTO commands (run_id, command_id, place, name, value, author, reason, status, created_ms, deadline_ms,"
        " delivered_to, finished_ms, former, error, ranks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?, ?)",
        (
            run_id,
            ack.command_id,
            place,
            clean_text(ack.name, MAX_NAME),
            document(ack.value),
            clean_text(ack.author or "somebody at the machine", MAX_NAME),
            ack.reason and clean_text(ack.reason, MAX_REASON),
            ack.status,
            sent_ms,
            sent_ms,
            now,
            document(ack.former),
            ack.error and clean_text(ack.error, MAX_ERROR),
            None if ack.ranks is None else document(ack.ranks),
        ),
    )
