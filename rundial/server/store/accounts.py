"""Accounts: workspaces, API keys, login links and page sessions. Of a secret only its SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from rundial.errors import RundialError
from rundial.server.store.engine import Db, Engine, the_key

SCOPES = frozenset(
    {
        "metrics:write",
        "logs:write",
        "traces:write",
        "evals:write",
        "artifacts:write",
        "project:read",
        "stream:read",
        "control:write",
        "project:write",
        "admin",
    }
)
SESSION_MILLISECONDS = 30 * 24 * 3600 * 1000
USED_MILLISECONDS = 60_000
"""How often the last use of a key is written down at most."""
_REMEMBERED = 10_000
_LONGEST = 200


class Principal(NamedTuple):
    """Who asks: an API key, or a page session that acts for one."""

    kind: str
    """``api_key`` or ``user``."""
    id: str
    workspace_id: str
    workspace_slug: str
    project_id: str | None
    """None: every project of the workspace."""
    scopes: frozenset[str]
    label: str
    everywhere: bool = False
    """The owner of the server is bound to no workspace; the one above is where he is at home."""

    @property
    def bounds(self) -> tuple[str | None, str | None, str | None, str | None]:
        """What :func:`within_bounds` compares with: the workspace twice, the project twice, None for any."""
        workspace_id = None if self.everywhere else self.workspace_id
        return workspace_id, workspace_id, self.project_id, self.project_id

    def sees(self, workspace_id: str, project_id: str) -> bool:
        """Whether a run, or whatever else is in that project, exists for him."""
        return (self.everywhere or workspace_id == self.workspace_id) and self.project_id in (None, project_id)

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes


def within_bounds(table: str) -> str:
    """The condition that a row of ``table`` is the principal's to see; its values are his ``bounds``."""
    return f"(? IS NULL OR {table}.workspace_id = ?) AND (? IS NULL OR {table}.project_id = ?)"


def within(db: Db, principal: Principal, workspace: str) -> Principal | None:
    """The principal as one of a workspace, named by slug, id or name; None when it does not exist or is not his."""
    if not principal.everywhere:
        own = db.execute(
            "SELECT 1 FROM workspaces WHERE workspace_id = ? AND (slug = ? OR workspace_id = ? OR name = ?)",
            (principal.workspace_id, workspace, workspace, workspace),
        ).fetchone()
        return principal if own else None
    row = db.execute(
        "SELECT workspace_id, slug FROM workspaces WHERE slug = ? OR workspace_id = ? OR name = ?"
        " ORDER BY CASE WHEN slug = ? THEN 0 WHEN workspace_id = ? THEN 1 ELSE 2 END, created_ms LIMIT 1",
        (workspace,) * 5,
    ).fetchone()
    return bound(principal, row[0], row[1]) if row else None


def within_project(db: Db, principal: Principal, project_id: str) -> Principal:
    """The principal as one of the workspace of a project that he may see."""
    if not principal.everywhere:
        return principal
    row = db.execute(
        "SELECT w.workspace_id, w.slug FROM projects p JOIN workspaces w ON w.workspace_id = p.workspace_id"
        " WHERE p.project_id = ?",
        (project_id,),
    ).fetchone()
    return bound(principal, row[0], row[1])


def bound(principal: Principal, workspace_id: str, slug: str) -> Principal:
    """The principal as one of that workspace alone."""
    return principal._replace(workspace_id=workspace_id, workspace_slug=slug, everywhere=False)


class Elsewhere(Protocol):
    """The other processes that share the database; see :class:`notices.Notices`."""

    @property
    def hears(self) -> bool:
        """Whether nothing is revoked there without being heard of here."""

    def tell_to_forget(self) -> None: ...


class _Found(NamedTuple):
    principal: Principal
    key_id: str
    expires_ms: int | None


