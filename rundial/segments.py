"""Segments: the files of a spool. Each is named by the first sequence number in it, ``00000000000000000042.seg``.

A segment is a header, then chunks exactly as they travel (see ``wire.py``)::

    magic "RDs1" | version u16 | length u16 | crc32 u32 | meta data (MessagePack) | chunk | chunk | ...
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rundial.errors import WireError
from rundial.wire import find_chunk, unpack_chunk

_HEADER = struct.Struct("<4sHHI")
_MAGIC = b"RDs1"
VERSION = 1
MAX_HEADER = _HEADER.size + 0xFFFF
SUFFIX = ".seg"
DAMAGED_SUFFIX = ".damaged"


class Place(msgspec.Struct):
    """Where a chunk lies in its segment."""

    first: int
    count: int
    offset: int
    length: int
    is_gap: bool = False

    @property
    def next(self) -> int:
        return self.first + self.count


class Segment(msgspec.Struct):
    """One file of the spool and the chunks found or written in it."""

    path: Path
    size: int
    places: list[Place] = []
    made: float = 0.0
    lost_to: str | None = None
    """Why its records are gone, when a gap stands in their place."""

    @property
    def first(self) -> int:
        return self.places[0].first if self.places else int(self.path.stem)

    @property
    def next(self) -> int:
        return self.places[-1].next if self.places else int(self.path.stem)

    @property
    def is_gap(self) -> bool:
        return len(self.places) == 1 and self.places[0].is_gap


class NewerSegment(WireError):
    """A segment of a version that this one does not know: it is left alone, with everything around it."""


def segment_header(meta: Mapping[str, Any]) -> bytes:
    """The bytes a segment begins with."""
    packed = msgspec.msgpack.encode(dict(meta))
    return _HEADER.pack(_MAGIC, VERSION, len(packed), zlib.crc32(packed)) + packed


def read_header(data: bytes, path: Path) -> tuple[dict[str, Any], int]:
    """Meta data of a segment and where its chunks begin. Raises :class:`WireError` for a damaged or newer one."""
    if len(data) < _HEADER.size:
        raise WireError(f"{path} is cut short")
    magic, version, length, crc = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise WireError(f"{path} is no segment")
    if version > VERSION:
        raise NewerSegment(f"{path} was written by a newer rundial; it is kept. Update rundial to send it.")
    packed = data[_HEADER.size : _HEADER.size + length]
    if zlib.crc32(packed) != crc or len(packed) < length:
        raise WireError(f"{path} has a damaged header")
    return msgspec.msgpack.decode(packed, type=dict[str, Any]), _HEADER.size + length


def segment_meta(path: Path) -> dict[str, Any]:
    """What a segment says of its stream, without reading its chunks. Raises as :func:`scan_segment` does."""
    with path.open("rb") as file:
        return read_header(file.read(MAX_HEADER), path)[0]


def scan_segment(path: Path) -> tuple[dict[str, Any], Segment, int]:
    """A segment's meta data, its whole chunks, and how many damaged stretches were passed over.

    The meta data are empty when the header is damaged; the chunks behind it may be whole all the same. Raises
    :class:`NewerSegment`, :class:`OSError`, and :class:`WireError` when there is nothing of ours in the file.
    """
    data = path.read_bytes()
    segment = Segment(path, len(data), made=path.stat().st_mtime)
    damaged = 0
    meta: dict[str, Any] = {}
    try:
        meta, offset = read_header(data, path)
    except NewerSegment:
        raise
    except WireError:
        damaged += 1
        offset = find_chunk(data, 0)
        if offset < 0:
            raise
    while offset < len(data):
        try:
            chunk, end = unpack_chunk(data, offset)
        except WireError:
            damaged += 1
            offset = find_chunk(data, offset + 1)
            if offset < 0:
                break
            continue
        segment.places.append(Place(chunk.first, chunk.count, offset, end - offset, chunk.is_gap))
        offset = end
    return meta, segment, damaged


def segment_paths(folder: Path) -> list[Path]:
    """The segments of a stream's folder, oldest first."""
    return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
