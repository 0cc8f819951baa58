"""Raw points out, page by page: every one that was logged, by time, also those that a later one of their step hides."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rundial.server.store.chunks import UNPACKING, Packed, Place, damage, differs, leave_out
from rundial.server.store.columns import Floats, Ints, Labels, unpack_floats, unpack_ints, unpack_labels, unpack_texts
from rundial.server.store.engine import Db, Engine
from rundial.server.store.inbox import KeyName, Kind, Tail, read_tail
from rundial.server.store.refusal import Refusal, invalid

MAX_KEYS = 10_000
"""Series in one export."""
_INT64 = 2**63
Json = dict[str, Any]


class Position(NamedTuple):
    """A point's place in the export: by time, then by key, then by order of arrival."""

    time_ms: int
    name: str
    kind: str
    place: int


class _Part:
    """Consecutive points of a key, in memory already."""

    def __init__(self, times: Ints, steps: Ints, values: Floats | list[str], labels: Labels) -> None:
        self.times = times
        self._steps = steps
        self._values = values
        self._labels = labels

    def point(self, place: int) -> tuple[int, float | str] | None:
        """Step and value of one point; None when they are lost."""
        value = self._values[place]
        return int(self._steps[place]), value if isinstance(value, str) else float(value)

    def label(self, place: int) -> tuple[str | None, dict[str, str] | None]:
        """Stage and context of one point."""
        for count, stage, context in self._labels:
            if place < count:
                return stage, context
            place -= count
        return None, None


class _Stored:
    """The points of a chunk. Of most chunks only the times are looked at, so the rest is unpacked on demand."""

    def __init__(self, place: Place, kind: Kind, times: Ints, packed: Packed) -> None:
        self.times = times
        self._place = place
        self._kind = kind
        self._packed = packed
        self._part: _Part | None = None
        self._is_damaged = False

    def point(self, place: int) -> tuple[int, float | str] | None:
        """Step and value of one point; None when its chunk is damaged."""
        part = self._unpacked()
        return None if part is None else part.point(place)

    def label(self, place: int) -> tuple[str | None, dict[str, str] | None]:
        """Stage and context of one point."""
        part = self._unpacked()
        return (None, None) if part is None else part.label(place)

    def _unpacked(self) -> _Part | None:
        if self._part is None and not self._is_damaged:
            why = damage(self._kind, len(self.times), *self._packed)
            if why is None:
                self._part = self._unpack()
            else:
                self._is_damaged = True
                leave_out(self._place, why)
        return self._part

    def _unpack(self) -> _Part:
        count = len(self.times)
        _, labels, steps, _, vals = self._packed
        values = unpack_texts(vals) if self._kind == "text" else unpack_floats(vals, count)
        return _Part(self.times, unpack_ints(steps, count), values, unpack_labels(labels, count))


class _Series(NamedTuple):
    key: KeyName
    parts: list[_Part | _Stored]


