"""A small HTTP proxy before a real server that misbehaves on request.

What it does with a request is a *fault*: a function that is given the :class:`Exchange`. ``proxy.switch(fault)`` sets
the one for all requests from then on, and ``proxy.seen[fault]`` lists those it was given.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http import HTTPStatus
from io import BufferedReader
from typing import NamedTuple
from urllib.parse import urlsplit

HTML = b"<!doctype html><html><title>Welcome</title><body>Please log in to the guest network.</body></html>"
_NO_LINGER = struct.pack("ii", 1, 0)
_TLS_HANDSHAKE = 0x16
_HOP_BY_HOP = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive", "proxy-connection"})


def envelope(code: str) -> bytes:
    """An error as the server itself words it."""
    error = {"code": code, "message": "This is a fault on request.", "details": {"hint": "Wait for its end."}}
    return json.dumps({"requestId": "req_fault", "error": error}).encode()


class HangUp(Exception):
    """The connection is over."""


class Answer(NamedTuple):
    """Status, headers and body of an HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def packed(self) -> bytes:
        """The answer as it travels."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP]
        return "\r\n".join([*lines, f"content-length: {len(self.body)}", "", ""]).encode() + self.body


class Seen(NamedTuple):
    """One request that came."""

    at: float
    """Seconds of Unix time."""
    authorized: bool
    """Whether a key came along."""
    size: int
    """Bytes of the body."""


class Exchange:
    """One request and what can be done with it."""

    def __init__(self, client: socket.socket, reader: BufferedReader, head: list[str], upstream: int) -> None:
        self.method, self._target, _ = head[0].split(" ")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        self.size = int(self.headers.get("content-length", 0))
        self.on_old_connection = False
        """Whether the connection was there before the fault began."""
        self._client = client
        self._reader = reader
        self._upstream = upstream
        self._body = b""

    def body(self) -> bytes:
        """The whole body of the request."""
        self._body += self._reader.read(self.size - len(self._body))
        return self._body

    def forward(self) -> Answer:
        """Have the real server answer."""
        parts = urlsplit(self._target)  # a client that takes this for a proxy names the host as well
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        headers = {name: value for name, value in self.headers.items() if name not in _HOP_BY_HOP | {"host"}}
        server = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=30)
        try:
            server.request(self.method, target, self.body(), headers)
            answer = server.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            server.close()

    def reply(self, answer: Answer) -> None:
        """Answer the client."""
        self.body()
        self._client.sendall(answer.packed())

    def reply_half(self, answer: Answer) -> None:
        """Send the first half of an answer and no more."""
        packed = answer.packed()
        self._client.sendall(packed[: len(packed) - len(answer.body) // 2])

    def read_half(self) -> None:
        """Take half of the body."""
        self._body = self._reader.read(self.size // 2)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        raise HangUp

    def say_nothing(self) -> None:
        """Keep the connection open in silence until the client has had enough."""
        self.body()
        while self._client.recv(65536):
            pass
        raise HangUp


Fault = Callable[[Exchange], None]


def passing(exchange: Exchange) -> None:
    """No fault at all."""
    exchange.reply(exchange.forward())


def refusing(exchange: Exchange) -> None:
    """The port is closed; a connection that was open is reset."""
    exchange.reset()


def black_hole(exchange: Exchange) -> None:
    """Connections are accepted, and nothing more is ever heard."""
    exchange.say_nothing()


def half_open(exchange: Exchange) -> None:
    """The other end of old connections is gone without a word; new ones are well."""
    if exchange.on_old_connection:
        exchange.say_nothing()
    passing(exchange)


def reset_in_request(exchange: Exchange) -> None:
    """A reset while the request is under way."""
    exchange.read_half()
    exchange.reset()


def reset_in_answer(exchange: Exchange) -> None:
    """A commit, then a reset while the answer is under way."""
    exchange.reply_half(exchange.forward())
    exchange.reset()


def with_wrong_key(exchange: Exchange) -> None:
    """The server knows the client's key no more."""
    exchange.headers["authorization"] = "Bearer rdk_rotated_away"
    passing(exchange)


