"""How far a stream has come over the JSON wire, noted in the user's home.

A process that takes it over goes on from there, and ``rundial verify`` compares it with what was logged: the server of
the older kind cannot say it. Without its note a stream is sent from the beginning of what is on disk: what its server
knows again counts once all the same.
"""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path

import msgspec

from rundial.config import home
from rundial.events import Ledger, RunStart
from rundial.json_api import Target

ENDED = ".ended"
KEPT_SECONDS = 90 * 86_400.0
"""How long the note of a stream that has ended is kept."""


class Note(msgspec.Struct, array_like=True):
    """A stream as far as it is at the server."""

    next: int
    done: dict[str, int]
    start: RunStart
    target: Target
    rejected: int = 0
    """Records that the server did not take."""
    gaps: dict[str, int] = {}
    """Records in whose place a gap stands, by reason."""
    ledger: Ledger | None = None
    """The client's own account, once it has come by."""
    ended_ns: int | None = None
    """When the stream ended, in Unix nanoseconds: all of it is at the server."""


def _name(endpoint: str, stream: str) -> str:
    return f"{zlib.crc32(endpoint.encode()):08x}-{stream}"


def _folder() -> Path:
    return home() / "json"


def read(endpoint: str, stream: str) -> Note | None:
    """What is noted of a stream; None when nothing is, or nothing that can be read."""
    name = _name(endpoint, stream)
    return _read(_folder() / name) or _read(_folder() / f"{name}{ENDED}")


def _read(place: Path) -> Note | None:
    try:
        return msgspec.msgpack.decode(place.read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def of_run(endpoint: str, run_id: str) -> dict[str, Note]:
    """What is noted of the streams of a run on this machine."""
    prefix = _name(endpoint, "")
    notes = ((place, _read(place)) for place in sorted(_folder().glob(f"{prefix}*")) if place.suffix in ("", ENDED))
    return {
        place.stem.removeprefix(prefix): note
        for place, note in notes
        if note is not None and note.start.run_id == run_id
    }


def write(endpoint: str, stream: str, note: Note) -> None:
    """Note how far a stream is. A home that cannot be written is no reason not to send."""
    place = _folder() / _name(endpoint, stream)
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = place.with_suffix(f".{os.getpid()}")
        draft.write_bytes(msgspec.msgpack.encode(note))
        draft.replace(place)
    except OSError:
        return  # then another process sends more than it has to


def end(endpoint: str, stream: str) -> None:
    """Put the note of a stream that is whole at the server to those that are only kept for a while."""
    place = _folder() / _name(endpoint, stream)
    try:
        place.replace(place.with_suffix(ENDED))
        for old in _folder().glob(f"*{ENDED}"):
            if old.stat().st_mtime < time.time() - KEPT_SECONDS:
                old.unlink(missing_ok=True)
    except OSError:
        return  # it is a few bytes that nobody needs
