"""Users: people of a workspace with a role, who sign in with a password or a link.

Behind each user stands a key that nobody knows the text of: it carries the scopes of the role, and a user's sessions
are sessions of that key. So whatever is true of keys (scopes, revocation) is true of users.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from typing import Any, NamedTuple

from rundial.server.store import passwords
from rundial.server.store.accounts import (
    SCOPES,
    Accounts,
    Principal,
    digest,
    insert_key,
    insert_session,
    new_id,
    now_ms,
)
from rundial.server.store.admission import clean_text
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import Refusal, invalid, not_found

READS = frozenset({"project:read", "stream:read"})
ROLES = {"owner": frozenset({"admin"}), "member": SCOPES - {"admin"}, "viewer": READS}
INVITATION_MILLISECONDS = 7 * 24 * 3600 * 1000
MAX_USERS = 10_000
_EMAIL = re.compile(r"[^\s@\x00-\x1f]{1,64}@[^\s@\x00-\x1f]{1,180}")
Json = dict[str, Any]

TABLES = """
ALTER TABLE api_keys ADD COLUMN agent_id TEXT;
ALTER TABLE api_keys ADD COLUMN user_id TEXT;
CREATE TABLE users (
    workspace_id TEXT NOT NULL,
    user_id TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    password TEXT,
    key_id TEXT NOT NULL REFERENCES api_keys (key_id),
    created_ms BIGINT NOT NULL,
    removed_ms BIGINT,
    PRIMARY KEY (workspace_id, user_id)
);
"""

_SELECT = "SELECT user_id, email, name, role, password, created_ms, removed_ms, key_id FROM users"


class Login(NamedTuple):
    """What came of a try to sign in."""

    session: str | None
    workspace_id: str | None
    user_id: str | None


class Users:
    """Makes users, changes and removes them, and lets them in."""

    def __init__(self, engine: Engine, accounts: Accounts) -> None:
        self._engine = engine
        self._accounts = accounts
        self._throttle = passwords.Throttle()

    def create(
        self, principal: Principal, email: str, name: str, role: str, password: str | None
    ) -> tuple[Json, str, int]:
        """A new user of the principal's workspace, with the token of a login link and when it expires.

        Raises :class:`Refusal`: 400 for an address or password that cannot be, 409 for an address that is taken.
        """
        address = _address(email)
        kept = None if password is None else passwords.keep(password)

        def make(db: Db) -> tuple[Json, str, int]:
            if db.execute("SELECT 1 FROM users WHERE email = ?", (address,)).fetchone() is not None:
                raise Refusal(409, "CONFLICT", "This address has an account.", "Use another, or remove that user.")
            held = db.execute(
                "SELECT count(*) FROM users WHERE workspace_id = ? AND removed_ms IS NULL", (principal.workspace_id,)
            ).fetchone()[0]
            if held >= MAX_USERS:
                raise Refusal(409, "CONFLICT", f"There are {MAX_USERS} users.", "Remove some.")
            user_id = new_id("usr")
            key_id, _ = insert_key(db, principal.workspace_id, None, ROLES[role], address, None)
            db.execute("UPDATE api_keys SET user_id = ? WHERE key_id = ?", (user_id, key_id))
            db.execute(
                "INSERT INTO users (workspace_id, user_id, email, name, role, password, key_id, created_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    principal.workspace_id,
                    user_id,
                    address,
                    clean_text(name, 200),
                    role,
                    kept,
                    key_id,
                    now_ms(),
                ),
            )
            return _document(_find(db, principal, user_id)), *_link(db, key_id)

        return self._engine.write(make).result()

    def list(self, principal: Principal, *, limit: int, cursor: str | None) -> tuple[list[Json], str | None]:
        """The workspace's users by id, those too that were removed."""
        with self._engine.read() as db:
            rows = db.execute(
                f"{_SELECT} WHERE workspace_id = ? AND user_id > ? ORDER BY user_id LIMIT ?",
                (principal.workspace_id, cursor or "", limit + 1),
            ).fetchall()
        return [_document(row) for row in rows[:limit]], rows[limit - 1][0] if len(rows) > limit else None

    def invite(self, principal: Principal, user_id: str) -> tuple[Json, str, int]:
        """Another login link for a user: to come in for the first time, or without the password.

        Raises :class:`Refusal` 404.
        """

        def make(db: Db) -> tuple[Json, str, int]:
            row = _present(db, principal, user_id)
            return _document(row), *_link(db, row[7])

        return self._engine.write(make).result()

    def change_role(self, principal: Principal, user_id: str, role: str) -> Json:
        """Give a user another role, which holds for open sessions too. Raises :class:`Refusal` 404."""

        def change(db: Db) -> Json:
            row = _present(db, principal, user_id)
            db.execute(
                "UPDATE users SET role = ? WHERE workspace_id = ? AND user_id = ?",
                (role, principal.workspace_id, user_id),
            )
            db.execute("UPDATE api_keys SET scopes = ? WHERE key_id = ?", (" ".join(sorted(ROLES[role])), row[7]))
            return _document(_find(db, principal, user_id))

        found = self._engine.write(change).result()
        self._accounts.revoked()
        return found

    def remove(self, principal: Principal, user_id: str) -> Json:
        """Take a user's account and sessions away; the address is free again. Raises :class:`Refusal` 404."""

        def take_away(db: Db) -> Json:
            row = _present(db, principal, user_id)
            db.execute("UPDATE api_keys SET revoked_ms = ? WHERE key_id = ?", (now_ms(), row[7]))
            db.execute(
                "UPDATE users SET removed_ms = ?, password = NULL, email = ? WHERE workspace_id = ? AND user_id = ?",
                (now_ms(), f"{user_id} (was {row[1]})", principal.workspace_id, user_id),
            )
            return _document(_find(db, principal, user_id))

        found = self._engine.write(take_away).result()
        self._accounts.revoked()
        return found

    def log_in(self, email: str, password: str, address: str) -> Login:
        """A session for a user's password, or why there is none. Takes a tenth of a second.

        ``address`` is where the request came from. Raises :class:`Refusal` 429 after too many wrong passwords.
        """
        account = _folded(email)[:300]
        self._throttle.check(f"account {account}", passwords.ACCOUNT_FAILURES)
        self._throttle.check(f"address {address}", passwords.ADDRESS_FAILURES)
        with self._engine.read() as db:
            row = db.execute(
                "SELECT workspace_id, user_id, password, key_id FROM users WHERE email = ? AND removed_ms IS NULL",
                (account,),
            ).fetchone()
        kept = row[2] if row else None
        if not passwords.is_right(password, kept or passwords.nobodys()) or kept is None:
            self._throttle.fail(f"account {account}")
            self._throttle.fail(f"address {address}")
            return Login(None, *(row[:2] if row else (None, None)))
        self._throttle.succeed(f"account {account}")
        session = self._engine.write(lambda db: insert_session(db, row[3])).result()
        return Login(session, row[0], row[1])

    def set_password(self, principal: Principal, current: str | None, password: str) -> Json:
        """Set the own password of a user who is signed in; other sessions of the user end.

        The current one is needed where there is one. Raises :class:`Refusal`: 403 when it is wrong or the principal is
        no user, 400 for a password that cannot be.
        """
        with self._engine.read() as db:
            row = db.execute(
                "SELECT u.user_id, u.password, u.key_id FROM sessions s JOIN users u ON u.key_id = s.key_id"
                " WHERE s.session_id = ?",
                (principal.id,),
            ).fetchone()
        if row is None:
            raise Refusal(403, "FORBIDDEN", "Only a user has a password.", "Sign in as one.")
        user_id, known, key_id = row
        if known is not None:
            self._throttle.check(f"account {user_id}", passwords.ACCOUNT_FAILURES)
            if not passwords.is_right(current or "", known):
                self._throttle.fail(f"account {user_id}")
                raise Refusal(403, "FORBIDDEN", "The current password is wrong.", "Or ask an owner for a login link.")
        kept = passwords.keep(password)

        def change(db: Db) -> Json:
            db.execute("UPDATE users SET password = ? WHERE user_id = ?", (kept, user_id))
            db.execute("DELETE FROM sessions WHERE key_id = ? AND session_id <> ?", (key_id, principal.id))
            return _document(_find(db, principal, user_id))

        found = self._engine.write(change).result()
        self._accounts.revoked()
        return found

    def of_session(self, principal: Principal) -> Json | None:
        """The user behind a session; None when it is of a key."""
        with self._engine.read() as db:
            row = db.execute(
                "SELECT k.user_id FROM sessions s JOIN api_keys k ON k.key_id = s.key_id WHERE s.session_id = ?",
                (principal.id,),
            ).fetchone()
            return _document(_find(db, principal, row[0])) if row and row[0] else None


