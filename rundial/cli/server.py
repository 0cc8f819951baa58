"""``rundial server``: the server in the foreground, and how it makes itself known on this machine."""

from __future__ import annotations

import errno
import json
import os
import secrets
import signal
import socket
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, NoReturn

import typer

from rundial import config
from rundial.cli.context import group
from rundial.errors import ConfigError, RundialError
from rundial.version import __version__

LOOPBACK = ("127.0.0.1", "localhost", "::1")

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the data. Default: `server` in Rundial's home.")]
AllowedHost = Annotated[
    list[str] | None, typer.Option(help="Another name the server is called by, NAME or NAME:PORT. Repeatable.")
]
Database = Annotated[
    str | None, typer.Option(help="PostgreSQL database instead of a file in the folder: postgresql://USER@HOST/NAME.")
]
Artifacts = Annotated[
    str | None,
    typer.Option(envvar="RUNDIAL_ARTIFACTS", help="S3 for the files instead of the folder: s3://BUCKET/PREFIX."),
]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Server processes; more than one needs --database.")]
Limit = Annotated[
    list[str] | None,
    typer.Option(envvar="RUNDIAL_LIMITS", metavar="NAME=NUMBER", help="A limit, see docs/operations.md. Repeatable."),
]
MetricsToken = Annotated[
    str | None,
    typer.Option(
        envvar="RUNDIAL_METRICS_TOKEN",
        show_envvar=True,
        help="Lets in whoever asks for /metrics. Better given by the environment, where other users do not see it.",
    ),
]
LogFormat = Annotated[
    Literal["text", "json"], typer.Option(envvar="RUNDIAL_LOG_FORMAT", help="Lines of the log, on stderr.")
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    typer.Option(envvar="RUNDIAL_LOG_LEVEL", help="From which on it is shown; info has a line for each request."),
]
SHORTEST_TOKEN = 16


def server(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = config.DEFAULT_PORT,
    data: Data = None,
    allowed_host: AllowedHost = None,
    database: Database = None,
    artifacts: Artifacts = None,
    workers: Workers = 1,
    limit: Limit = None,
    metrics_token: MetricsToken = None,
    log_format: LogFormat = "text",
    log_level: LogLevel = "warning",
) -> None:
    """Run the server until Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    if metrics_token is not None and len(metrics_token) < SHORTEST_TOKEN:
        hint = f"such as {secrets.token_urlsafe(24)}"
        raise ConfigError(f"the token of the metrics needs at least {SHORTEST_TOKEN} characters. Choose one {hint}.")
    if workers > 1 and database is None:
        raise ConfigError(
            "a SQLite file belongs to one process. Leave --workers, or add --database postgresql://USER@HOST/NAME."
        )
    from rundial.server.limits import read_limits

    more = {**read_limits(limit or ()), "artifacts": artifacts, "metrics_token": metrics_token}
    more |= {"log_format": log_format, "log_level": log_level}
    listener = bind(host, port)
    with listener:
        serve(listener, host, data, tuple(allowed_host or ()), database, workers, **more)


app = group("Run the server until Ctrl-C; back it up, restore it and check it.", server)


def serve(
    listener: socket.socket,
    host: str,
    data: Path | None,
    allowed_hosts: tuple[str, ...],
    database: str | None = None,
    workers: int = 1,
    **more: Any,
) -> None:
    """Serve on a bound socket until SIGINT or SIGTERM; returns or raises SystemExit(0) after a clean stop.

    ``more`` are further fields of :class:`rundial.server.app.ServerSettings`.
    Raises :class:`RundialError` when the data folder or the database cannot be used.
    """
    from rundial.server.app import Server, ServerSettings, create_app, prepare
    from rundial.server.store import Store
    from rundial.watcher import Watcher

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    port = listener.getsockname()[1]
    url = url_of(host, port)
    folder = data or config.home() / "server"
    settings = ServerSettings(host, port, folder, allowed_hosts, **more)
    prepare(settings)
    with closing(Store(folder, database, settings.artifacts)) as store:
        watcher = Watcher(endpoint=url, api_key=store.owner_key)
        announces = data is None or not answers(config.local_server())

        def ready() -> None:
            if announces:
                announce(url, store.owner_key)
            watcher.start()
            _greet(url, host, folder, allowed_hosts)

        try:
            if workers > 1 and database is not None:
                from rundial.server.workers import run_workers

                store.close()  # each of them opens its own
                run_workers(listener, settings, database, workers, ready)
            else:
                Server(create_app(store, settings), ready).run(sockets=[listener])
        finally:
            withdraw(url)
            watcher.stop()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _greet(url: str, host: str, folder: Path, allowed_hosts: tuple[str, ...]) -> None:
    print(f"Rundial is listening on {url}", flush=True)
    print(f"Data: {folder}. `rundial ui` opens the page; Ctrl-C stops the server.", flush=True)
    if host in LOOPBACK:
        return
    print(f"Warning: {host} can be reached from other machines, and plain HTTP carries keys unencrypted.", flush=True)
    if not allowed_hosts:
        print("Name the address it is called by with --allowed-host, or other machines are refused.", flush=True)


def url_of(host: str, port: int) -> str:
    """The address under which this machine reaches a server that listens on ``host``."""
    if host in ("0.0.0.0", "::", ""):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Raises :class:`ConfigError` which says what to do when it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ConfigError(f"{host!r} is no address of this machine: {error.strerror}. Try --host 127.0.0.1.") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)  # Linux tells a port in use only here when both sockets allow reuse
    except OSError as error:
        listener.close()
        raise ConfigError(_why_not(error, host, port)) from error
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use. Stop what uses it, or choose another with --port (0 takes a free one)."
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than you have. Choose one above 1023 with --port."
    return f"cannot listen on {host} port {port}: {error.strerror}. Try --host 127.0.0.1."


def answers(found: config.LocalServer | None) -> bool:
    """Whether the announced server is alive."""
    import requests

    if found is None:
        return False
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy would be asked for its own 127.0.0.1
            return session.get(f"{found.url}/health/live", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def announce(url: str, api_key: str) -> None:
    """Write ``server.json``, whole or not at all and never readable by others.

    Raises :class:`RundialError` when the home cannot be written.
    """
    path = config.server_file()
    document = {"url": url, "apiKey": api_key, "host": socket.gethostname(), "pid": os.getpid(), "version": __version__}
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        draft.replace(path)
    except OSError as error:
        raise RundialError(f"cannot write {path}: {error.strerror}. Set {config.HOME_VARIABLE} elsewhere.") from error


def withdraw(url: str) -> None:
    """Remove ``server.json`` if it still announces this process."""
    found = config.local_server()
    if found is not None and found.url == url and found.pid == os.getpid():
        config.server_file().unlink(missing_ok=True)
