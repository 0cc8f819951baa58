"""Series: the points of a run by key, whole or summed up in buckets for a chart.

A key's points are its chunks and, behind them, what the inbox has beyond the row the chunks reach (``upto``). Both
are read in one snapshot, so that a point is seen once however far the compactor is. The latest point by order of
arrival wins its step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rundial.server.store.chunks import UNPACKING, Place, differs, leave_out
from rundial.server.store.columns import Floats, Ints, read_floats, read_ints, unpack_texts
from rundial.server.store.engine import Db, Engine
from rundial.server.store.inbox import KeyName, Kind, Tail, read_tail
from rundial.server.store.metric_keys import Entry, key_facts, registered

Window = tuple[float | None, float | None]
"""Smallest and largest step; None for no bound."""

_MOST = float(2**63)


class Buckets(NamedTuple):
    """One series for a chart; ``count`` points went into arrays of equal length (float64)."""

    run_id: str
    key: str
    count: int  # type: ignore[assignment]  # tuple.count() is of no use here
    x: Floats
    min: Floats
    max: Floats
    mean: Floats
    last: Floats


class Points(NamedTuple):
    """A series by ascending step, one point for each."""

    kind: Kind
    steps: Ints
    times: Ints
    """Unix milliseconds; empty when they were not asked for."""
    values: Floats | list[str]


class _Chunk(NamedTuple):
    """What is read of a chunk; ``times`` are empty when they were not asked for."""

    key_id: int
    place: int
    points: int
    crcs: bytes | None
    steps: bytes
    times: bytes
    values: bytes


class Series:
    """Reading series. Whether the caller may see the run is asked before, of :class:`Runs`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keys(self, run_id: str, limit: int) -> list[dict[str, Any]]:
        """The run's metric keys by name, ``limit`` at most."""
        with self._engine.read() as db:
            return [facts.document() for facts in key_facts(db, [run_id], limit)[run_id]]

    def points(self, run_id: str, keys: Sequence[str], *, max_points: int | None, order: str) -> list[dict[str, Any]]:
        """The latest value of every step of each key, thinned evenly to ``max_points`` with the newest among them."""
        found: dict[str, Points] = {}
        with self._engine.read() as db:
            for name, points in _load(db, run_id, keys):
                if name not in found or points.kind == "number":
                    found[name] = points
        return [_document(name, found.get(name), max_points, order) for name in keys]

    def buckets(
        self,
        run_ids: Sequence[str],
        keys: Sequence[str],
        *,
        x: str,
        buckets: int,
        start: float | None,
        end: float | None,
        over: str | None = None,
        log: bool = False,
    ) -> list[Buckets]:
        """Every number series of the runs in at most ``buckets`` buckets between ``start`` and ``end``.

        Args:
            x: ``step``, ``relative`` (seconds since the run began), ``wall`` (Unix seconds) or ``metric`` (the values
                of the key ``over``); also the unit of ``start`` and ``end``, which are both included; None means
                where the series begins or ends.
            log: buckets of equal width in the logarithm of x; what is not positive is left out.
        """
        answer: list[Buckets] = []
        for run_id in run_ids:
            with self._engine.read() as db:
                row = db.execute("SELECT started_ms FROM runs WHERE run_id = ?", (run_id,)).fetchone()
                zero_ms = row[0] if row and x == "relative" else 0
                axis = _numbers(db, run_id, over or "") if x == "metric" else None
                if x == "metric" and axis is None:
                    continue
                window = (start, end) if x == "step" else (None, None)
                for name, points in _load(db, run_id, keys, window, times=x in ("relative", "wall")):
                    if isinstance(points.values, list):
                        continue
                    values = points.values
                    if axis is not None:
                        position, values = as_of(*axis, points.steps, values)
                    else:
                        position = points.steps.astype(np.float64) if x == "step" else (points.times - zero_ms) / 1000
                    summary = summarise(position, values, buckets, start, end, log=log, merge=x == "metric")
                    answer.append(Buckets(run_id, name, *summary))
        return answer


def as_of(axis_steps: Ints, axis: Floats, steps: Ints, values: Floats) -> tuple[Floats, Floats]:
    """What ``axis`` was when each value was logged: its newest value up to that step, and the values.

    All are one-dimensional, steps ascending; values before the first of ``axis`` are left out.
    """
    at = np.searchsorted(axis_steps, steps, "right") - 1
    known = at >= 0
    return axis[at[known]], values[known]


