"""Administering API keys: those of a project, and those of agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rundial.server.store.accounts import SCOPES, Accounts, Principal, insert_key, now_ms
from rundial.server.store.admission import clean_text, find_project
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import Refusal, invalid, not_found

DEFAULT_SCOPES = ("metrics:write", "project:read", "stream:read")
MAX_LABEL = 200
MAX_KEYS = 1_000
"""Valid keys of one project."""
Json = dict[str, Any]

_SELECT = (
    "SELECT k.key_id, k.agent_id, k.label, k.scopes, k.created_ms, k.expires_ms, k.revoked_ms, k.last_used_ms,"
    " k.project_id, p.slug FROM api_keys k JOIN projects p ON p.project_id = k.project_id"
)
_NAMES = (
    "keyId",
    "agentId",
    "label",
    "scopes",
    "createdAtMs",
    "expiresAtMs",
    "revokedAtMs",
    "lastUsedAtMs",
    "projectId",
    "projectSlug",
)


class Keys:
    """Makes keys, lists them and takes them back."""

    def __init__(self, engine: Engine, accounts: Accounts) -> None:
        self._engine = engine
        self._accounts = accounts

    def create(
        self,
        principal: Principal,
        project: str,
        scopes: Sequence[str],
        label: str,
        expires_ms: int | None,
        agent_id: str | None = None,
    ) -> Json:
        """A new key of a project, of an agent if one is named; its text is in the answer and nowhere else.

        Raises :class:`Refusal`: 404 for a project or agent that is not visible, 403 for a scope that the principal
        has not, 400 for an unknown scope or an end that is past.
        """
        wanted = frozenset(scopes)
        if not wanted or (unknown := sorted(wanted - SCOPES)):
            named = f"Unknown scope {unknown[0][:40]!r}" if wanted else "A key without a scope is of no use"
            raise invalid(f"{named}.", f"Scopes are {', '.join(sorted(SCOPES))}.")
        if missing := sorted(scope for scope in wanted if not principal.may(scope)):
            raise Refusal(403, "FORBIDDEN", f"Nobody can give the scope {missing[0]} without having it.", "Leave it.")
        if expires_ms is not None and expires_ms <= now_ms():
            raise invalid("expiresAtMs is past.", "Send Unix milliseconds of a moment to come.")

        def make(db: Db) -> Json:
            project_id = _project(db, principal, project)
            if agent_id is not None:
                _active_agent(db, principal, agent_id)
            held = db.execute(
                "SELECT count(*) FROM api_keys WHERE project_id = ? AND revoked_ms IS NULL", (project_id,)
            ).fetchone()[0]
            if held >= MAX_KEYS:
                raise Refusal(409, "CONFLICT", f"The project has {MAX_KEYS} keys.", "Revoke those nobody uses.")
            key_id, text = insert_key(
                db, principal.workspace_id, project_id, wanted, clean_text(label, MAX_LABEL), expires_ms
            )
            db.execute("UPDATE api_keys SET agent_id = ? WHERE key_id = ?", (agent_id, key_id))
            row = db.execute(f"{_SELECT} WHERE k.key_id = ?", (key_id,)).fetchone()
            return _document(row) | {"apiKey": text}

        return self._engine.write(make).result()

    def of_project(self, principal: Principal, project: str) -> list[Json] | None:
        """The project's keys, newest first, revoked ones too; None when it is not visible."""
        with self._engine.read() as db:
            project_id = find_project(db, principal, project)
            if project_id is None:
                return None
            rows = db.execute(f"{_SELECT} WHERE k.project_id = ? ORDER BY k.created_ms DESC, k.key_id", (project_id,))
            return [_document(row) for row in rows]

    def of_agent(self, principal: Principal, agent_id: str) -> list[Json] | None:
        """The agent's keys, newest first; None when the agent is not visible."""
        with self._engine.read() as db:
            known = db.execute(
                "SELECT 1 FROM agents WHERE workspace_id = ? AND agent_id = ?", (principal.workspace_id, agent_id)
            ).fetchone()
            if known is None:
                return None
            rows = db.execute(
                f"{_SELECT} WHERE k.workspace_id = ? AND k.agent_id = ? ORDER BY k.created_ms DESC, k.key_id",
                (principal.workspace_id, agent_id),
            )
            return [_document(row) for row in rows]

    def revoke(self, principal: Principal, project: str, key_id: str) -> Json:
        """Make a key of the project worthless at once; again, nothing changes. Raises :class:`Refusal` 404."""
        with self._engine.read() as db:
            project_id = _project(db, principal, project)
            known = db.execute(
                "SELECT 1 FROM api_keys WHERE key_id = ? AND project_id = ?", (key_id, project_id)
            ).fetchone()
        if known is None:
            raise not_found(f"Key {key_id[:200]!r}")
        self._accounts.revoke_key(key_id)
        with self._engine.read() as db:
            return _document(db.execute(f"{_SELECT} WHERE k.key_id = ?", (key_id,)).fetchone())


def _project(db: Db, principal: Principal, project: str) -> str:
    project_id = find_project(db, principal, project)
    if project_id is None:
        raise not_found(f"Project {project[:200]!r}")
    return project_id


def _active_agent(db: Db, principal: Principal, agent_id: str) -> None:
    row = db.execute(
        "SELECT revoked_ms FROM agents WHERE workspace_id = ? AND agent_id = ?", (principal.workspace_id, agent_id)
    ).fetchone()
    if row is None:
        raise not_found(f"Agent {agent_id[:200]!r}")
    if row[0] is not None:
        raise Refusal(409, "CONFLICT", "The agent is revoked.", "Make another one.")


def _document(row: tuple[Any, ...]) -> Json:
    found = dict(zip(_NAMES, row))
    found["scopes"] = found["scopes"].split()
    return found