def slow(seconds: float) -> Fault:
    """Every answer takes as long as this."""

    def slowly(exchange: Exchange) -> None:
        answer = exchange.forward()
        time.sleep(seconds)
        exchange.reply(answer)

    return slowly


def answering(status: int, body: bytes = HTML, retry_after: Callable[[], str] | None = None) -> Fault:
    """The same answer to everything, which no server of ours has given."""

    def answer(exchange: Exchange) -> None:
        headers = {"content-type": "application/json" if body.startswith(b"{") else "text/html"}
        if retry_after is not None:
            headers["retry-after"] = retry_after()
        exchange.reply(Answer(status, headers, body))

    return answer


def redirecting(url: str) -> Fault:
    """Everything has moved to another server."""
    return lambda exchange: exchange.reply(Answer(307, {"location": url + exchange._target}, b""))


def committing_then(fault: Fault) -> Fault:
    """The server takes the records; the client hears something else."""

    def commit(exchange: Exchange) -> None:
        exchange.forward()
        fault(exchange)

    return commit


def rejecting(mark: bytes) -> Fault:
    """A 400 for whatever holds ``mark``."""
    refusal = answering(400, envelope("INVALID_REQUEST"))
    return lambda exchange: (refusal if mark in exchange.body() else passing)(exchange)


def limiting(most: int, body: bytes) -> Fault:
    """A 413 for a body of more than ``most`` bytes."""
    refusal = answering(413, body)
    return lambda exchange: (refusal if exchange.size > most else passing)(exchange)


def in_seconds(seconds: int) -> Callable[[], str]:
    """``Retry-After`` in seconds."""
    return lambda: str(seconds)


def at_date(seconds: int) -> Callable[[], str]:
    """``Retry-After`` as a date that lies this far ahead."""
    return lambda: email.utils.formatdate(int(time.time()) + seconds, usegmt=True)


class Proxy:
    """The proxy; a context manager that frees its port at the end.

    Args:
        upstream: port of the real server on this machine.
        tls: how it speaks TLS; None for plain HTTP. May be changed at any time.
    """

    def __init__(self, upstream: int, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.seen: dict[Fault, list[Seen]] = defaultdict(list)
        self._upstream = upstream
        self._fault: Fault = passing
        self._switched = time.monotonic()
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        # Never listens: it keeps the port ours while the port is closed to clients.
        self._keeper = _bound(0)
        self.port: int = self._keeper.getsockname()[1]
        self._listener: socket.socket | None = None
        self._open()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def switch(self, fault: Fault) -> None:
        """Treat every request from now on like this."""
        self._fault = fault
        self._switched = time.monotonic()
        if fault is refusing:
            self._shut()
        elif self._listener is None:
            self._open()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._shut()
        self._keeper.close()
        for thread in self._threads:
            thread.join(20)

    def _open(self) -> None:
        self._listener = _bound(self.port)
        self._listener.listen(64)
        self._start(self._accept, self._listener)

    def _shut(self) -> None:
        if self._listener is not None:
            _end(self._listener)
            self._listener = None
        with self._lock:
            for client in self._clients:
                _end(client)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return  # shut
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._clients.add(client)
        try:
            with client:
                self._converse(client)
        except (HangUp, OSError, http.client.HTTPException):
            pass  # either end may leave at any time: that is what a bad network is
        finally:
            with self._lock:
                self._clients.discard(client)

    def _converse(self, client: socket.socket) -> None:
        opened = time.monotonic()
        if self.tls is not None:
            client = self.tls.wrap_socket(client, server_side=True)
        elif client.recv(1, socket.MSG_PEEK) == bytes([_TLS_HANDSHAKE]):
            client.sendall(Answer(400, {}, b"Invalid HTTP request received.").packed())
            return
        with client, client.makefile("rb") as reader:
            while head := _head(reader):
                exchange = Exchange(client, reader, head, self._upstream)
                fault = self._fault
                exchange.on_old_connection = opened < self._switched
                self.seen[fault].append(Seen(time.time(), "authorization" in exchange.headers, exchange.size))
                fault(exchange)


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other end was quicker


def _head(reader: BufferedReader) -> list[str]:
    lines = []
    while line := reader.readline(65536).decode("latin-1").rstrip("\r\n"):
        lines.append(line)
    return lines
