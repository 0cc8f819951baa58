"""Keys, login links and sessions."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rundial.errors import RundialError
from rundial.server.store import Store
from rundial.server.store.accounts import Principal


@pytest.fixture
def store(tmp_path: Path, open_store: Callable[[Path], Store]) -> Store:
    return open_store(tmp_path)


@pytest.fixture
def owner(store: Store) -> Principal:
    principal = store.accounts.verify(store.owner_key)
    assert principal is not None
    return principal


def test_a_new_folder_has_an_owner(store: Store, owner: Principal, tmp_path: Path) -> None:
    """The owner's key lies in a file nobody else can read, may do everything, and belongs to the default workspace."""
    assert (tmp_path / "owner.key").read_text().strip() == store.owner_key
    assert (tmp_path / "owner.key").stat().st_mode & 0o777 == 0o600
    assert owner.workspace_slug == "default-workspace"
    assert owner.may("metrics:write") and owner.may("project:read")


def test_the_owner_key_survives_a_restart(store: Store, tmp_path: Path, open_store: Callable[[Path], Store]) -> None:
    """The same folder has the same key."""
    key = store.owner_key
    store.close()
    again = open_store(tmp_path)
    assert again.owner_key == key
    assert again.accounts.verify(key) is not None


@pytest.mark.parametrize("content", [None, "rdk_somebody-elses"])
def test_a_lost_owner_key_is_replaced(
    store: Store, tmp_path: Path, open_store: Callable[[Path], Store], content: str | None
) -> None:
    """A missing or foreign file yields a new key, and the old one is good for nothing."""
    old = store.owner_key
    store.close()
    (tmp_path / "owner.key").unlink() if content is None else (tmp_path / "owner.key").write_text(content)
    again = open_store(tmp_path)
    assert again.accounts.verify(old) is None
    assert again.accounts.verify(again.owner_key) is not None
    assert (tmp_path / "owner.key").stat().st_mode & 0o777 == 0o600


def test_secrets_are_not_in_the_database(store: Store, owner: Principal, tmp_path: Path) -> None:
    """Of keys, links and sessions only a hash is on disk."""
    _, key = store.accounts.create_key(owner.workspace_id, scopes=["metrics:write"], label="ci")
    token, _ = store.accounts.create_link(owner)
    session = store.accounts.redeem_link(store.accounts.create_link(owner)[0])
    assert session is not None
    store.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("rundial.db*"))
    assert not [secret for secret in (store.owner_key, key, token, session) if secret.encode() in raw]


def test_a_key_may_what_its_scopes_say(store: Store, owner: Principal) -> None:
    """Scopes are exact; only admin implies the others; an unknown one is refused at once."""
    _, key = store.accounts.create_key(owner.workspace_id, scopes=["metrics:write"], label="ci")
    principal = store.accounts.verify(key)
    assert principal is not None and principal.label == "ci"
    assert principal.may("metrics:write") and not principal.may("project:read")
    with pytest.raises(RundialError, match="unknown scope"):
        store.accounts.create_key(owner.workspace_id, scopes=["everything"], label="ci")


@pytest.mark.parametrize(
    "key", ["", "rdk_", "rdk_wrong", "Bearer x", "rdk_" + "x" * 65_536, "rdk_\u00fc", "rdk_\udc80"]
)
def test_strange_keys_are_nobody(store: Store, key: str) -> None:
    """Whatever stands in the header is either a key or nobody's."""
    assert store.accounts.verify(key) is None


def test_revocation_is_immediate(store: Store, owner: Principal) -> None:
    """A revoked key is unknown from the next call on, and so is every session that came from it."""
    key_id, key = store.accounts.create_key(owner.workspace_id, scopes=["admin"], label="laptop")
    principal = store.accounts.verify(key)
    assert principal is not None
    session = store.accounts.redeem_link(store.accounts.create_link(principal)[0])
    assert session is not None and store.accounts.session(session) is not None
    store.accounts.revoke_key(key_id)
    assert store.accounts.verify(key) is None
    assert store.accounts.session(session) is None


def test_an_expired_key_is_unknown(store: Store, owner: Principal) -> None:
    """A key ends at its time, remembered or not."""
    soon = time.time_ns() // 1_000_000 + 60
    _, key = store.accounts.create_key(owner.workspace_id, scopes=["admin"], label="brief", expires_ms=soon)
    while time.time_ns() // 1_000_000 <= soon:
        time.sleep(0.01)
    assert store.accounts.verify(key) is None


def test_a_login_link_is_good_once(store: Store, owner: Principal) -> None:
    """It gives one session with the rights of the key, which ends when told to."""
    token, expires_ms = store.accounts.create_link(owner)
    assert expires_ms > time.time_ns() // 1_000_000
    session = store.accounts.redeem_link(token)
    assert session is not None
    assert store.accounts.redeem_link(token) is None
    user = store.accounts.session(session)
    assert user is not None
    assert (user.kind, user.scopes, user.workspace_id) == ("user", owner.scopes, owner.workspace_id)
    store.accounts.end_session(session)
    assert store.accounts.session(session) is None


def test_an_expired_or_unknown_link_opens_nothing(store: Store, owner: Principal) -> None:
    """A link has its time."""
    token, _ = store.accounts.create_link(owner, ttl_seconds=0)
    assert store.accounts.redeem_link(token) is None
    assert store.accounts.redeem_link("rdl_guess") is None
    assert store.accounts.redeem_link("x" * 100_000) is None


def test_a_session_can_make_a_link(store: Store, owner: Principal) -> None:
    """Someone logged in may let another browser in, with the same key behind it."""
    session = store.accounts.redeem_link(store.accounts.create_link(owner)[0])
    assert session is not None
    user = store.accounts.session(session)
    assert user is not None
    second = store.accounts.redeem_link(store.accounts.create_link(user)[0])
    assert second is not None and store.accounts.session(second) is not None
