"""What one server tells the others on the same database: what it has committed, and that keys were revoked."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from rundial.events import Marker
from rundial.server.store.changes import Change
from rundial.server.store.engine import Engine, Messenger

MESSAGE_BYTES = 7_900
"""PostgreSQL takes messages of less than 8,000 bytes."""
MAX_POINTS = 400
"""More new points of one commit are not told one by one; who wants them reads them."""
MAX_WAITING = 10_000
_HEAD_BYTES = 200


class _Message(msgspec.Struct):
    """One message. ``missed``: some were not sent, so that nobody knows all any more."""

    origin: str
    changes: list[Change] = []
    forget: bool = False
    missed: bool = False


_decode = msgspec.json.Decoder(_Message).decode


class Notices:
    """Between this store and the others. Does nothing where the database belongs to one process.

    Args:
        engine: the database.
        heard: called with what others have committed.
        forget: called when keys or sessions that others know have been revoked, or might have been.
        missed: called when something was not heard.
    """

    def __init__(
        self,
        engine: Engine,
        heard: Callable[[Sequence[Change]], None],
        forget: Callable[[], None],
        missed: Callable[[], None],
    ) -> None:
        self._origin = secrets.token_hex(8)
        self._take_in = heard
        self._forget = forget
        self._miss = missed
        self._guard = threading.Lock()
        self._changes: list[Change] = []
        self._forgets = self._overflown = False
        self._engine = engine
        self._messenger: Messenger | None = None

    def start(self) -> None:
        """Begin to hear and to tell."""
        self._messenger = self._engine.messenger(self._messages, self._heard, self._gap)

    @property
    def hears(self) -> bool:
        """Whether nothing can happen elsewhere without being heard of."""
        return not self._engine.shared or (self._messenger is not None and self._messenger.connected)

    def tell(self, changes: Sequence[Change]) -> None:
        """Tell the others of a commit. Returns at once."""
        if self._messenger is None:
            return
        with self._guard:
            if len(self._changes) >= MAX_WAITING:
                self._changes.clear()
                self._overflown = True
            else:
                self._changes.extend(changes)
        self._messenger.ring()

    def tell_to_forget(self) -> None:
        """Tell the others that keys or sessions are not what they were. Returns at once."""
        if self._messenger is not None:
            with self._guard:
                self._forgets = True
            self._messenger.ring()

    def close(self) -> None:
        """Tell what is left to tell, and stop."""
        if self._messenger is not None:
            self._messenger.close()

    def _messages(self) -> list[str]:
        with self._guard:
            changes, self._changes = self._changes, []
            forget, self._forgets = self._forgets, False
            missed, self._overflown = self._overflown, False
        messages: list[str] = []
        if forget or missed:
            messages.append(msgspec.json.encode(_Message(self._origin, [], forget, missed)).decode())
        waiting: list[Change] = []
        size = _HEAD_BYTES
        for part, length in (sized for change in changes for sized in _parts(change)):
            if waiting and size + length > MESSAGE_BYTES:
                messages.append(_encoded(_Message(self._origin, waiting)))
                waiting, size = [], _HEAD_BYTES
            waiting.append(part)
            size += length + 1
        if waiting:
            messages.append(_encoded(_Message(self._origin, waiting)))
        return messages

    def _heard(self, text: str) -> None:
        message = _decode(text)
        if message.origin == self._origin:
            return
        if message.forget:
            self._forget()
        if message.missed:
            self._miss()
        if message.changes:
            self._take_in(message.changes)

    def _gap(self) -> None:
        self._forget()
        self._miss()


def _parts(change: Change) -> Iterator[tuple[Change, int]]:
    """A change in pieces that fit into a message, each with its length; what is too long is only hinted at."""
    room = MESSAGE_BYTES - _HEAD_BYTES
    if sum(len(record.values) for record in change.metrics) <= MAX_POINTS:
        length = len(_encoded(change).encode())
        if length <= room:
            yield change, length
            return
    bare = change._replace(metrics=[], markers=[])
    for marker in change.markers:
        one = bare._replace(markers=[marker])
        length = len(_encoded(one).encode())
        if length > room:  # what it is about can be read with the run
            one = bare._replace(markers=[Marker(marker.time_ns, marker.kind, marker.name, marker.step, {})])
            length = len(_encoded(one).encode())
        yield one, length
    keys = list(dict.fromkeys(key for record in change.metrics for key in record.values))
    part: list[str] = []
    size = base = len(_encoded(bare).encode())
    for key in keys:
        length = len(_encoded(key).encode()) + 1
        if part and size + length > room:
            yield bare._replace(keys=tuple(part)), size
            part, size = [], base
        part.append(key)
        size += length
    yield bare._replace(keys=tuple(part)), size


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=repr).decode()
