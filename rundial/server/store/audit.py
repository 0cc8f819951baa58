"""The audit: who changed what, and who tried to."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple

from rundial.server.store.accounts import Principal, now_ms
from rundial.server.store.admission import clean_text
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import invalid

MAX_TEXT = 200
ACTORS = ("user", "api_key", "agent", "system")
Json = dict[str, Any]

TABLES = """
CREATE TABLE audit (
    id {serial},
    workspace_id TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    agent_id TEXT,
    action TEXT NOT NULL,
    verdict TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    request_id TEXT NOT NULL
);
CREATE INDEX audit_by_workspace ON audit (workspace_id, id);
"""


class Entry(NamedTuple):
    """What happened. ``verdict`` is ``allowed`` or ``denied``."""

    action: str
    verdict: str
    target_kind: str
    target_id: str
    request_id: str


class Audit:
    """Writing and reading the audit. Rows are never changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note(self, principal: Principal, entry: Entry) -> Future[None]:
        """Write down what the principal did; resolves when it is durable."""
        return self._engine.write(lambda db: _insert(db, principal.workspace_id, _actor(db, principal), entry))

    def note_login(self, workspace_id: str, user_id: str, entry: Entry) -> Future[None]:
        """Write down that a user came in, or somebody failed to in the user's name."""
        return self._engine.write(lambda db: _insert(db, workspace_id, ("user", user_id, None), entry))

    def events(
        self, principal: Principal, *, limit: int, cursor: str | None, agent_id: str | None, actor_kind: str | None
    ) -> tuple[list[Json], str | None]:
        """The workspace's entries, newest first. Raises :class:`Refusal`: a cursor that is none."""
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 18):
            raise invalid("The cursor is not one of this server.", "Begin again without a cursor.")
        where, values = ["workspace_id = ?"], [principal.workspace_id]
        for column, value in (("agent_id", agent_id), ("actor_kind", actor_kind)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if cursor is not None:
            where.append(f"id < {int(cursor)}")
        with self._engine.read() as db:
            rows = db.execute(
                "SELECT id, created_ms, actor_kind, actor_id, agent_id, action, verdict, target_kind, target_id,"
                f" request_id FROM audit WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
        names = (
            "createdAtMs",
            "actorKind",
            "actorId",
            "agentId",
            "action",
            "verdict",
            "targetKind",
            "targetId",
            "requestId",
        )
        events = [{"eventId": f"aud_{row[0]}", **dict(zip(names, row[1:]))} for row in rows[:limit]]
        return events, str(rows[limit - 1][0]) if len(rows) > limit else None


def _actor(db: Db, principal: Principal) -> tuple[str, str, str | None]:
    """Kind and id of who stands behind a key or session, and the agent if it is one."""
    if principal.kind == "user":
        row = db.execute(
            "SELECT k.user_id, k.key_id, k.agent_id FROM sessions s JOIN api_keys k ON k.key_id = s.key_id"
            " WHERE s.session_id = ?",
            (principal.id,),
        ).fetchone()
        return "user", (row and (row[0] or row[1])) or principal.id, row[2] if row else None
    row = db.execute("SELECT agent_id FROM api_keys WHERE key_id = ?", (principal.id,)).fetchone()
    agent_id = row[0] if row else None
    return "agent" if agent_id else "api_key", principal.id, agent_id


def _insert(db: Db, workspace_id: str, actor: tuple[str, str, str | None], entry: Entry) -> None:
    db.execute(
        "INSERT INTO audit (workspace_id, created_ms, actor_kind, actor_id, agent_id, action, verdict, target_kind,"
        " target_id, request_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            workspace_id,
            now_ms(),
            *actor,
            entry.action,
            entry.verdict,
            entry.target_kind,
            clean_text(entry.target_id, MAX_TEXT),
            entry.request_id,
        ),
    )
