"""How far a stream has come over the JSON wire, noted in the user's home for a process that takes it over.

The server of the older kind cannot say it. Without its note a stream is sent from the beginning of what is on disk:
what its server knows again counts once all the same.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import msgspec

from rundial.config import home
from rundial.events import RunStart
from rundial.json_api import Target


class Note(msgspec.Struct, array_like=True):
    """A stream as far as it is at the server."""

    next: int
    done: dict[str, int]
    start: RunStart
    target: Target


def _place(endpoint: str, stream: str) -> Path:
    return home() / "json" / f"{zlib.crc32(endpoint.encode()):08x}-{stream}"


def read(endpoint: str, stream: str) -> Note | None:
    """What is noted of a stream; None when nothing is, or nothing that can be read."""
    try:
        return msgspec.msgpack.decode(_place(endpoint, stream).read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write(endpoint: str, stream: str, note: Note) -> None:
    """Note how far a stream is. A home that cannot be written is no reason not to send."""
    place = _place(endpoint, stream)
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = place.with_suffix(f".{os.getpid()}")
        draft.write_bytes(msgspec.msgpack.encode(note))
        draft.replace(place)
    except OSError:
        return  # then another process sends more than it has to


def remove(endpoint: str, stream: str) -> None:
    """Forget a stream that is whole at the server."""
    try:
        _place(endpoint, stream).unlink(missing_ok=True)
    except OSError:
        return  # it is a few bytes that nobody reads again
