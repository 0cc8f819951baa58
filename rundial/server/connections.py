"""Connections: how many may be open, and which of them has to go when there are more."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 10_000
BACKLOG = 1_024
"""Connections that may wait in the kernel to be taken."""
TAKEN_AT_ONCE = 64
"""Connections taken at a time; each has its file some rounds of the loop before it is known whether it may stay."""
SPARE_FILES = 512
"""Files that connections leave to the database, to blobs and to those just taken."""
_WANTED_FILES = 65_536
_SHARE = 16
"""When one has to go, so does this part of those that wait as it does, so that looking for them stays cheap."""


def most_connections() -> int:
    """How many connections may be open, by the files the process may have. Raises that limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return max(_SHARE, min(MAX_CONNECTIONS, soft - SPARE_FILES))


def let_wait(server: asyncio.Server) -> None:
    """Let the kernel hold :data:`BACKLOG` connections; to asyncio that is the number it takes at a time."""
    for listening in server.sockets:
        with socket.socket(fileno=os.dup(listening.fileno())) as same:
            same.listen(BACKLOG)


class Connection(H11Protocol):
    """A connection that makes room for itself when there are too many: first go those that never asked anything."""

    most = MAX_CONNECTIONS
    opened = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.opened = self.loop.time()
        if len(self.connections) > self.most:
            self._make_room()

    def _make_room(self) -> None:
        others: list[Any] = [it for it in self.connections if it is not self and _is_idle(it)]
        others.sort(key=lambda it: (it.cycle is not None, it.opened))
        for connection in others[: max(1, self.most // _SHARE)] or [self]:
            self.connections.discard(connection)
            connection.transport.abort()


def _is_idle(connection: Any) -> bool:
    """Whether it waits for the head of a request."""
    return connection.cycle is None or bool(connection.cycle.response_complete)
