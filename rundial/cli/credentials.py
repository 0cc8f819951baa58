"""Keys and sessions of this user: in the system's keyring when there is one, else in ``config.toml``."""

from __future__ import annotations

import importlib
import os
from typing import Any

from rundial.cli.configuration import edited, profile_name, profile_of, read
from rundial.cli.context import SESSION_VARIABLE
from rundial.config import KEYRING_PREFIX, KEYRING_SERVICE, opened

_NONE = ("keyring.backends.fail", "keyring.backends.null")


def keyring() -> Any:
    """The keyring module when the system has a place for secrets, else None."""
    try:
        module = importlib.import_module("keyring")
    except ImportError:
        return None
    return None if type(module.get_keyring()).__module__ in _NONE else module


def remember(
    endpoint: str, secret: str, *, session: bool = False, in_file: bool = False, settings: dict[str, str] | None = None
) -> str:
    """Keep a key, or the token of a session, for a server; where it is now: ``keyring`` or ``file``.

    Args:
        in_file: in ``config.toml`` even where there is a keyring.
        settings: further lines for the profile.
    """
    name = profile_name()
    option, other = ("session_token", "api_key") if session else ("api_key", "session_token")
    ring = None if in_file else keyring()
    with edited() as document:
        profile = profile_of(document, name)
        drop(profile, other)
        if ring is None:
            drop(profile, option)
            profile[option] = secret
        else:
            ring.set_password(KEYRING_SERVICE, f"{name}@{endpoint}#{option}", secret)
            profile[option] = f"{KEYRING_PREFIX}{name}@{endpoint}#{option}"
        profile["endpoint"] = endpoint
        profile.update(settings or {})
    return "file" if ring is None else "keyring"


def forget() -> bool:
    """Remove the key and the session of the profile; False when there was neither."""
    with edited() as document:
        profile = profile_of(document, profile_name())
        return any([drop(profile, "api_key"), drop(profile, "session_token")])


def session_for(endpoint: str) -> str | None:
    """The session to this server, if the user signed in with a password."""
    given = os.environ.get(SESSION_VARIABLE, "").strip()
    if given:
        return given
    profile = read().get("profiles", {}).get(profile_name(), {})
    token = profile.get("session_token")
    if not token or str(profile.get("endpoint", "")).rstrip("/") != endpoint:
        return None
    return opened(str(token))


def drop(profile: Any, option: str) -> bool:
    """Remove a secret from a profile and from the keyring; whether there was one."""
    secret = profile.pop(option, None)
    if secret is not None and str(secret).startswith(KEYRING_PREFIX) and (ring := keyring()) is not None:
        try:
            ring.delete_password(KEYRING_SERVICE, str(secret).removeprefix(KEYRING_PREFIX))
        except ring.errors.PasswordDeleteError:
            pass  # somebody removed it by hand
    return secret is not None
