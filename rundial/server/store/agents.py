"""Agents: identities for programs, with keys of their own."""

from __future__ import annotations

from typing import Any

from rundial.server.store.accounts import Accounts, Principal, new_id, now_ms
from rundial.server.store.admission import checked_name
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import Refusal, not_found

MAX_AGENTS = 10_000
"""Active ones of one workspace."""
Json = dict[str, Any]

TABLES = """
CREATE TABLE agents (
    workspace_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revoked_ms BIGINT,
    PRIMARY KEY (workspace_id, agent_id)
);
"""

_SELECT = "SELECT agent_id, name, created_ms, updated_ms, revoked_ms FROM agents"


class Agents:
    """Makes agents, lists them and takes them back."""

    def __init__(self, engine: Engine, accounts: Accounts) -> None:
        self._engine = engine
        self._accounts = accounts

    def create(self, principal: Principal, name: str) -> Json:
        """A new agent. Raises :class:`Refusal`: 400 for a name that cannot be, 409 for one that is taken."""
        checked_name("name", name)

        def make(db: Db) -> Json:
            active = "workspace_id = ? AND revoked_ms IS NULL"
            taken = db.execute(f"SELECT 1 FROM agents WHERE {active} AND name = ?", (principal.workspace_id, name))
            if taken.fetchone() is not None:
                raise Refusal(409, "CONFLICT", f"There is an agent {name!r}.", "Choose another name, or revoke it.")
            held = db.execute(f"SELECT count(*) FROM agents WHERE {active}", (principal.workspace_id,)).fetchone()[0]
            if held >= MAX_AGENTS:
                raise Refusal(409, "CONFLICT", f"There are {MAX_AGENTS} agents.", "Revoke those nobody uses.")
            agent_id, now = new_id("agt"), now_ms()
            db.execute(
                "INSERT INTO agents (workspace_id, agent_id, name, created_ms, updated_ms) VALUES (?, ?, ?, ?, ?)",
                (principal.workspace_id, agent_id, name, now, now),
            )
            return _find(db, principal, agent_id)

        return self._engine.write(make).result()

    def list(
        self, principal: Principal, *, status: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Json], str | None]:
        """Agents by id; ``status`` is ``active``, ``revoked`` or None for both."""
        revoked = {None: "", "active": " AND revoked_ms IS NULL", "revoked": " AND revoked_ms IS NOT NULL"}[status]
        with self._engine.read() as db:
            rows = db.execute(
                f"{_SELECT} WHERE workspace_id = ? AND agent_id > ?{revoked} ORDER BY agent_id LIMIT ?",
                (principal.workspace_id, cursor or "", limit + 1),
            ).fetchall()
        return [_document(row) for row in rows[:limit]], rows[limit - 1][0] if len(rows) > limit else None

    def revoke(self, principal: Principal, agent_id: str) -> Json:
        """Make an agent and all its keys worthless at once. Raises :class:`Refusal` 404."""

        def take_back(db: Db) -> Json:
            _find(db, principal, agent_id)
            now = now_ms()
            db.execute(
                "UPDATE agents SET revoked_ms = ?, updated_ms = ?"
                " WHERE workspace_id = ? AND agent_id = ? AND revoked_ms IS NULL",
                (now, now, principal.workspace_id, agent_id),
            )
            db.execute(
                "UPDATE api_keys SET revoked_ms = ? WHERE workspace_id = ? AND agent_id = ? AND revoked_ms IS NULL",
                (now, principal.workspace_id, agent_id),
            )
            return _find(db, principal, agent_id)

        found = self._engine.write(take_back).result()
        self._accounts.revoked()
        return found


def _find(db: Db, principal: Principal, agent_id: str) -> Json:
    row = db.execute(
        f"{_SELECT} WHERE workspace_id = ? AND agent_id = ?", (principal.workspace_id, agent_id)
    ).fetchone()
    if row is None:
        raise not_found(f"Agent {agent_id[:200]!r}")
    return _document(row)


def _document(row: tuple[Any, ...]) -> Json:
    agent_id, name, created_ms, updated_ms, revoked_ms = row
    return {
        "agentId": agent_id,
        "name": name,
        "status": "active" if revoked_ms is None else "revoked",
        "createdAtMs": created_ms,
        "updatedAtMs": updated_ms,
        "revokedAtMs": revoked_ms,
    }
