"""Events to bytes and back: the one record format of queue, spool and HTTP.

A *record* is one event as MessagePack. A *chunk* is a run of consecutive records behind a fixed header, and is
the same bytes in a spool segment and in an HTTP body, so that nothing between ``log()`` and the server's decoder
walks records. Layout of the header, little-endian, 48 bytes::

    magic "RDc1" | flags u32 | stream 16 bytes | first sequence u64 | count u32 | length u32 | crc32 u32 | own crc32 u32

``length`` and ``crc32`` are those of the records that follow; the last field is the CRC of the header before it. Flag
bit 0 marks a gap: the payload is a single ``Gap`` record that stands for ``count`` sequence numbers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec

from rundial.errors import WireError
from rundial.events import Event, Gap, Metrics, clean_key

CONTENT_TYPE = "application/vnd.rundial.records"
CHUNK_BYTES = 64 * 1024
"""A chunk holds at most this many bytes of records unless one record alone is longer."""
MAX_RECORD_BYTES = 256 * 1024
"""No record is longer: what is bigger travels as an artifact or is truncated with a flag."""

_MAGIC = b"RDc1"
_HEADER = struct.Struct("<4sI16sQIII")
_HEADER_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _HEADER_CRC.size
FLAG_GAP = 1
_CRC_BYTES = 5 * 1024

encode = msgspec.msgpack.Encoder().encode
"""One event, or the equal tuple with its tag first, as a record. Raises TypeError, OverflowError or ValueError."""

_decode_any = msgspec.msgpack.Decoder().decode
_METRICS_TAG = 2


@cache
def _decode_list() -> Callable[[bytes], list[Event]]:
    # Made at the first use: to resolve the types of all events takes 2 ms, and a script that only logs reads none.
    return msgspec.msgpack.Decoder(list[Event]).decode


@cache
def _decode_one() -> Callable[[bytes], Event]:
    return msgspec.msgpack.Decoder(Event).decode


class Chunk(NamedTuple):
    """A run of consecutive records of one stream: sequences ``first`` to ``first + count - 1``."""

    stream: str
    first: int
    count: int  # type: ignore[assignment]  # the field's word; tuple.count is of no use here
    records: bytes
    flags: int = 0

    @property
    def next(self) -> int:
        """The sequence number after the last one in this chunk."""
        return self.first + self.count

    @property
    def is_gap(self) -> bool:
        return bool(self.flags & FLAG_GAP)


class BadRecord(NamedTuple):
    """A record that no decoder understands, by its sequence number."""

    seq: int
    reason: str


def checksum(data: bytes) -> int:
    """CRC-32 of ``data`` (zlib's), computed without giving the interpreter lock away.

    zlib releases the lock for more than 5 KiB. Beside a training loop that keeps the interpreter busy, each release
    costs the worker a switch interval of 5 ms: 64 KiB chunks would leave at 6 MB/s and the queue would overflow.
    """
    view = memoryview(data)
    crc = 0
    for start in range(0, len(view), _CRC_BYTES):
        crc = zlib.crc32(view[start : start + _CRC_BYTES], crc)
    return crc


def chunk_header(chunk: Chunk) -> bytes:
    """The header that goes before the chunk's records."""
    header = _HEADER.pack(
        _MAGIC,
        chunk.flags,
        bytes.fromhex(chunk.stream),
        chunk.first,
        chunk.count,
        len(chunk.records),
        checksum(chunk.records),
    )
    return header + _HEADER_CRC.pack(zlib.crc32(header))


def pack_chunk(chunk: Chunk) -> bytes:
    """The chunk as it stands in a segment and in an HTTP body."""
    return chunk_header(chunk) + chunk.records


def gap_chunk(stream: str, first: int, last: int, reason: str) -> Chunk:
    """A chunk that says of sequences ``first`` to ``last`` that they are gone, and why."""
    return Chunk(stream, first, last - first + 1, encode(Gap(first, last, reason)), FLAG_GAP)


def missing_chunks(stream: str, opening: bytes | None, first: int, last: int, reason: str) -> list[bytes]:
    """Packed chunks that stand for the missing sequences ``first`` to ``last``.

    ``opening`` is a RunStart record to stand in for sequence 0: without one no server can tell whose the rest is.
    """
    packed = []
    if first == 0 and opening:
        packed.append(pack_chunk(Chunk(stream, 0, 1, opening)))
        first = 1
    if first <= last:
        packed.append(pack_chunk(gap_chunk(stream, first, last, reason)))
    return packed


def unpack_chunk(buffer: bytes | memoryview, offset: int = 0) -> tuple[Chunk, int]:
    """The chunk at ``offset`` and the offset after it.

    Raises :class:`WireError` when the bytes there are no whole, undamaged chunk.
    """
    if len(buffer) - offset < HEADER_BYTES:
        raise WireError(f"chunk header cut short at byte {offset}")
    magic, flags, stream, first, count, length, crc = _HEADER.unpack_from(buffer, offset)
    if magic != _MAGIC:
        raise WireError(f"no chunk at byte {offset}")
    (header_crc,) = _HEADER_CRC.unpack_from(buffer, offset + _HEADER.size)
    if zlib.crc32(buffer[offset : offset + _HEADER.size]) != header_crc:
        raise WireError(f"chunk header at byte {offset} is damaged")
    start = offset + HEADER_BYTES
    records = bytes(buffer[start : start + length])
    if len(records) < length:
        raise WireError(f"chunk at byte {offset} is cut short")
    if zlib.crc32(records) != crc:
        raise WireError(f"chunk at byte {offset} is damaged")
    if count == 0 or (count > length and not flags & FLAG_GAP):
        raise WireError(f"chunk at byte {offset} cannot hold {count} records")
    return Chunk(stream.hex(), first, count, records, flags), start + length


def unpack_chunks(body: bytes) -> Iterator[Chunk]:
    """All chunks that lie back to back in ``body``. Raises :class:`WireError` at the first that is damaged."""
    offset = 0
    while offset < len(body):
        chunk, offset = unpack_chunk(body, offset)
        yield chunk


def find_chunk(buffer: bytes, offset: int) -> int:
    """Where the next chunk header may begin at or after ``offset``; -1 when there is none."""
    return buffer.find(_MAGIC, offset)


def array_header(count: int) -> bytes:
    """The MessagePack header of an array of ``count`` elements."""
    return b"\xdd" + count.to_bytes(4, "big")


def decode_chunk(chunk: Chunk) -> tuple[list[Event], list[BadRecord]]:
    """The events of a chunk in one decoder call; a bad record is set apart and costs no other one.

    A gap chunk gives its single ``Gap``. Otherwise ``events`` and ``bad`` together have ``chunk.count`` members.
    """
    if chunk.is_gap:
        return [_gap(chunk)], []
    try:
        return _decode_list()(array_header(chunk.count) + chunk.records), []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_singly(chunk)


def _gap(chunk: Chunk) -> Gap:
    try:
        event = _decode_one()(chunk.records)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        event = None
    reason = event.reason if isinstance(event, Gap) else "unknown"
    return Gap(chunk.first, chunk.next - 1, reason)  # the header says which; its checksum was right


def _decode_singly(chunk: Chunk) -> tuple[list[Event], list[BadRecord]]:
    events: list[Event] = []
    bad: list[BadRecord] = []
    for position, record in enumerate(split_records(chunk.records, chunk.count)):
        try:
            events.append(_decode_one()(record))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            rescued = _rescue(record)
            if rescued is None:
                bad.append(BadRecord(chunk.first + position, str(error)))
            else:
                events.append(rescued)
    missing = chunk.count - len(events) - len(bad)
    bad.extend(BadRecord(chunk.next - missing + i, "record is cut short") for i in range(missing))
    return events, bad


def _rescue(record: bytes) -> Metrics | None:
    """Metrics whose keys are not strings: the fast path of ``log()`` does not look at keys, so this end does."""
    try:
        fields = _decode_any(record)
        if fields[0] == _METRICS_TAG and isinstance(fields[3], dict):
            fields[3] = {clean_key(key): value for key, value in fields[3].items()}
            return msgspec.convert(fields, Metrics)
    except (msgspec.MsgspecError, UnicodeDecodeError, LookupError, TypeError, RecursionError):
        return None
    return None


def split_records(records: bytes | memoryview, limit: int | None = None) -> Iterator[bytes]:
    """The single records that lie back to back in ``records``, at most ``limit``; stops where one is cut short."""
    offset = 0
    found = 0
    while offset < len(records) and (limit is None or found < limit):
        try:
            end = _skip(records, offset)
        except (IndexError, WireError):
            return
        if end > len(records):
            return
        yield bytes(records[offset:end])
        offset = end
        found += 1


# MessagePack type bytes (https://github.com/msgpack/msgpack/blob/master/spec.md): bytes of payload after the type
# byte for the fixed-size ones, and (size of the length field, extra bytes) for the length-prefixed ones.
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
_BLOB = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_BLOB |= {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
_NESTED = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _skip(data: bytes | memoryview, offset: int) -> int:
    """The offset after the MessagePack value at ``offset``."""
    pending = 1
    while pending:
        pending -= 1
        kind = data[offset]
        offset += 1
        if kind <= 0x7F or kind >= 0xE0:
            continue
        if kind <= 0x8F:
            pending += 2 * (kind & 0x0F)
        elif kind <= 0x9F:
            pending += kind & 0x0F
        elif kind <= 0xBF:
            offset += kind & 0x1F
        elif kind in _FIXED:
            offset += _FIXED[kind]
        elif kind in _BLOB:
            width, extra = _BLOB[kind]
            offset += width + extra + int.from_bytes(data[offset : offset + width], "big")
        elif kind in _NESTED:
            width, factor = _NESTED[kind]
            pending += factor * int.from_bytes(data[offset : offset + width], "big")
            offset += width
        else:
            raise WireError(f"byte {offset - 1} begins no MessagePack value")
    return offset


class IngestReply(msgspec.Struct, rename="camel"):
    """What the server answers to records; an answer that lacks ``stream`` or ``next`` acknowledges nothing."""

    stream: str
    next: int
    accepted: int = 0
    duplicate: int = 0
    rejected: list[dict[str, Any]] = []
    commands: list[dict[str, Any]] = []
    run: dict[str, Any] | None = None
    """Sent back with the first record: runId, name, projectId, workspace, project, lastStep, config, created, url."""
