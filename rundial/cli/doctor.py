"""``rundial doctor``: what is wrong between here and the server."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import typer

from rundial.cli.configuration import read
from rundial.cli.context import connect, options
from rundial.cli.credentials import keyring
from rundial.cli.output import answer, table
from rundial.cli.server import LOOPBACK
from rundial.cli.sync import found_in, plain_warnings
from rundial.client import HttpClient
from rundial.config import config_path, home, resolve
from rundial.errors import AuthError, RundialError
from rundial.version import __version__


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Look only at this machine.")] = False,
) -> None:
    """Look for what is wrong here, at the server, and with the key. Exits with 1 when something is, 2 for the key."""
    checks = [
        _try("configuration", _configuration),
        _try("home", _home),
        _try("secret_store", _secret_store),
        _try("unsent_data", _unsent),
    ]
    refused = False
    if not offline:
        found, refused = _server()
        checks += found
    endpoint = resolve({"endpoint": options.endpoint}).endpoint if checks[0].ok else None
    rows = [(check.name, "ok" if check.ok else "FAILS", check.detail) for check in checks]
    document = {"endpoint": endpoint, "version": __version__, "checks": [check._asdict() for check in checks]}
    answer(document, lambda: table(("check", "status", "detail"), rows))
    bad = [check.name for check in checks if not check.ok]
    if refused:
        raise AuthError("the server refuses the key; see auth above.")
    if bad:
        raise RundialError(f"{', '.join(bad)}: not as it should be; see above.")


def _try(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except RundialError as error:
        return Check(name, False, str(error))


def _configuration() -> str:
    read()
    resolve({"endpoint": options.endpoint})
    return str(config_path()) if config_path().exists() else f"{config_path()}: none, defaults hold"


def _home() -> str:
    place = home()
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        raise RundialError(f"{place} cannot be written. Set RUNDIAL_HOME to a folder of your own.")
    return str(home())


def _secret_store() -> str:
    ring = keyring()
    if ring is not None:
        return f"keyring ({type(ring.get_keyring()).__name__})"
    path = config_path()
    if path.exists() and path.stat().st_mode & 0o077:
        raise RundialError(f"others can read {path}, where keys are kept. Run: chmod 600 {path}")
    return f"{path}; no keyring on this system"


def _unsent() -> str:
    with plain_warnings():
        gone = [waiting for waiting in found_in() if not waiting.alive]
    records, uploads = sum(it.records() for it in gone), sum(it.uploads for it in gone)
    if not records and not uploads:
        return "nothing waits"
    return f"{records:,} records and {uploads:,} uploads of processes that are gone wait; `rundial sync` sends them"


def _server() -> tuple[list[Check], bool]:
    """What a server answers, and whether it refused the key."""
    refused = False
    try:
        with connect() as client:
            checks = [_try("health_ready", lambda: _health(client))]
            if checks[0].ok:
                checks.append(_try("capabilities", lambda: f"version {client.get_cli_capabilities().get('version')}"))
                try:
                    who = client.whoami()
                    detail = f"{who.get('label') or who['principal']} in {who.get('workspaceSlug') or '?'}"
                    checks.append(Check("auth", True, detail))
                except AuthError as error:
                    refused = True
                    checks.append(Check("auth", False, str(error)))
                except RundialError as error:
                    checks.append(Check("auth", False, str(error)))
            return checks, refused
    except RundialError as error:
        return [Check("health_ready", False, str(error))], refused


def _health(client: HttpClient) -> str:
    import requests

    try:
        with requests.Session() as session:
            session.trust_env = urlsplit(client.endpoint).hostname not in LOOPBACK
            status = session.get(f"{client.endpoint}/health/ready", timeout=5, allow_redirects=False).status_code
    except requests.RequestException as error:
        raise RundialError(
            f"{client.endpoint} does not answer: {type(error).__name__}. Is the server running?"
        ) from error
    if status != 200:
        raise RundialError(f"{client.endpoint} answers {status}. Is it a Rundial server, and ready?")
    return client.endpoint