def summarise(
    x: Floats,
    values: Floats,
    buckets: int,
    start: float | None,
    end: float | None,
    *,
    log: bool = False,
    merge: bool = False,
) -> tuple[int, Floats, Floats, Floats, Floats, Floats]:
    """Count, x, min, max, mean and last of each bucket that is not empty; the points themselves if they are few.

    The buckets divide ``start`` to ``end``, or the series' own range, evenly (with ``log`` its logarithm); a bucket's x
    is that of its last point. ``merge`` makes one bucket of all points at the same x, such as those of one epoch.
    """
    if len(x) > 1 and (x[1:] < x[:-1]).any():
        order = np.argsort(x, kind="stable")
        x, values = x[order], values[order]
    low = 0 if start is None else int(np.searchsorted(x, start, "left"))
    if log:
        low = max(low, int(np.searchsorted(x, 0, "right")))
    high = len(x) if end is None else int(np.searchsorted(x, end, "right"))
    x, values = x[low:high], values[low:high]
    if merge and len(x):
        begins = np.append(0, np.flatnonzero(x[1:] != x[:-1]) + 1)
    else:
        begins = np.arange(len(x) if len(x) <= buckets else 0)
    if len(begins) == len(x) and len(x) <= buckets:
        return len(x), x, values, values, values, values
    if not 0 < len(begins) <= buckets:
        first = x[0] if start is None or (log and start <= 0) else max(start, -_MOST)
        last = x[-1] if end is None else min(end, _MOST)
        edges = (np.geomspace if log else np.linspace)(first, last, buckets + 1)[:-1]
        begins = np.searchsorted(x, edges, "left")
        begins[0] = 0  # of a logarithm and back the first edge may come out a little above the first x
        # They ascend already; np.unique would import numpy.ma at the first read, which takes longer than the read.
        begins = begins[(np.diff(begins, prepend=-1) > 0) & (begins < len(x))]
    ends = np.append(begins[1:], len(x)) - 1
    return (
        len(x),
        x[ends],
        np.minimum.reduceat(values, begins),
        np.maximum.reduceat(values, begins),
        _means(values, begins, ends),
        values[ends],
    )


def _means(values: Floats, begins: Ints, ends: Ints) -> Floats:
    counts = ends - begins + 1
    with np.errstate(over="ignore", invalid="ignore"):
        means: Floats = np.add.reduceat(values, begins) / counts
        if not np.isfinite(means).all():  # the sum of finite values may be beyond float64, their mean is not
            means = np.add.reduceat(values / np.repeat(counts, counts), begins)
    return means


def latest_by_step(steps: Ints) -> npt.NDArray[np.intp] | None:
    """Indexes of the last point of every step, by step; None when the steps ascend already and all points count."""
    if len(steps) < 2 or (steps[1:] > steps[:-1]).all():
        return None
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    latest: npt.NDArray[np.intp] = order[np.append(ordered[1:] != ordered[:-1], True)]
    return latest


def _numbers(db: Db, run_id: str, key: str) -> tuple[Ints, Floats] | None:
    for _, points in _load(db, run_id, [key], times=False):
        if not isinstance(points.values, list):
            return points.steps, points.values
    return None


def _load(
    db: Db,
    run_id: str,
    keys: Sequence[str],
    window: Window = (None, None),
    times: bool = True,
) -> Iterator[tuple[str, Points]]:
    tail = read_tail(db, run_id)
    entries = {(entry.name, entry.kind): entry for entry in registered(db, run_id, keys)}
    kinds: tuple[Kind, ...] = ("number", "text")
    for key in dict.fromkeys(keys):
        for kind in kinds:
            points = _points(db, run_id, (key, kind), entries.get((key, kind)), tail, window, times)
            if points is not None:
                yield key, points


