"""A real server on a free port, and a sender of records to talk to it."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from rundial.events import Event, Metrics, RunStart
from rundial.server.app import Server, ServerSettings, create_app
from rundial.server.store import Store
from rundial.wire import CONTENT_TYPE, Chunk, encode, pack_chunk
from tests.server.postgres import Cluster, why_not


@dataclass
class RunningServer:
    """A server that answers at ``url``, its owner key and the store behind it."""

    url: str
    key: str
    store: Store

    def call(self, method: str, path: str, key: str | None = None, **options: Any) -> requests.Response:
        """A request with the owner key, or with ``key``; an empty one sends none."""
        headers = dict(options.pop("headers", {}))
        key = self.key if key is None else key
        if key:
            headers.setdefault("authorization", f"Bearer {key}")
        return requests.request(method, self.url + path, headers=headers, timeout=20, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.call("POST", path, **options)


class Sender:
    """One stream of one run, as a client would send it."""

    def __init__(self, server: RunningServer, run_id: str, project: str = "digits", key: str | None = None) -> None:
        self.server = server
        self.run_id = run_id
        self.project = project
        self.key = key
        self.stream = secrets.token_hex(16)
        self.next = 0

    def start(self, **fields: Any) -> requests.Response:
        """Send the first record."""
        start = RunStart(time.time_ns(), self.run_id, "default-workspace", self.project, self.run_id, **fields)
        return self.send(start)

    def log(self, step: int, **values: float) -> requests.Response:
        """Send one ``log()`` call."""
        return self.send(Metrics(time.time_ns(), step, values))

    def send(self, *events: Event, first: int | None = None) -> requests.Response:
        """Send events in one chunk, from the next sequence number on or from ``first``."""
        begin = self.next if first is None else first
        self.next = begin + len(events)
        return self.post(pack_chunk(Chunk(self.stream, begin, len(events), b"".join(map(encode, events)))))

    def post(self, body: bytes, **headers: str) -> requests.Response:
        """Send bytes as they are."""
        own = {"content-type": CONTENT_TYPE, "x-rundial-stream": self.stream, "x-rundial-protocol": "2"}
        return self.server.post("/api/v1/ingest/records", key=self.key, data=body, headers=own | headers)


@contextmanager
def serving(data: Path, database: str | None = None, **settings: Any) -> Iterator[RunningServer]:
    """A server in this process, on a folder and, unless it is SQLite, a database."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as for the socket of `rundial server`
    port = listener.getsockname()[1]
    store = Store(data, database, settings.get("artifacts"))
    started = threading.Event()
    app = create_app(store, ServerSettings("127.0.0.1", port, data, **settings))
    server = Server(app, started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert started.wait(10)
        yield RunningServer(f"http://127.0.0.1:{port}", store.owner_key, store)
    finally:
        server.should_exit = True
        thread.join(10)
        store.close()
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for the whole session, started when the first test wants it."""
    missing = why_not()
    if missing is not None:
        pytest.skip(missing)
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], str | None]]:
    """Where the store of a folder is: None for a file in it, or the address of a database, the same when asked again.

    What uses this runs on both engines.
    """
    if request.param == "sqlite":
        yield lambda folder: None
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    known: dict[Path, str] = {}

    def find(folder: Path) -> str:
        if folder not in known:
            known[folder] = cluster.database()
        return known[folder]

    yield find
    for url in known.values():
        cluster.give_back(url)


@pytest.fixture
def open_store(database: Callable[[Path], str | None]) -> Iterator[Callable[[Path], Store]]:
    """Opens the store of a folder, again too; what is left open is closed in the end."""
    stores: list[Store] = []

    def open_(folder: Path) -> Store:
        stores.append(Store(folder, database(folder)))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


@pytest.fixture
def start_server(tmp_path: Path, database: Callable[[Path], str | None]) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers with settings of the test's choice, each on a data folder of its own."""
    with ExitStack() as stack:

        def start(**settings: Any) -> RunningServer:
            data = tmp_path / secrets.token_hex(4)
            return stack.enter_context(serving(data, database(data), **settings))

        yield start


@pytest.fixture
def server(start_server: Callable[..., RunningServer]) -> RunningServer:
    """A server with an empty store."""
    return start_server()


@pytest.fixture
def send_to(server: RunningServer) -> Callable[..., Sender]:
    """Makes senders of records to the server: ``send_to(run_id, project=..., key=...)``."""
    return lambda run_id, **options: Sender(server, run_id, **options)
