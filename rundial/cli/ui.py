"""``rundial ui``: open the page of the local server, starting the server when there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from rundial import config
from rundial.cli.output import answer
from rundial.cli.server import Data, Port, answers, bind, serve
from rundial.errors import AuthError, ConfigError, RequestError, RundialError, UnreachableError

START_SECONDS = 15.0
STOP_SECONDS = 10.0
_LOG_LINES = 15


def ui(
    port: Port = config.DEFAULT_PORT,
    data: Data = None,
    browser: Annotated[bool, typer.Option(help="Open the browser; the address is printed either way.")] = True,
    foreground: Annotated[bool, typer.Option("--foreground", help="Run the server here, until Ctrl-C.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the background server.")] = False,
) -> None:
    """Open the page, starting the local server if need be."""
    if stop:
        return stop_server()
    if foreground:
        with bind("127.0.0.1", port) as listener:
            return serve(listener, "127.0.0.1", data, ())
    found = running()
    if found is not None and data is not None:
        raise ConfigError(
            f"a server runs already at {found.url}. Stop it with `rundial ui --stop` to open another folder."
        )
    found = found or start_server(port, data)[0]
    link = call(found, "POST", "/api/v1/auth/links")["url"]

    def show() -> None:
        print(f"Rundial is at {link}")
        print("The link signs you in once, within five minutes. `rundial ui --stop` stops the server.")

    answer({"url": link, "endpoint": found.url}, show)
    if browser:
        import webbrowser

        webbrowser.open(link)


def running() -> config.LocalServer | None:
    """The local server, if it answers and its key is right."""
    found = config.local_server()
    if found is None or not answers(found):
        return None
    try:
        call(found, "GET", "/api/v1/auth/whoami")
    except RequestError:
        return None  # another program has the port by now, and the announcement is a dead server's
    return found


def call(server: config.LocalServer, method: str, path: str) -> dict[str, Any]:
    """A request to the local server with its own key. Raises :class:`RequestError`."""
    import requests

    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy would be asked for its own 127.0.0.1
            headers = {"authorization": f"Bearer {server.api_key}"}
            answer = session.request(method, server.url + path, headers=headers, timeout=10)
            body = answer.json()
    except requests.JSONDecodeError as error:
        raise RequestError(f"{server.url} is no Rundial server. Run `rundial ui` again.") from error
    except requests.RequestException as error:
        raise UnreachableError(f"{server.url} does not answer: {error}. Run `rundial ui` again.") from error
    if answer.ok and isinstance(body, dict):
        return body
    kind = AuthError if answer.status_code in (401, 403) else RequestError
    raise kind(f"{server.url} refused {path} with {answer.status_code}.", answer.status_code)


def start_server(port: int, data: Path | None) -> tuple[config.LocalServer, bool]:
    """Start ``rundial server`` in the background and wait until it answers; whether it is ours that answers.

    Raises :class:`RundialError` with the end of its log when it does not.
    """
    log = config.home() / "server.log"
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise RundialError(
            f"cannot write {log}: {error.strerror}. Set RUNDIAL_HOME to a folder of your own."
        ) from error
    command = [sys.executable, "-P", "-m", "rundial", "server", "--port", str(port)]
    if data is not None:
        command += ["--data", str(data.absolute())]
    begin = log.stat().st_size
    with os.fdopen(descriptor, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        found = running()  # also when ours has ended: somebody else may have started one at the same time
        if found is not None:
            process.returncode = 0 if process.returncode is None else process.returncode  # it outlives us on purpose
            return found, found.pid == process.pid
        if ended:
            break
        time.sleep(0.1)
    process.terminate()
    process.wait()
    raise RundialError(f"the server did not start. The end of {log} says:\n{_tail(log, begin)}")


def _tail(log: Path, begin: int) -> str:
    lines = log.read_bytes()[begin:].decode("utf-8", "replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:])


def stop_server() -> None:
    """Stop the local server and say so. Raises :class:`RundialError` if it does not stop."""
    found = running()
    if found is not None:
        end_server(found)
    answer(
        {"stopped": found is not None}, lambda: print("The server has stopped." if found else "No server is running.")
    )


def end_server(found: config.LocalServer) -> None:
    """Stop a server and wait until it has closed its data. Raises :class:`RundialError` if it does not."""
    os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if not _alive(found.pid):
            return
        time.sleep(0.05)
    raise RundialError(
        f"process {found.pid} has not stopped after {STOP_SECONDS:g} s. Its log is server.log in the home."
    )


def _alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