class Accounts:
    """Keys and sessions. A secret once verified is answered from memory until any is revoked or ended."""

    def __init__(self, engine: Engine, elsewhere: Elsewhere) -> None:
        self._engine = engine
        self._elsewhere = elsewhere
        self._guard = threading.Lock()
        self._known: dict[str, _Found] = {}
        self._generation = 0
        self._used: dict[str, int] = {}

    def verify(self, key: str) -> Principal | None:
        """Who the key belongs to; None when it is unknown, revoked or expired."""
        if not key.startswith("rdk_"):
            return None
        found = self._find(key, _select_key)
        if found is None:
            return None
        self._note_use(found.key_id)
        return found.principal

    def within(self, principal: Principal, workspace: str) -> Principal:
        """The principal as one of that workspace, if it is his; else as he is, who will not see it."""
        if not principal.everywhere:
            return principal
        with self._engine.read() as db:
            return within(db, principal, workspace) or principal

    def create_key(
        self,
        workspace_id: str,
        *,
        scopes: Iterable[str],
        label: str,
        project_id: str | None = None,
        expires_ms: int | None = None,
    ) -> tuple[str, str]:
        """A new key: its id, and its text, which cannot be had again. ``expires_ms`` is Unix milliseconds."""
        wanted = frozenset(scopes)
        if unknown := wanted - SCOPES:
            raise RundialError(f"unknown scope {sorted(unknown)[0]!r}. Scopes are {', '.join(sorted(SCOPES))}.")
        return self._engine.write(
            lambda db: insert_key(db, workspace_id, project_id, wanted, label, expires_ms)
        ).result()

    def revoke_key(self, key_id: str) -> None:
        """From now on the key and every session that came from it are unknown. Revoking twice changes nothing."""
        self._engine.write(
            lambda db: (
                db.execute(
                    "UPDATE api_keys SET revoked_ms = ? WHERE key_id = ? AND revoked_ms IS NULL", (now_ms(), key_id)
                ).rowcount
            )
        ).result()
        self.revoked()

    def create_link(self, principal: Principal, ttl_seconds: int = 300) -> tuple[str, int]:
        """A login link's token, good once, and when it expires (Unix milliseconds)."""
        token = "rdl_" + secrets.token_urlsafe(32)
        expires_ms = now_ms() + ttl_seconds * 1000
        self._engine.write(lambda db: _insert_link(db, token, principal, expires_ms)).result()
        return token, expires_ms

    def redeem_link(self, token: str) -> str | None:
        """A new session's token for a link; None when the link is unknown, used or expired."""
        if len(token) > _LONGEST:
            return None
        return self._engine.write(lambda db: _redeem(db, token)).result()

    def session(self, token: str) -> Principal | None:
        """Who the session acts for; None when it is unknown, over, or its key was revoked."""
        found = self._find(token, _select_session) if token.startswith("rds_") else None
        return found.principal if found else None

    def end_session(self, token: str) -> None:
        self._engine.write(
            lambda db: db.execute("DELETE FROM sessions WHERE hash = ?", (digest(token),)).rowcount
        ).result()
        self.revoked()

    def _find(self, secret: str, select: str) -> _Found | None:
        if len(secret) > _LONGEST or not secret.isascii():
            return None
        hashed = digest(secret)
        found = self._known.get(hashed) if self._elsewhere.hears else None
        if found is None:
            generation = self._generation
            with self._engine.read() as db:
                row = db.execute(select, (hashed,)).fetchone()
            if row is None:
                return None
            found = _found(row)
            self._remember(hashed, found, generation)
        return None if found.expires_ms is not None and found.expires_ms <= now_ms() else found

    def _remember(self, hashed: str, found: _Found, generation: int) -> None:
        with self._guard:
            # What was read before a revocation must not be remembered after it.
            if generation == self._generation and self._elsewhere.hears:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[hashed] = found

    def revoked(self) -> None:
        """Ask the database again about every key and session, here and in every process that shares it."""
        self.forget()
        self._elsewhere.tell_to_forget()

    def forget(self) -> None:
        """Ask the database again about every key and session."""
        with self._guard:
            self._generation += 1
            self._known = {}

    def _note_use(self, key_id: str) -> None:
        now = now_ms()
        if now - self._used.get(key_id, 0) >= USED_MILLISECONDS:
            self._used[key_id] = now
            self._engine.write(
                lambda db: db.execute("UPDATE api_keys SET last_used_ms = ? WHERE key_id = ?", (now, key_id)).rowcount,
                holds=[the_key(key_id)],
            )


