"""A server that is asked to stop stops soon, and what it acknowledged is there when it starts again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from rundial.events import Metrics
from tests.server.command import CommandServer, command
from tests.server.conftest import Sender

WRITERS = 6
WATCHERS = 4
STOP_SECONDS = 10.0


def write(server: CommandServer, run_id: str, begun: threading.Event) -> int:
    """Log until the server is gone; how many steps it acknowledged."""
    sender = Sender(server, run_id, project="default-project")
    assert sender.start().status_code == 200
    acknowledged = 0
    while True:
        try:
            records = [Metrics(time.time_ns(), acknowledged + i, {"loss": float(acknowledged + i)}) for i in range(5)]
            answer = sender.send(*records, first=1 + acknowledged)
        except requests.RequestException:
            return acknowledged
        if answer.status_code != 200:
            return acknowledged
        acknowledged = answer.json()["next"] - 1
        if acknowledged >= 50:
            begun.set()


def test_what_was_acknowledged_is_there_after_a_stop(tmp_path: Path, database: Callable[[Path], str | None]) -> None:
    """Clients write, pages watch and somebody stalls in the middle of a body when the signal comes."""
    url = database(tmp_path)
    place = ["--data", str(tmp_path), *(() if url is None else ("--database", url))]
    acknowledged = [0] * WRITERS
    begun = [threading.Event() for _ in range(WRITERS)]
    with command(*place) as server:

        def work(writer: int) -> None:
            acknowledged[writer] = write(server, f"run_{writer}", begun[writer])

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(WRITERS)]
        for thread in threads:
            thread.start()
        assert all(one.wait(30) for one in begun)
        watchers = [server.get(f"/api/v1/stream?runId=run_{n}", stream=True) for n in range(WATCHERS)]
        stalled = threading.Thread(target=stall, args=(server,))
        stalled.start()

        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(30)
        took = time.monotonic() - begin
        for thread in (*threads, stalled):
            thread.join(20)
        for watcher in watchers:
            watcher.close()

    with command(*place) as server:
        found = [server.get(f"/api/v1/runs/run_{writer}").json()["points"] for writer in range(WRITERS)]
    assert code == 0
    assert took < STOP_SECONDS
    # Committed but not answered any more is possible; the client sends that again and it counts as a duplicate.
    assert all(there >= sure >= 50 for there, sure in zip(found, acknowledged)), (found, acknowledged)
    assert all(there <= sure + 5 for there, sure in zip(found, acknowledged)), (found, acknowledged)


def stall(server: CommandServer) -> None:
    """A body that is announced and never ends."""

    def body() -> object:
        yield b"x"
        time.sleep(3)  # longer than requests get to end

    try:
        server.post("/api/v1/ingest/records", data=body(), headers={"x-rundial-protocol": "2"})
    except requests.RequestException:
        pass  # the server is gone, as it should be


def test_a_server_that_stops_takes_nothing_new(tmp_path: Path) -> None:
    """The port is closed at once, and `server.json` is gone after the end."""
    with command("--data", str(tmp_path)) as server:
        with server.get("/api/v1/stream?projectId=default-project", stream=True) as stream:
            server.process.terminate()
            rest = stream.raw.read()  # the stream is ended by the server, whole
            assert server.process.wait(10) == 0
        assert rest.endswith(b"0\r\n\r\n") or b"id: " in rest
        with pytest.raises(requests.ConnectionError):
            server.get("/health/live")
