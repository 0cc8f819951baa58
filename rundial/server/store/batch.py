"""A chunk made ready for the store: decoded, every record either sound or set apart with its reason.

This is the part of ingest that needs no database, so it runs on the caller's thread and not on the one writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

import msgspec
import numpy as np

from rundial import wire
from rundial.events import SYSTEM_PREFIX, Event, Gap, Metrics, RunStart, clean_key
from rundial.server.store.inbox import Block, blocks_of, encode_blocks
from rundial.server.store.refusal import Refusal, invalid
from rundial.wire import CHUNK_BYTES, MAX_RECORD_BYTES, Chunk

MAX_BODY_RECORDS = 200_000
"""Records in one request; a sender with more splits."""
MAX_BODY_BAD = 10_000
"""Unreadable records in one request; beyond that it is no stream of ours."""
MAX_TEXT = 64 * 1024
"""Characters of a text value; the rest is cut."""
MAX_LABEL = 250
_LEAST_RECORD = 4
_INT64 = 2**63
_KNOWN_KEYS = 300_000

_decode_metrics = msgspec.msgpack.Decoder(list[Metrics]).decode


class Bad(NamedTuple):
    """A record that is not taken, by its sequence number."""

    seq: int
    code: str
    reason: str


class Batch(NamedTuple):
    """What one chunk says: sequences ``first`` to ``next - 1`` of its stream."""

    chunk: Chunk
    start: RunStart | None
    """The event of sequence 0, when this chunk begins there."""
    gap: str | None
    """Why all of these records are gone, when the chunk is a gap."""
    metrics: list[Metrics]
    others: list[tuple[int, Event]]
    """Everything that is neither metrics nor the start, with its sequence number."""
    bad: list[Bad]
    data: bytes
    """The metrics as the inbox keeps them."""
    points: int
    max_step: int | None
    non_finite: dict[str, int]

    @property
    def accepted(self) -> int:
        return 0 if self.gap is not None else self.chunk.count - len(self.bad)


class Reader:
    """Reads chunks. It remembers keys it has seen, so that only a new one is looked at closely."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def read_all(self, chunks: Sequence[Chunk]) -> list[Batch]:
        """The chunks of one request. Raises :class:`Refusal` when they are more than a request may hold."""
        if sum(chunk.count for chunk in chunks if not chunk.is_gap) > MAX_BODY_RECORDS:
            raise Refusal(
                413,
                "PAYLOAD_TOO_LARGE",
                f"The request holds more than {MAX_BODY_RECORDS} records.",
                "Split it and send the parts one after the other.",
            )
        batches: list[Batch] = []
        bad = 0
        for chunk in chunks:
            batches.append(self.read(chunk))
            bad += len(batches[-1].bad)
            if bad > MAX_BODY_BAD:
                raise invalid("Most of the request is no records.", "Send MessagePack records as docs/http.md says.")
        return batches

    def read(self, chunk: Chunk) -> Batch:
        """One chunk. Raises :class:`Refusal` when its header cannot be true."""
        if chunk.next >= _INT64:
            raise invalid(f"Sequence {chunk.first} is out of range.", "Sequence numbers begin at 0.")
        if chunk.is_gap:
            return Batch(chunk, None, _gap_reason(chunk), [], [], [], b"", 0, None, {})
        size = len(chunk.records)
        if chunk.count * _LEAST_RECORD > size or (chunk.count > 1 and size > CHUNK_BYTES + MAX_RECORD_BYTES):
            raise invalid(
                "A chunk cannot hold what its header says.", f"Chunks hold up to {CHUNK_BYTES} bytes of records."
            )
        if size > MAX_RECORD_BYTES and chunk.count == 1:
            bad = Bad(chunk.first, "TOO_LARGE", f"the record is longer than {MAX_RECORD_BYTES} bytes")
            return Batch(chunk, None, None, [], [], [bad], b"", 0, None, {})
        try:
            metrics = _decode_metrics(wire.array_header(chunk.count) + chunk.records)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._read_mixed(chunk)
        return self._finish(chunk, None, metrics, range(chunk.first, chunk.next), [], [])

    def _read_mixed(self, chunk: Chunk) -> Batch:
        """A chunk that holds more than metrics, or something damaged."""
        start: RunStart | None = None
        metrics: list[Metrics] = []
        seqs: list[int] = []
        others: list[tuple[int, Event]] = []
        events, bad = _decode(chunk)
        unread = {record.seq for record in bad}
        for seq, event in zip((n for n in range(chunk.first, chunk.next) if n not in unread), events):
            if isinstance(event, Metrics):
                metrics.append(event)
                seqs.append(seq)
            elif isinstance(event, RunStart) and seq == 0:
                start = event
            elif isinstance(event, (RunStart, Gap)):
                bad.append(Bad(seq, "INVALID_RECORD", f"{type(event).__name__} cannot stand here"))
            else:
                others.append((seq, event))
        return self._finish(chunk, start, metrics, seqs, others, bad)

    def _finish(
        self,
        chunk: Chunk,
        start: RunStart | None,
        metrics: list[Metrics],
        seqs: Sequence[int],
        others: list[tuple[int, Event]],
        bad: list[Bad],
    ) -> Batch:
        non_finite: dict[str, int] = {}
        blocks = self._sound_blocks(metrics)
        if blocks is None:
            mended = [record if self._is_sound(record) else self._mend(record, non_finite) for record in metrics]
            bad = bad + [Bad(seq, "INVALID_RECORD", r) for seq, r in zip(seqs, mended) if isinstance(r, str)]
            metrics = [record for record in mended if isinstance(record, Metrics) and record.values]
            blocks = blocks_of(metrics)
        points = sum(block.points for block in blocks)
        max_step = max((block.last_step for block in blocks if not _is_system(block)), default=None)
        return Batch(chunk, start, None, metrics, others, bad, encode_blocks(blocks), points, max_step, non_finite)

    def _sound_blocks(self, metrics: list[Metrics]) -> list[Block] | None:
        """The quick look at many records at once; None when a single one needs to be looked at closely."""
        try:
            blocks = blocks_of(metrics)
        except OverflowError:
            return None
        return blocks if all(map(self._is_sound_block, blocks)) else None

    def _is_sound_block(self, block: Block) -> bool:
        return (
            isinstance(block.values, bytes)
            and bool(block.names)
            and self._known.issuperset(block.names)
            and bool(np.isfinite(block.numbers()).all())
        )

    def _is_sound(self, record: Metrics) -> bool:
        """The quick look: numbers only, none of them NaN or infinite, known keys, times and steps that fit."""
        values = record.values
        try:
            return (
                isfinite(sum(values.values()))  # type: ignore[arg-type]
                and self._known.issuperset(values)
                and -_INT64 <= record.step < _INT64
                and -_INT64 <= record.time_ns < _INT64
                and bool(values)
            )
        except TypeError:  # a text
            return False

    def _mend(self, record: Metrics, non_finite: dict[str, int]) -> Metrics | str:
        """The record itself, what can be kept of it, or why nothing can."""
        if not -_INT64 <= record.step < _INT64:
            return "step does not fit into 64 bits"
        if not -_INT64 <= record.time_ns < _INT64:
            return "time does not fit into 64 bits"
        values: dict[str, float | int | bool | str] = {}
        changed = record.stage is not None and len(record.stage) > MAX_LABEL
        for key, value in record.values.items():
            name = self._clean(key)
            if isinstance(value, str):
                values[name] = value[:MAX_TEXT]
                changed |= len(value) > MAX_TEXT
            elif isfinite(value):
                values[name] = value
            else:
                non_finite[name] = non_finite.get(name, 0) + 1
        changed |= values.keys() != record.values.keys()
        if not changed:
            return record
        stage = record.stage[:MAX_LABEL] if record.stage else record.stage
        return Metrics(record.time_ns, record.step, values, stage, record.context)

    def _clean(self, key: str) -> str:
        name = clean_key(key)
        if len(self._known) >= _KNOWN_KEYS:
            self._known.clear()
        self._known.add(name)
        return name


def cut(chunk: Chunk, seq: int) -> Chunk:
    """The part of a chunk from sequence ``seq`` on, which lies inside it."""
    if chunk.is_gap:
        return chunk._replace(first=seq, count=chunk.next - seq)
    records = list(wire.split_records(chunk.records, chunk.count))[seq - chunk.first :]
    return chunk._replace(first=seq, count=chunk.next - seq, records=b"".join(records))


def _is_system(block: Block) -> bool:
    """Whether it is of the machine: such steps are times, and the run does not continue from them."""
    return block.names[0].startswith(SYSTEM_PREFIX) and all(name.startswith(SYSTEM_PREFIX) for name in block.names)


def _decode(chunk: Chunk) -> tuple[list[Event], list[Bad]]:
    events, bad = wire.decode_chunk(chunk)
    return events, [Bad(seq, "INVALID_RECORD", reason[:500]) for seq, reason in bad]


def _gap_reason(chunk: Chunk) -> str:
    event = wire.decode_chunk(chunk)[0][0]
    return event.reason[:100] if isinstance(event, Gap) else "unknown"