def _find(db: Db, principal: Principal, user_id: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = db.execute(
        f"{_SELECT} WHERE workspace_id = ? AND user_id = ?", (principal.workspace_id, user_id)
    ).fetchone()
    if row is None:
        raise not_found(f"User {user_id[:200]!r}")
    return row


def _present(db: Db, principal: Principal, user_id: str) -> tuple[Any, ...]:
    row = _find(db, principal, user_id)
    if row[6] is not None:
        raise not_found(f"User {user_id[:200]!r}")
    return row


def _link(db: Db, key_id: str) -> tuple[str, int]:
    token = "rdl_" + secrets.token_urlsafe(32)
    expires_ms = now_ms() + INVITATION_MILLISECONDS
    db.execute(
        "INSERT INTO login_links (hash, key_id, expires_ms) VALUES (?, ?, ?)", (digest(token), key_id, expires_ms)
    )
    return token, expires_ms


def _folded(email: str) -> str:
    """An address as it is compared: no other way of writing it is another account."""
    return unicodedata.normalize("NFKC", email).strip().casefold()


def _address(email: str) -> str:
    folded = _folded(email)
    if not _EMAIL.fullmatch(folded) or not folded.isprintable():
        raise invalid("The email address cannot be used.", "Write it as name@example.org.")
    return folded


def _document(row: tuple[Any, ...]) -> Json:
    user_id, email, name, role, password, created_ms, removed_ms, _ = row
    return {
        "userId": user_id,
        "email": email,
        "name": name,
        "role": role,
        "status": "active" if removed_ms is None else "removed",
        "hasPassword": password is not None,
        "createdAtMs": created_ms,
        "removedAtMs": removed_ms,
    }