class Exports:
    """Reading raw points. Whether the caller may see the run is asked before, of :class:`Runs`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def metrics(
        self,
        run_id: str,
        keys: Sequence[str] | None,
        start_ms: int,
        end_ms: int,
        limit: int,
        cursor: str | None,
        details: bool = False,
    ) -> Json:
        """At most ``limit`` points between two moments (Unix milliseconds, both included), by time.

        With ``details`` each says its ``order`` of arrival among those of its key, its stage and its context.

        Raises :class:`Refusal`: a cursor that is none, or too many keys.
        """
        after = _position(cursor)
        with self._engine.read() as db:
            series = [_load(db, run_id, key, entry, tail) for key, entry, tail in _keys(db, run_id, keys)]
        chosen = _choose(series, start_ms if after is None else max(start_ms, after.time_ms), end_ms, after, limit + 1)
        found = [_row(series[number], place, ms, details) for ms, number, place in chosen[:limit]]
        rows = [row for row in found if row is not None]
        following: str | None = None
        if len(chosen) > limit:
            ms, number, place = chosen[limit - 1]
            following = _cursor(Position(ms, *series[number].key, place))
        return {"runId": run_id, "rows": rows, "page": {"hasMore": following is not None, "nextCursor": following}}


def _keys(db: Db, run_id: str, names: Sequence[str] | None) -> list[tuple[KeyName, tuple[int, int] | None, Tail]]:
    """The wanted keys by name, with id and reach of their chunks where they have any."""
    wanted = None if names is None else frozenset(names)
    tail = read_tail(db, run_id)
    entries: dict[KeyName, tuple[int, int] | None] = dict.fromkeys(tail.columns)
    for key_id, name, kind, upto in db.execute(
        "SELECT key_id, name, kind, upto FROM metric_keys WHERE run_id = ?", (run_id,)
    ):
        entries[name, kind] = (key_id, upto)
    chosen = sorted(key for key in entries if wanted is None or key[0] in wanted)
    if len(chosen) > MAX_KEYS:
        raise Refusal(
            413, "PAYLOAD_TOO_LARGE", f"The run has more than {MAX_KEYS} series.", "Name up to so many in metricKeys."
        )
    return [(key, entries[key], tail) for key in chosen]


def _load(db: Db, run_id: str, key: KeyName, entry: tuple[int, int] | None, tail: Tail) -> _Series:
    parts: list[_Part | _Stored] = []
    if entry is not None:
        for number, points, *packed in db.execute(
            "SELECT place, points, crcs, labels, steps, times, vals FROM chunks WHERE run_id = ? AND key_id = ?"
            " ORDER BY place",
            (run_id, entry[0]),
        ):
            place = Place(run_id, entry[0], number)
            times = _times(place, points, Packed(*packed))
            if times is not None:
                parts.append(_Stored(place, key[1], times, Packed(*packed)))
    fresh = tail.column(key, entry[1] if entry else 0)
    if fresh is not None:
        parts.append(_Part(fresh.times, fresh.steps, fresh.values, fresh.labels))
    return _Series(key, parts)


def _times(place: Place, points: int, packed: Packed) -> Ints | None:
    """The times of a chunk; None when they are damaged, and the chunk is left out."""
    wrong = differs(packed.crcs, times=packed.times)
    try:
        if wrong is None:
            return unpack_ints(packed.times, points)
    except UNPACKING as error:
        wrong = str(error)
    leave_out(place, wrong)
    return None


def _choose(
    series: Sequence[_Series], start_ms: int, end_ms: int, after: Position | None, count: int
) -> list[tuple[int, int, int]]:
    """Time, series and place of the first ``count`` points that are wanted."""
    times: list[Ints] = []
    owners: list[Ints] = []
    places: list[Ints] = []
    for number, one in enumerate(series):
        begin = 0
        for part in one.parts:
            wanted = (part.times >= start_ms) & (part.times <= end_ms)
            if after is not None:
                former = (after.name, after.kind)
                at_once = part.times == after.time_ms
                if one.key < former:
                    wanted &= ~at_once
                elif one.key == former:
                    wanted &= ~(at_once & (np.arange(begin, begin + len(part.times)) <= after.place))
            found = np.flatnonzero(wanted)
            if len(found) > count:
                found = found[np.argsort(part.times[found], kind="stable")[:count]]
            times.append(part.times[found])
            owners.append(np.full(len(found), number, np.int64))
            places.append(found + begin)
            begin += len(part.times)
    if not times:
        return []
    all_times, all_owners, all_places = np.concatenate(times), np.concatenate(owners), np.concatenate(places)
    order = np.lexsort((all_places, all_owners, all_times))[:count]
    return list(zip(all_times[order].tolist(), all_owners[order].tolist(), all_places[order].tolist()))


def _row(series: _Series, order: int, ms: int, details: bool) -> Json | None:
    """A point as a row; None when its chunk is damaged."""
    place = order
    for part in series.parts:
        if place < len(part.times):
            found = part.point(place)
            if found is None:
                return None
            row: Json = {"metricKey": series.key[0], "step": found[0], "timestampMs": ms, "value": found[1]}
            if details:
                stage, context = part.label(place)
                row |= {"order": order, "stage": stage, "context": context}
            return row
        place -= len(part.times)
    raise AssertionError("a place beyond the series")


def _cursor(position: Position) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def _position(cursor: str | None) -> Position | None:
    if not cursor:
        return None
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        position = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=Position)
    except (ValueError, binascii.Error) as error:
        raise invalid("The cursor is not one of this server.", "Begin again without a cursor.") from error
    if not -_INT64 <= position.time_ms < _INT64 or not -1 <= position.place < _INT64:
        raise invalid("The cursor is not one of this server.", "Begin again without a cursor.")
    return position
