"""What every command shares: the options that stand before or after it, and the server that it talks to."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

import typer

from rundial.client import HttpClient
from rundial.config import DEFAULT_PROJECT, DEFAULT_WORKSPACE, PROFILE_VARIABLE, LocalServer, resolve
from rundial.errors import RequestError, RundialError

Function = TypeVar("Function", bound=Callable[..., None])
SESSION_VARIABLE = "RUNDIAL_SESSION_TOKEN"
TIMEOUT_SECONDS = 30.0

Workspace = Annotated[str | None, typer.Option(help="Workspace. Default: the configured one.")]
Project = Annotated[str | None, typer.Option(help="Project. Default: the configured one.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run, as in run_0198c2….")]


@dataclass
class Options:
    """What was asked of the command line as a whole."""

    json: bool = False
    quiet: bool = False
    endpoint: str | None = None
    profile: str | None = None


options = Options()
"""Those of this process, which is one command."""

_SHARED = {
    "json": Annotated[bool, typer.Option("--json", help="Answer with JSON, for programs.")],
    "quiet": Annotated[bool, typer.Option("--quiet", help="Print results only as JSON, and errors.")],
    "endpoint": Annotated[str | None, typer.Option("--endpoint", help="Server. Default: the configured or local one.")],
    "profile": Annotated[str | None, typer.Option("--profile", help="Profile of config.toml to use.")],
}


def command(app: typer.Typer, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
    """Registers a function as a command that also takes the shared options."""

    def register(function: Function) -> Function:
        app.command(name, **settings)(_sharing(function))
        return function

    return register


def group(help: str, root: Callable[..., None] | None = None) -> typer.Typer:
    """A command that has commands below it; alone it shows its help. ``root`` is called with its own options."""
    app = typer.Typer(help=help, invoke_without_command=True, add_completion=False, pretty_exceptions_enable=False)

    def show(context: typer.Context) -> None:
        if context.invoked_subcommand is None and (text := context.get_help()):
            print(text)

    app.callback()(_sharing(root or show))
    return app


def _sharing(function: Callable[..., None]) -> Callable[..., None]:
    """The function with the shared options behind its own ones; they end up in :data:`options`."""
    hints = get_type_hints(function, include_extras=True)
    own = [part.replace(annotation=hints[part.name]) for part in inspect.signature(function).parameters.values()]
    shared = [
        Parameter(f"shared_{name}", Parameter.KEYWORD_ONLY, default=getattr(Options(), name), annotation=annotation)
        for name, annotation in _SHARED.items()
    ]

    @functools.wraps(function)
    def wrapped(**arguments: Any) -> None:
        for name in _SHARED:
            value = arguments.pop(f"shared_{name}")
            if value:
                setattr(options, name, value)
        if options.profile:
            os.environ[PROFILE_VARIABLE] = options.profile
        try:
            function(**arguments)
        except KeyboardInterrupt:
            raise RundialError("interrupted.") from None
        except BrokenPipeError:
            # Whoever read has seen enough, as in `… | head`; what is still buffered goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None

    wrapped.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {part.name: part.annotation for part in [*own, *shared]}
    return wrapped


class Target(NamedTuple):
    """Where runs are."""

    workspace: str
    project: str


def target(workspace: str | None = None, project: str | None = None) -> Target:
    """Flags, then what is configured. Raises :class:`ConfigError`."""
    settings = resolve({"workspace": workspace, "project": project, "endpoint": options.endpoint})
    return Target(settings.workspace or DEFAULT_WORKSPACE, settings.project or DEFAULT_PROJECT)


@contextmanager
def connect() -> Iterator[HttpClient]:
    """The configured server, else the local one, which is started for this command if it does not run.

    Raises :class:`ConfigError` for an endpoint that cannot be one, :class:`RundialError` if no server can be started.
    """
    settings = resolve({"endpoint": options.endpoint})
    if settings.endpoint is not None:
        with closing_client(settings.endpoint, settings.api_key) as client:
            yield client
        return
    with local_store() as server, closing_client(server.url, server.api_key) as client:
        yield client


@contextmanager
def closing_client(endpoint: str, api_key: str | None) -> Iterator[HttpClient]:
    """A client with a key, or else with the session of ``rundial auth login --credentials``."""
    from rundial.cli.credentials import session_for

    token = None if api_key else session_for(endpoint)
    client = HttpClient(endpoint, api_key=api_key, session_token=token, request_timeout_seconds=TIMEOUT_SECONDS)
    try:
        yield client
    finally:
        client.close_session()


@contextmanager
def local_store() -> Iterator[LocalServer]:
    """The local server; one that is started here is stopped at the end."""
    from rundial.cli.ui import end_server, running, start_server

    found = running()
    if found is not None:
        yield found
        return
    found, started = start_server(0, None)
    try:
        yield found
    finally:
        if started:
            end_server(found)


def find_run(
    client: HttpClient, run_id: str, workspace: str | None = None, project: str | None = None
) -> dict[str, Any]:
    """A run by its id, wherever it is; in the target if one is given, or if the server knows no other way."""
    if workspace is None and project is None:
        try:
            return client.get_run(run_id)
        except RequestError as error:
            if error.status_code not in (404, 405):
                raise
    place = target(workspace, project)
    return client.get_run_details(place.workspace, place.project, run_id)
