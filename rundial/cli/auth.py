"""``rundial auth``: signing in and out, and who one is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from rundial.cli import agent, audit, key
from rundial.cli.configuration import edited, profile_name, profile_of
from rundial.cli.context import SESSION_VARIABLE, closing_client, command, connect, group, local_store, options
from rundial.cli.credentials import forget, remember
from rundial.cli.output import answer, fields, say
from rundial.client import HttpClient
from rundial.config import key_for, local_server, resolve
from rundial.errors import ConfigError, RundialError
from rundial.http import Json, given

app = group("Signing in, keys, agents.")
app.add_typer(key.app, name="key")
app.add_typer(agent.app, name="agent")
app.add_typer(audit.app, name="audit")

PASSWORD_VARIABLE = "RUNDIAL_PASSWORD"

ApiKey = Annotated[
    str | None, typer.Option("--api-key", help="Sign in with this key; `-` reads it from the standard input.")
]
Credentials = Annotated[bool, typer.Option("--credentials", help="Sign in with e-mail and password.")]
Email = Annotated[str | None, typer.Option(help="E-mail, for --credentials.")]
PlainStore = Annotated[
    bool, typer.Option("--allow-plaintext-store", help="Keep the key in config.toml even where there is a keyring.")
]
DefaultWorkspace = Annotated[str | None, typer.Option(help="Workspace to use from now on.")]
DefaultProject = Annotated[str | None, typer.Option(help="Project to use from now on.")]


@command(app, "login")
def login(
    api_key: ApiKey = None,
    credentials: Credentials = False,
    email: Email = None,
    workspace: DefaultWorkspace = None,
    project: DefaultProject = None,
    allow_plaintext_store: PlainStore = False,
) -> None:
    """Try a key, or e-mail and password, and keep it for the commands and scripts that follow."""
    settings = given(workspace=workspace, project=project)
    with signed_in(api_key, credentials, email, allow_plaintext_store, settings) as (client, document):

        def show() -> None:
            who = document["whoami"]
            print(f"Signed in to {client.endpoint} as {who.get('label') or who.get('email') or who['principal']}.")

        answer(document, show)


@contextmanager
def signed_in(
    api_key: str | None, credentials: bool, email: str | None, in_file: bool, settings: dict[str, str]
) -> Iterator[tuple[HttpClient, Json]]:
    """A client that the server has accepted, what it is called, and its key in its place.

    Raises :class:`AuthError` when it is refused, :class:`ConfigError` when nothing to sign in with was given.
    """
    endpoint = resolve({"endpoint": options.endpoint}).endpoint
    if endpoint is None:
        if api_key or credentials:
            raise ConfigError("which server is that for? Add --endpoint; this machine's own server needs no key.")
        with local_store() as server, closing_client(server.url, server.api_key) as client:
            # The local server hands its key to its own user; nothing needs to be kept.
            yield client, _document(client, "api_key")
        return
    if credentials:
        with closing_client(endpoint, "") as client:
            token = client.login_credentials(_email(email), _password())
            document = _document(client, "credentials")
            document["store"] = remember(endpoint, token, session=True, in_file=in_file, settings=settings)
            yield client, document
        return
    secret = _secret(api_key, endpoint)
    with closing_client(endpoint, secret) as client:
        document = _document(client, "api_key")
        document["store"] = _keep(endpoint, secret, in_file, settings)
        yield client, document


def _keep(endpoint: str, secret: str, in_file: bool, settings: dict[str, str]) -> str:
    server = local_server()
    if server is not None and server.url == endpoint and server.api_key == secret:
        with edited() as document:
            profile_of(document, profile_name()).update({"endpoint": endpoint, **settings})
        return "local server"
    return remember(endpoint, secret, in_file=in_file, settings=settings)


def _document(client: HttpClient, mode: str) -> Json:
    return {"authMode": mode, "whoami": client.whoami(), "profile": profile_name(), "endpoint": client.endpoint}


def _secret(api_key: str | None, endpoint: str) -> str:
    if api_key == "-":
        api_key = sys.stdin.readline().strip()
    found = api_key or os.environ.get("RUNDIAL_API_KEY", "").strip() or key_for(endpoint)
    if found:
        return found
    return _ask("API key", "Give a key with --api-key, --api-key - or RUNDIAL_API_KEY.")


def _email(email: str | None) -> str:
    if email:
        return email
    if not sys.stdin.isatty():
        raise ConfigError("whose password? Add --email.")
    return str(typer.prompt("E-mail", err=True))


def _password() -> str:
    return os.environ.get(PASSWORD_VARIABLE) or _ask("Password", f"Set {PASSWORD_VARIABLE}.")


def _ask(what: str, otherwise: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigError(f"no {what} was given. {otherwise}")
    return str(typer.prompt(what, hide_input=True, err=True)).strip()


@command(app, "whoami")
def whoami() -> None:
    """Show who you are to the server."""
    with connect() as client:
        who = client.whoami()
    shown: dict[str, Any] = {"endpoint": client.endpoint, "profile": profile_name(), **who}
    answer({"endpoint": client.endpoint, "profile": profile_name(), "whoami": who}, lambda: fields(shown))


@command(app, "logout")
def logout() -> None:
    """Forget the key of the profile, and end its session on the server."""
    endpoint = resolve({"endpoint": options.endpoint}).endpoint
    try:
        if endpoint is not None:
            with closing_client(endpoint, "") as client:
                client.logout_session()
    except RundialError as error:
        say(f"The session could not be ended on the server: {error}")
    message = "Signed out." if forget() else "Nobody was signed in."
    if os.environ.get("RUNDIAL_API_KEY") or os.environ.get(SESSION_VARIABLE):
        message += f" RUNDIAL_API_KEY or {SESSION_VARIABLE} is still set."
    answer({"message": message}, lambda: say(message))
