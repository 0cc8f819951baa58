"""Chunks: the rows that hold a metric's points, and whether they still are what was written.

Each row has a CRC-32 of each of its columns, because numbers that did not compress are stored as they are: one bit of
them that flips on the disk would be a wrong point that nothing else notices. What an earlier version wrote has none;
of that only what cannot be unpacked is known to be damaged.
"""

from __future__ import annotations

import logging
import struct
import threading
import zlib
from typing import NamedTuple

import msgspec

from rundial.server.store.columns import unpack_floats, unpack_ints, unpack_labels, unpack_texts

log = logging.getLogger(__name__)

CHECKSUMS = """
ALTER TABLE chunks ADD COLUMN crcs {bytes};
"""
UNPACKING = (ValueError, TypeError, IndexError, EOFError, struct.error, zlib.error, msgspec.MsgspecError)
"""What damaged bytes raise when they are unpacked."""
COLUMNS = ("labels", "steps", "times", "vals")
_CRCS = struct.Struct("<4I")
_MOST_KNOWN = 10_000


class Place(NamedTuple):
    """Which chunk."""

    run_id: str
    key_id: int
    place: int


class Packed(NamedTuple):
    """The columns of a chunk as they are stored, and their checksums."""

    crcs: bytes | None
    labels: bytes | None
    steps: bytes
    times: bytes
    vals: bytes


def checksums(labels: bytes | None, steps: bytes, times: bytes, vals: bytes) -> bytes:
    """The CRC-32 of each column as stored, in this order, 16 bytes; of no labels it is 0."""
    return _CRCS.pack(*(zlib.crc32(data or b"") for data in (labels, steps, times, vals)))


def differs(crcs: bytes | None, **columns: bytes | None) -> str | None:
    """The first of these columns that is not what was written; None when all are, or nobody knows.

    Args:
        crcs: from :func:`checksums`, or None of what an earlier version wrote.
        columns: the bytes of some of :data:`COLUMNS`, by name.
    """
    if crcs is None:
        return None
    if len(crcs) != _CRCS.size:
        return "crcs"
    noted = dict(zip(COLUMNS, _CRCS.unpack(crcs)))
    return next((name for name, data in columns.items() if zlib.crc32(data or b"") != noted[name]), None)


def damage(
    kind: str, points: int, crcs: bytes | None, labels: bytes | None, steps: bytes, times: bytes, vals: bytes
) -> str | None:
    """What is wrong with a whole chunk, by its checksums; one that has none is unpacked for it."""
    if crcs is None:
        return problem(kind, points, crcs, labels, steps, times, vals)
    wrong = differs(crcs, labels=labels, steps=steps, times=times, vals=vals)
    return wrong and f"{wrong} are not what was written"


def problem(
    kind: str, points: int, crcs: bytes | None, labels: bytes | None, steps: bytes, times: bytes, vals: bytes
) -> str | None:
    """What is wrong with a whole chunk of ``points`` points of a kind, by its checksums and by unpacking it."""
    wrong = differs(crcs, labels=labels, steps=steps, times=times, vals=vals)
    if wrong is not None:
        return f"{wrong} are not what was written"
    try:
        unpack_ints(steps, points)
        unpack_ints(times, points)
        many = len(unpack_texts(vals)) if kind == "text" else len(unpack_floats(vals, points))
        labelled = sum(label[0] for label in unpack_labels(labels, points))
    except UNPACKING as error:
        return str(error) or type(error).__name__
    return None if many == labelled == points else f"{many} values and labels of {labelled} for {points} points"


class _Damaged:
    """The damaged chunks that this process has come upon, each told of once."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: set[Place] = set()

    def note(self, place: Place, why: str) -> None:
        with self._guard:
            if place in self._known or len(self._known) >= _MOST_KNOWN:
                return
            self._known.add(place)
        log.error(
            "chunk %d of metric %d of run %s is damaged and left out: %s. Restore it from a backup.",
            *(place.place, place.key_id, place.run_id, why),
        )

    def count(self) -> int:
        with self._guard:
            return len(self._known)


_damaged = _Damaged()
leave_out = _damaged.note
"""Note that a chunk is damaged and why, once each, in the log and in :func:`left_out`."""
left_out = _damaged.count
"""How many damaged chunks this process has come upon."""