_KEY_COLUMNS = (
    "k.key_id, k.workspace_id, w.slug, k.project_id, k.scopes, k.label,"
    " EXISTS (SELECT 1 FROM settings o WHERE o.name = 'owner_key' AND o.value = k.key_id)"
)
_select_key = (
    f"SELECT 'api_key', k.key_id, {_KEY_COLUMNS}, k.expires_ms FROM api_keys k"
    " JOIN workspaces w ON w.workspace_id = k.workspace_id WHERE k.hash = ? AND k.revoked_ms IS NULL"
)
_select_session = (
    f"SELECT 'user', s.session_id, {_KEY_COLUMNS},"
    " CASE WHEN k.expires_ms < s.expires_ms THEN k.expires_ms ELSE s.expires_ms END FROM sessions s"
    " JOIN api_keys k ON k.key_id = s.key_id JOIN workspaces w ON w.workspace_id = k.workspace_id"
    " WHERE s.hash = ? AND k.revoked_ms IS NULL"
)


def _found(row: tuple[str, str, str, str, str, str | None, str, str, int, int | None]) -> _Found:
    kind, identity, key_id, workspace_id, slug, project_id, scopes, label, owner, expires_ms = row
    principal = Principal(
        kind, identity, workspace_id, slug, project_id, frozenset(scopes.split()), label, everywhere=bool(owner)
    )
    return _Found(principal, key_id, expires_ms)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def digest(secret: str) -> str:
    """What is kept of a secret. It is random and long, so one round of SHA-256 is enough."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(10)}"


def insert_key(
    db: Db,
    workspace_id: str,
    project_id: str | None,
    scopes: frozenset[str],
    label: str,
    expires_ms: int | None,
) -> tuple[str, str]:
    key_id, key = new_id("key"), "rdk_" + secrets.token_urlsafe(32)
    db.execute(
        "INSERT INTO api_keys (key_id, hash, workspace_id, project_id, scopes, label, created_ms, expires_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (key_id, digest(key), workspace_id, project_id, " ".join(sorted(scopes)), label, now_ms(), expires_ms),
    )
    return key_id, key


def _insert_link(db: Db, token: str, principal: Principal, expires_ms: int) -> None:
    key_id = principal.id
    if principal.kind == "user":
        row = db.execute("SELECT key_id FROM sessions WHERE session_id = ?", (principal.id,)).fetchone()
        if row is None:
            raise RundialError("the session is over. Log in again.")
        key_id = row[0]
    db.execute("DELETE FROM login_links WHERE expires_ms < ?", (now_ms(),))
    db.execute(
        "INSERT INTO login_links (hash, key_id, expires_ms) VALUES (?, ?, ?)", (digest(token), key_id, expires_ms)
    )


def _redeem(db: Db, token: str) -> str | None:
    row = db.execute("SELECT key_id, expires_ms FROM login_links WHERE hash = ?", (digest(token),)).fetchone()
    if row is None:
        return None
    db.execute("DELETE FROM login_links WHERE hash = ?", (digest(token),))
    return None if row[1] <= now_ms() else insert_session(db, row[0])


def insert_session(db: Db, key_id: str) -> str:
    """A new session that acts for a key; its token."""
    session = "rds_" + secrets.token_urlsafe(32)
    db.execute("DELETE FROM sessions WHERE expires_ms < ?", (now_ms(),))
    db.execute(
        "INSERT INTO sessions (hash, session_id, key_id, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?)",
        (digest(session), new_id("ses"), key_id, now_ms(), now_ms() + SESSION_MILLISECONDS),
    )
    return session
