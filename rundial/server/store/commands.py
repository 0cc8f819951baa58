"""Commands that turn dials: who asked for what, and what became of it.

A command is pending until it is handed to the stream that offers its dial, delivered until that stream says what became
of it. The table is the audit: a row is never deleted, and what was applied stays applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from rundial.events import refusal
from rundial.server.store.accounts import Principal, new_id, now_ms
from rundial.server.store.admission import clean_text, document
from rundial.server.store.dials import MAX_NAME, dial_documents, find_dial, is_on, switch
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import Refusal, invalid, not_found

MAX_COMMANDS = 100_000
"""Commands of one run."""
MAX_REASON = 1_000
MAX_ERROR = 2_000
RATE, RATE_MILLISECONDS = 10, 1_000
"""So many commands may a run get in this time."""
DEADLINE_MILLISECONDS = 600_000
ANSWER_MILLISECONDS = 60_000
"""How long after its deadline a delivered command may still be answered before it is shown as expired."""
HANDED = 100
"""Commands in one answer."""

TABLES = """
CREATE TABLE dials (
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    stream TEXT NOT NULL,
    spec TEXT NOT NULL,
    value TEXT NOT NULL,
    told_ns BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (run_id, name)
);
CREATE TABLE commands (
    run_id TEXT NOT NULL,
    command_id TEXT NOT NULL,
    place BIGINT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    author TEXT NOT NULL,
    author_id TEXT,
    reason TEXT,
    status TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    deadline_ms BIGINT NOT NULL,
    delivered_ms BIGINT,
    delivered_to TEXT NOT NULL,
    finished_ms BIGINT,
    former TEXT NOT NULL,
    error TEXT,
    ranks TEXT,
    PRIMARY KEY (run_id, command_id)
);
CREATE UNIQUE INDEX commands_by_place ON commands (run_id, place);
CREATE INDEX commands_open ON commands (run_id) WHERE finished_ms IS NULL;
CREATE TABLE control_off (
    project_id TEXT PRIMARY KEY,
    author TEXT NOT NULL,
    since_ms BIGINT NOT NULL
);
"""
ROLES = "ALTER TABLE commands ADD COLUMN author_role TEXT"
"""A later migration."""

Json = dict[str, Any]
_COLUMNS = (
    "command_id, place, name, value, author, reason, status, created_ms, deadline_ms, delivered_ms, finished_ms,"
    " former, error, ranks"
)


class Asked(NamedTuple):
    """What somebody asks of a dial. ``deadline_ms`` is how long from now it may wait."""

    name: str
    value: Any
    reason: str | None
    deadline_ms: int
    dry_run: bool


class Commands:
    """Reading and sending. ``publish`` hears of every change, as for ingest."""

    def __init__(self, engine: Engine, publish: Callable[[str], None]) -> None:
        self._engine = engine
        self._publish = publish

    def dials(self, run_id: str) -> list[Json]:
        """What the run offers, in the order of the names."""
        with self._engine.read() as db:
            return dial_documents(db, run_id)

    def is_on(self, run_id: str) -> bool:
        """Whether the run's project lets its dials be turned."""
        with self._engine.read() as db:
            return is_on(db, run_id)

    def is_on_in(self, project_id: str) -> bool:
        """Whether a project lets dials be turned."""
        with self._engine.read() as db:
            row = db.execute("SELECT 1 FROM control_off WHERE project_id = ?", (project_id,)).fetchone()
        return row is None

    def switch(self, principal: Principal, project_id: str, on: bool) -> None:
        """Let the dials of a project's runs be turned, or not."""

        author = author_of(principal)
        self._engine.write(lambda db: switch(db, project_id, author, on)).result()

    def page(self, run_id: str, limit: int, cursor: str | None) -> tuple[list[Json], str | None]:
        """Commands, newest first, and where the page after this one begins. Raises :class:`Refusal`."""
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 16):
            raise invalid("The cursor is none of ours.", "Send nextCursor as it was given.")
        before = MAX_COMMANDS if cursor is None else int(cursor)
        with self._engine.read() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM commands WHERE run_id = ? AND place < ? ORDER BY place DESC LIMIT ?",
                (run_id, before, limit + 1),
            ).fetchall()
        documents = [_document(row) for row in rows[:limit]]
        return documents, str(rows[limit - 1][1]) if len(rows) > limit else None

    def get(self, run_id: str, command_id: str) -> Json | None:
        """One command."""
        with self._engine.read() as db:
            row = db.execute(
                f"SELECT {_COLUMNS} FROM commands WHERE run_id = ? AND command_id = ?", (run_id, command_id)
            ).fetchone()
        return None if row is None else _document(row)

    def send(self, principal: Principal, run_id: str, asked: Asked) -> Json:
        """Take a command for a running run. Raises :class:`Refusal` when it cannot be obeyed."""
        sent = self._engine.write(
            lambda db: _send(db, principal, run_id, asked),
            lambda _: None if asked.dry_run else self._publish(run_id),
            run_id=run_id,
        )
        return sent.result()

    def run_of(self, principal: Principal, stream: str) -> str | None:
        """The run of a stream that the principal may write; None when there is none."""
        with self._engine.read() as db:
            row = db.execute(
                "SELECT r.run_id, r.workspace_id, r.project_id FROM streams s JOIN runs r ON r.run_id = s.run_id"
                " WHERE s.stream = ?",
                (stream,),
            ).fetchone()
        if row is None or not principal.sees(row[1], row[2]):
            return None
        return str(row[0])

    def hand_over(self, run_id: str, stream: str, after: int) -> list[Json]:
        """The open commands for the dials of a stream behind place ``after``, which are delivered by this."""
        with self._engine.read() as db:
            if not _open_commands(db, run_id, stream, after):
                return []
        return self._engine.write(
            lambda db: hand_over(db, run_id, stream, now_ms(), after),
            lambda handed: self._publish(run_id) if handed else None,
            run_id=run_id,
        ).result()


