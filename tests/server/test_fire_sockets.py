"""A thousand connections that are slow, or do nothing: others are answered, and their files come back."""

from __future__ import annotations

import resource
import socket
import time
from pathlib import Path

import pytest
import requests

from tests.server.conftest import RunningServer, Sender
from tests.server.fire import Target, serving_process
from tests.server.test_limits import dial, head, until

SLOW = 1_000
QUICK = (
    "import rundial.server.app as app, rundial.server.api.request as request;"
    "app.HEAD_SECONDS = 3.0; app.KEEP_ALIVE_SECONDS = 3; request.BODY_SECONDS = 3"
)


@pytest.fixture(autouse=True)
def files() -> None:
    """As many files for this process as it may have: the other ends are here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 4_096 if hard == resource.RLIM_INFINITY else min(hard, 4_096)
    if most < 2 * SLOW:
        pytest.skip(f"a process may open {most} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def slow(server: Target, number: int) -> socket.socket:
    """One of four kinds: a head without an end, a body without an end, silence, and one that asked and stays."""
    kind = number % 4
    if kind == 0:
        return dial(server, b"GET /api/v1/workspaces HTTP/1.1\r\nhost: ")
    if kind == 1:
        more = (b"content-type: application/json", b"content-length: 1000")
        return dial(server, head(server, b"POST /api/v1/query/series HTTP/1.1", *more) + b'{"run')
    if kind == 2:
        return dial(server)
    return dial(server, head(server, b"GET /health/live HTTP/1.1"))


def ask(server: Target, sender: Sender) -> float:
    """The longest of ten answers to somebody else, in seconds: reading and writing, with a connection of his own."""
    longest = 0.0
    for step in range(sender.next, sender.next + 5):
        began = time.monotonic()
        assert sender.log(step, loss=0.5).json()["accepted"] == 1
        middle = time.monotonic()
        assert server.get("/api/v1/workspaces").status_code == 200
        longest = max(longest, middle - began, time.monotonic() - middle)
    return longest


def test_a_thousand_slow_connections_harm_nobody_and_are_freed(tmp_path: Path) -> None:
    """Heads, bodies and nothing at all: a reader and a writer are answered meanwhile; then all of them are closed."""
    with serving_process(tmp_path, before=QUICK) as server:
        sender = Sender(server, "run_a")
        assert sender.start().status_code == 200
        ask(server, sender)
        before = server.files()

        connections = [slow(server, number) for number in range(SLOW)]
        longest = ask(server, sender)

        print(f"longest answer beside {SLOW} slow connections: {longest:.3f} s")
        until(lambda: server.files() <= before + 2, 60)
        for connection in connections:
            connection.close()


def test_more_connections_than_files(tmp_path: Path) -> None:
    """With 1,024 files and 1,500 connections the oldest that never asked go; requests, streams and the disk go on."""
    with serving_process(tmp_path, files=1_024) as server:
        sender = Sender(server, "run_a")
        assert sender.start().status_code == 200
        with requests.Session() as busy, server.get("/api/v1/stream?runId=run_a", stream=True) as stream:
            kept = {"authorization": f"Bearer {server.key}"}
            assert busy.get(f"{server.url}/api/v1/workspaces", headers=kept, timeout=20).status_code == 200
            # These wait for a head, so they may be told to go: nothing is asked of them any more.
            connections = [slow(server, 2 * (number % 2)) for number in range(SLOW + SLOW // 2)]

            longest = ask(server, sender)
            assert busy.get(f"{server.url}/api/v1/workspaces", headers=kept, timeout=20).status_code == 200
            assert server.files() < 1_024
            assert any(b"data" in line for line in stream.iter_lines())  # the stream is still there, and goes on

        print(f"longest answer beside {len(connections)} connections: {longest:.3f} s")
        for connection in connections:
            connection.close()
        until(lambda: server.files() < 200)
        ask(server, sender)
    assert "Too many open files" not in server.log.read_text()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "body",
    [
        b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n",
        b"1;" + b"x" * 2_000_000,
        b"1" * 2_000_000,
        b"0\r\n" + b"t: v\r\n" * 300_000,
    ],
    ids=["chunks of a byte", "an extension without an end", "a size without an end", "trailers without an end"],
)
def test_H030_chunks_that_are_mostly_framing(server: RunningServer, body: bytes) -> None:
    """The answer is a 4xx, or the end of the connection."""
    kind = (b"content-type: application/json", b"transfer-encoding: chunked")
    with dial(server, head(server, b"POST /api/v1/query/series HTTP/1.1", *kind)) as connection:
        try:
            connection.sendall(body)
            answer = connection.recv(12)
        except OSError:  # it hung up in the middle of it
            answer = b""

    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert server.get("/health/live").status_code == 200
