"""Short messages between the processes that share a PostgreSQL database (``LISTEN`` and ``NOTIFY``).

They are sent beside the commits and not inside them, where they would make all commits of the database wait for each
other. So one may be lost with the process or the connection that had it: whoever was not connected for a while is
told so, and must ask the database for what it has missed.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from rundial.server.store.postgres import connect

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
_CHANNEL = "rundial"


class Bus:
    """One end of it.

    Args:
        url: of the database.
        messages: gives what is to be sent now; called on a thread of the bus after each :meth:`ring`.
        heard: called with every message of every end, also of this one, on another thread of the bus.
        missed: called, there too, whenever the connection is there again after some have been missed.
    """

    def __init__(
        self,
        url: str,
        messages: Callable[[], list[str]],
        heard: Callable[[str], None],
        missed: Callable[[], None],
    ) -> None:
        self._url = url
        self._messages = messages
        self._heard = heard
        self._missed = missed
        self._bell = threading.Event()
        self._stop = threading.Event()
        self._wake, self._waker = os.pipe()
        self.connected = False
        """Whether messages are heard at this moment."""
        self._threads = [
            threading.Thread(target=self._listen, name="rundial-store-listener", daemon=True),
            threading.Thread(target=self._send, name="rundial-store-notifier", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def ring(self) -> None:
        """There is something to send. Returns at once."""
        self._bell.set()

    def close(self) -> None:
        """Send what waits and stop. May be called twice."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._bell.set()
        os.write(self._waker, b".")
        for thread in self._threads:
            thread.join()
        os.close(self._wake)
        os.close(self._waker)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with connect(self._url) as connection:
                    connection.execute(f"LISTEN {_CHANNEL}")
                    self.connected = True
                    self._guarded(self._missed)
                    self._hear(connection)
            except (psycopg.Error, OSError) as error:
                log.error("messages of other servers are not heard: %s", error)
            self.connected = False
            self._stop.wait(RETRY_SECONDS)

    def _hear(self, connection: psycopg.Connection[Any]) -> None:
        ready = select.poll()  # select() knows no descriptors beyond 1,023
        for descriptor in (connection.fileno(), self._wake):
            ready.register(descriptor, select.POLLIN)
        while not self._stop.is_set():
            ready.poll()
            connection.pgconn.consume_input()
            while (message := connection.pgconn.notifies()) is not None:
                self._guarded(self._heard, message.extra.decode())

    def _guarded(self, call: Callable[..., None], *values: str) -> None:
        try:
            call(*values)
        except Exception:  # one message that is not understood must not end the hearing
            log.exception("a message of another server was not understood")

    def _send(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        waiting: list[str] = []
        while True:
            self._bell.wait()
            self._bell.clear()
            last = self._stop.is_set()
            waiting = self._messages()
            try:
                if waiting and (connection is None or connection.closed):
                    connection = connect(self._url)
                if waiting and connection is not None:
                    with connection.cursor() as cursor:
                        cursor.executemany("SELECT pg_notify(%s, %s)", [(_CHANNEL, text) for text in waiting])
            except psycopg.Error as error:
                # Others lose them. They find what was committed when they ask for it; until then they show less.
                log.error("other servers are not told of what was committed: %s", error)
                if connection is not None:
                    with suppress(psycopg.Error):
                        connection.close()
            if last:
                break
        if connection is not None:
            connection.close()