def author_of(principal: Principal) -> str:
    """Who asks, in a word for people."""
    return clean_text(principal.label or principal.id, MAX_NAME)


def _send(db: Db, principal: Principal, run_id: str, asked: Asked) -> Json:
    row = db.execute("SELECT status FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise not_found(f"Run {run_id}")
    if row[0] != "running":
        raise Refusal(409, "CONFLICT", f"Run {run_id} is {row[0]}.", "Dials can be turned while a run is running.")
    if not is_on(db, run_id):
        raise Refusal(403, "FORBIDDEN", "Control is switched off in this project.", "An admin can switch it on.")
    dial = find_dial(db, run_id, asked.name)
    role = "owner" if principal.may("admin") else "member"
    if dial.role == "owner" and role != "owner":
        raise Refusal(403, "FORBIDDEN", f"Only an owner may turn {dial.name!r}.", "Ask somebody with the scope admin.")
    why = refusal(dial, asked.value)
    if why is not None:
        raise invalid(f"The dial {dial.name!r} does not take this: {why}.", "Its kind and bounds say what it takes.")
    now = now_ms()
    place = next_place(db, run_id)
    if place >= RATE and _created(db, run_id, place - RATE) > now - RATE_MILLISECONDS:
        raise Refusal(
            429, "RATE_LIMITED", f"More than {RATE} commands in a second.", "Wait a second and send the last one."
        )
    if asked.dry_run:
        return {"dryRun": True, "name": dial.name, "value": asked.value, "former": dial.value}
    if dial.kind != "action":
        db.execute(
            "UPDATE commands SET status = 'superseded', finished_ms = ?, error = 'a newer command took its place'"
            " WHERE run_id = ? AND finished_ms IS NULL AND name = ? AND status = 'pending'",
            (now, run_id, dial.name),
        )
    command_id = new_id("cmd")
    db.execute(
        "INSERT INTO commands (run_id, command_id, place, name, value, author, author_id, reason, status, created_ms,"
        " deadline_ms, delivered_to, former, author_role)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, '', 'null', ?)",
        (
            run_id,
            command_id,
            place,
            dial.name,
            document(asked.value),
            author_of(principal),
            f"{principal.kind}:{principal.id}",
            asked.reason and clean_text(asked.reason, MAX_REASON),
            now,
            now + asked.deadline_ms,
            role,
        ),
    )
    return _document(
        db.execute(
            f"SELECT {_COLUMNS} FROM commands WHERE run_id = ? AND command_id = ?", (run_id, command_id)
        ).fetchone()
    )


def next_place(db: Db, run_id: str) -> int:
    """The place of the run's next command. Raises :class:`Refusal` 409: it has had too many."""
    place: int = db.execute("SELECT coalesce(max(place), -1) + 1 FROM commands WHERE run_id = ?", (run_id,)).fetchone()[
        0
    ]
    if place >= MAX_COMMANDS:
        raise Refusal(409, "CONFLICT", f"The run has had {MAX_COMMANDS:,} commands.", "Begin another run.")
    return place


def _created(db: Db, run_id: str, place: int) -> int:
    row = db.execute("SELECT created_ms FROM commands WHERE run_id = ? AND place = ?", (run_id, place)).fetchone()
    return row[0] if row else 0


def _open_commands(db: Db, run_id: str, stream: str, after: int) -> list[Any]:
    return db.execute(
        "SELECT c.command_id, c.place, c.name, c.value, c.author, c.reason, c.deadline_ms, c.delivered_to,"
        " c.author_role"
        " FROM commands c JOIN dials d ON d.run_id = c.run_id AND d.name = c.name"
        " WHERE c.run_id = ? AND c.finished_ms IS NULL AND d.stream = ? AND c.place > ? ORDER BY c.place LIMIT ?",
        (run_id, stream, after, HANDED),
    ).fetchall()


def hand_over(db: Db, run_id: str, stream: str, now: int, after: int | None = None) -> list[Json]:
    """The open commands for the dials of a stream, which are delivered by this.

    Behind place ``after``, also such as it or another stream was handed before; without it, only those that are new.
    """
    rows = _open_commands(db, run_id, stream, -1 if after is None else after)
    if rows and not is_on(db, run_id):
        return []  # switched off since they were sent: they wait, and expire
    handed: list[Json] = []
    for command_id, place, name, value, author, reason, deadline_ms, delivered_to, role in rows:
        streams = delivered_to.split()
        if after is None and streams:
            continue
        if deadline_ms <= now and not streams:
            finish(db, run_id, command_id, "expired", now, "its deadline passed before the run was there to hear it")
            continue
        if stream not in streams:
            db.execute(
                "UPDATE commands SET status = 'delivered', delivered_ms = coalesce(delivered_ms, ?), delivered_to = ?"
                " WHERE run_id = ? AND command_id = ?",
                (now, " ".join([*streams, stream]), run_id, command_id),
            )
        handed.append(
            {
                "commandId": command_id,
                "place": place,
                "name": name,
                "value": msgspec.json.decode(value),
                "author": author,
                "role": role or "member",
                "reason": reason,
                "leftMs": deadline_ms - now,
                "deliveredTo": [other for other in streams if other != stream],
            }
        )
    return handed


def end_all(db: Db, run_id: str, now: int) -> None:
    """The run has ended: what was not answered by now never is."""
    db.execute(
        "UPDATE commands SET status = 'expired', finished_ms = ?, error = 'the run ended first'"
        " WHERE run_id = ? AND finished_ms IS NULL",
        (now, run_id),
    )


def finish(
    db: Db,
    run_id: str,
    command_id: str,
    status: str,
    now: int,
    error: str | None,
    former: Any = None,
    ranks: dict[str, str] | None = None,
) -> None:
    """Write down what became of a command."""
    db.execute(
        "UPDATE commands SET status = ?, finished_ms = ?, error = ?, former = ?, ranks = ?"
        " WHERE run_id = ? AND command_id = ?",
        (
            status,
            now,
            error and clean_text(error, MAX_ERROR),
            document(former),
            None if ranks is None else document(ranks),
            run_id,
            command_id,
        ),
    )


def _document(row: Sequence[Any]) -> Json:
    fields = dict(zip(_COLUMNS.replace(",", "").split(), row))
    late = now_ms() - fields["deadline_ms"]
    status, error = fields["status"], fields["error"]
    if (status == "pending" and late > 0) or (status == "delivered" and late > ANSWER_MILLISECONDS):
        status, error = "expired", "no answer came before its deadline"
    return {
        "commandId": fields["command_id"],
        "place": fields["place"],
        "name": fields["name"],
        "value": msgspec.json.decode(fields["value"]),
        "author": fields["author"],
        "reason": fields["reason"],
        "status": status,
        "createdAtMs": fields["created_ms"],
        "deadlineAtMs": fields["deadline_ms"],
        "deliveredAtMs": fields["delivered_ms"],
        "finishedAtMs": fields["finished_ms"],
        "former": msgspec.json.decode(fields["former"]),
        "error": error,
        "ranks": None if fields["ranks"] is None else msgspec.json.decode(fields["ranks"]),
    }
