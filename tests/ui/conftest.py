"""A real server, a real browser signed in to it, and a run that logs into it."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from playwright.sync_api import Browser, Page, sync_playwright

from rundial.events import Event, Marker, Metrics, RunEnd, RunStart, RunStatus
from rundial.wire import CONTENT_TYPE, Chunk, encode, pack_chunk

SCREENSHOTS = Path(__file__).parent / "screenshots"
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


class Server(NamedTuple):
    url: str
    key: str

    def post(self, path: str, **options: Any) -> requests.Response:
        headers = {"authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        response = requests.post(self.url + path, headers=headers, timeout=20, **options)
        response.raise_for_status()
        return response

    def link(self) -> str:
        """A login link for the page, good once."""
        return str(self.post("/api/v1/auth/links").json()["url"])


class LoggedRun:
    """A run as a training script would log it: one stream of records."""

    def __init__(self, server: Server, project: str, name: str = "brave-dial-1", **fields: Any) -> None:
        self.server = server
        self.run_id = f"run_{secrets.token_hex(8)}"
        self.stream = secrets.token_hex(16)
        self.next = 0
        self.send(RunStart(time.time_ns(), self.run_id, "default-workspace", project, name, **fields))

    def send(self, *events: Event) -> None:
        chunk = Chunk(self.stream, self.next, len(events), b"".join(encode(event) for event in events))
        headers = {"content-type": CONTENT_TYPE, "x-rundial-stream": self.stream, "x-rundial-protocol": "2"}
        self.server.post("/api/v1/ingest/records", data=pack_chunk(chunk), headers=headers)
        self.next = chunk.next

    def log(self, steps: range, **values: float) -> LoggedRun:
        """The same values at each of the steps; ``__`` in a name stands for ``/``."""
        named: dict[str, float | int | bool | str] = {name.replace("__", "/"): value for name, value in values.items()}
        self.send(*(Metrics(time.time_ns(), step, named) for step in steps))
        return self

    def mark(self, kind: str, name: str, step: int) -> None:
        self.send(Marker(time.time_ns(), kind, name, step))

    def end(self, status: RunStatus = "completed", reason: str | None = None, traceback: str | None = None) -> None:
        self.send(RunEnd(time.time_ns(), status, reason, traceback))


def until(page: Page, ready: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for what the page says of itself in no attribute."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it never came to that"
        page.wait_for_timeout(50)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "rundial", "server", "--port", "0", "--data", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        said = process.stdout.readline()
        assert "listening on" in said, "the server did not start; its own words are above"
        yield Server(said.split()[-1], (data / "owner.key").read_text().strip())
        process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(server: Server, browser: Browser) -> Iterator[Page]:
    """A page that is signed in. It must neither complain nor ask any other server for anything."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda it: None if it.url.startswith(server.url) else complaints.append(f"asked for {it.url}"))
    page.goto(server.link())
    page.wait_for_url(f"{server.url}/#/")
    yield page
    page.close()
    assert complaints == []


@pytest.fixture
def stranger(browser: Browser) -> Iterator[Page]:
    """A page that is not signed in."""
    page = browser.new_page()
    yield page
    page.close()