def _points(
    db: Db,
    run_id: str,
    key: KeyName,
    entry: Entry | None,
    tail: Tail,
    window: Window,
    want_times: bool,
) -> Points | None:
    """A key's points, latest of each step. What is not wanted is not read; the rest is unpacked where it belongs."""
    fresh = tail.column(key, entry.upto if entry else 0)
    stored = _stored(db, run_id, entry.key_id, window) if entry else 0
    count = stored + (len(fresh.steps) if fresh else 0)
    if not count:
        return None
    steps = np.empty(count, "<i8")
    times = np.empty(count if want_times else 0, "<i8")
    values: Floats | list[str] = [] if key[1] == "text" else np.empty(count, "<f8")
    at = 0
    for chunk in _chunks(db, run_id, entry, window, want_times) if entry else ():
        end = at + chunk.points
        try:
            _unpack(chunk, steps[at:end], times[at:end] if want_times else None, values, at)
        except UNPACKING as error:
            leave_out(Place(run_id, chunk.key_id, chunk.place), str(error))
            continue
        at = end
    end = at + (len(fresh.steps) if fresh else 0)
    if end < count:  # something was left out
        steps, times = steps[:end], times[:end]
        values = values if isinstance(values, list) else values[:end]
    if fresh is not None:
        steps[at:] = fresh.steps
        if want_times:
            times[at:] = fresh.times
        values[at:] = fresh.values
    return _settled(Points(key[1], steps, times, values)) if end else None


def _unpack(chunk: _Chunk, steps: Ints, times: Ints | None, values: Floats | list[str], at: int) -> None:
    """A chunk's points into arrays of their length, its values from ``at`` on. Raises one of ``UNPACKING``: damaged."""
    columns = {"steps": chunk.steps, "vals": chunk.values} | ({} if times is None else {"times": chunk.times})
    wrong = differs(chunk.crcs, **columns)
    if wrong is not None:
        raise ValueError(f"{wrong} are not what was written")
    read_ints(chunk.steps, steps)
    if times is not None:
        read_ints(chunk.times, times)
    if not isinstance(values, list):
        read_floats(chunk.values, values[at : at + chunk.points])
        return
    texts = unpack_texts(chunk.values)
    if len(texts) != chunk.points:
        raise ValueError(f"{len(texts)} values for {chunk.points} points")
    values += texts


_IN_WINDOW = " FROM chunks WHERE run_id = ? AND key_id = ? AND max_step >= ? AND min_step <= ?"
"""One without a step in the window cannot change the latest value of a step in it."""


def _stored(db: Db, run_id: str, key_id: int, window: Window) -> int:
    found = db.execute("SELECT sum(points)" + _IN_WINDOW, (run_id, key_id, *_bounds(window))).fetchone()
    return found[0] or 0


def _chunks(db: Db, run_id: str, entry: Entry, window: Window, want_times: bool) -> Iterator[_Chunk]:
    """Chunks in order of arrival."""
    times = "times" if want_times else "NULL"
    rows = db.execute(
        f"SELECT key_id, place, points, crcs, steps, {times}, vals{_IN_WINDOW} ORDER BY place",
        (run_id, entry.key_id, *_bounds(window)),
    )
    return map(_Chunk._make, rows)


def _bounds(window: Window) -> tuple[float, float]:
    start, end = window
    return -_MOST if start is None else start, _MOST if end is None else end


def _settled(points: Points) -> Points:
    chosen = latest_by_step(points.steps)
    return points if chosen is None else _take(points, chosen)


def _take(points: Points, chosen: npt.NDArray[np.intp]) -> Points:
    values = points.values
    taken = [values[i] for i in chosen] if isinstance(values, list) else values[chosen]
    times = points.times[chosen] if len(points.times) else points.times
    return Points(points.kind, points.steps[chosen], times, taken)


def _document(name: str, points: Points | None, max_points: int | None, order: str) -> dict[str, Any]:
    if points is None:
        return {"metricKey": name, "kind": "number", "count": 0, "points": []}
    count = len(points.steps)
    if max_points is not None and count > max_points:
        # Counted from the end, so that the newest step is there even if there is but one place.
        points = _take(points, count - 1 - np.linspace(0, count - 1, max(1, max_points)).round().astype(np.intp)[::-1])
    rows = [
        {"step": step, "timestampMs": ms, "value": value}
        for step, ms, value in zip(points.steps.tolist(), points.times.tolist(), _plain(points.values))
    ]
    if order == "desc":
        rows.reverse()
    return {"metricKey": name, "kind": points.kind, "count": count, "points": rows}


def _plain(values: Floats | list[str]) -> list[Any]:
    return values if isinstance(values, list) else values.tolist()
