"""The compactor: turns the inbox into chunks of columns, beside the writer and out of its way.

One thread reads a bounded part of a run's inbox, sorts it by key and packs it, all on a read snapshot; the results are
swapped in by small transactions of the writer, a few keys each. Every key remembers the last inbox row its chunks
hold (``metric_keys.upto``), and readers and the next pass ignore a key's rows up to there; so a stop between two
swaps neither loses nor doubles a point. A pass ends by deleting exactly the rows that were read. Inbox ids of
a run ascend in the order of commits because one writer at a time has the run.

A pass over a busy run waits until there is much to do, because its cost is mostly by key and not by point. New points
join the key's newest chunks while those are short, and again when all that are not full make a full one: so a point
is rewritten a few times only, and the chunks of a finished run are few.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np

from rundial.server.store.chunks import Place, checksums, damage, leave_out
from rundial.server.store.columns import (
    Floats,
    Ints,
    pack_floats,
    pack_ints,
    pack_labels,
    pack_texts,
    unpack_floats,
    unpack_ints,
    unpack_labels,
    unpack_texts,
)
from rundial.server.store.engine import Db, Engine, StoreError
from rundial.server.store.inbox import Column, KeyName, Tail, join_labels, read_tail
from rundial.server.store.metric_keys import KeyFacts, add_facts

log = logging.getLogger(__name__)
T = TypeVar("T")

CHUNK_POINTS = 32_768
"""Chunks are joined up to this; what a single pass brings of one key may be longer."""
TEXT_CHUNK_POINTS = 512
SETTLED_POINTS = 1_024
"""A chunk of this many points is left alone until it can become part of a full one."""
PASS_POINTS = 500_000
"""Points read at a time, which is what bounds the compactor's memory."""
FULL_POINTS = 300_000
FULL_MILLISECONDS = 5_000
SWAP_KEYS = 64
TICK_SECONDS = 0.25
_NEWEST = 48
"""How many of a key's chunks are looked at: there are never more that are not full."""
_FULL = 5 / 8
"""From this part of the most points a chunk is full: equal parts of any length up to half of them fill one."""


class _Known(NamedTuple):
    """A key's row in the registry."""

    key_id: int
    facts: KeyFacts
    upto: int


class _Old(NamedTuple):
    """A chunk that new points join."""

    place: int
    points: int
    crcs: bytes | None
    labels: bytes | None
    steps: bytes
    times: bytes
    values: bytes


class _PackedInts(NamedTuple):
    data: bytes
    least: int
    most: int


_SHARED_MOST = 64
_Shared = dict[tuple[object, ...], _PackedInts]
"""Steps and times that were packed in this pass, by what they were made of: most keys of a run share theirs."""


class _Swap(NamedTuple):
    """One key's new chunk, and what it replaces: ``old`` chunks from ``place`` on."""

    registry: tuple[Any, ...]
    """The key's new row; last, the ``upto`` it has so far."""
    key_id: int
    place: int
    old: int
    chunk: tuple[Any, ...]


class Compactor:
    """Keeps the inbox short. ``every_tick`` is called on each tick too, for other housekeeping."""

    def __init__(self, engine: Engine, every_tick: Callable[[], None]) -> None:
        self._engine = engine
        self._every_tick = every_tick
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="rundial-store-compactor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the swap at hand; what is left in the inbox is compacted after the next start."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            self._guarded(self._every_tick)
            due = self._guarded(self._due) or []
            if not due:
                self._guarded(self._tidy)
            for run_id in due:
                self._guarded(lambda run_id=run_id: self._drain(run_id))  # type: ignore[misc]

    def _guarded(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except (self._engine.error, StoreError) as error:
            # A full disk heals; until then everything stays readable in the inbox.
            log.error("compaction waits for the next tick: %s", error)
        except Exception:  # whatever is wrong with one run, the thread must go on for the others
            log.exception("compaction failed")
        return None

    def _drain(self, run_id: str) -> None:
        """Passes over one run until its inbox is short; a busy run gives way to the others after a few."""
        with self._engine.claim(f"compact {run_id}") as mine:
            for _ in range(8 if mine else 0):
                if self._stop.is_set() or compact(self._engine, run_id, stop=self._stop) < FULL_POINTS:
                    return

    def _tidy(self) -> None:
        """Give back unused pages, but not those that the batches of a busy run are about to use again."""
        with self._engine.read() as db:
            waiting = db.execute("SELECT 1 FROM inbox LIMIT 1").fetchone()
        if waiting is None:
            self._engine.tidy()

    def _due(self) -> list[str]:
        old = time.time_ns() // 1_000_000 - FULL_MILLISECONDS
        with self._engine.read() as db:
            rows = db.execute(
                "SELECT run_id, sum(points), min(received_ms),"
                " (SELECT status FROM runs WHERE runs.run_id = inbox.run_id) FROM inbox GROUP BY run_id"
            ).fetchall()
        return [
            run for run, points, since, status in rows if points >= FULL_POINTS or since <= old or status != "running"
        ]


def compact(engine: Engine, run_id: str, max_points: int = PASS_POINTS, stop: threading.Event | None = None) -> int:
    """One pass over a run's inbox; returns how many points it took in, 0 when ``stop`` was set on the way.

    A run that is removed on the way stays removed.

    Only one pass of a run at a time; a second one changes nothing: it is refused with :class:`StoreError`, or has
    nothing to do any more.
    """
    with engine.read() as db:
        tail = read_tail(db, run_id, max_points)
        if not tail.ids:
            return 0
        known, next_id = _registry(db, run_id)
        fresh = _fresh(tail, known, next_id)
        work = iter(fresh)
        shared: _Shared = {}
        while batch := list(islice(work, SWAP_KEYS)):
            if stop is not None and stop.is_set():
                return 0
            swaps = [_prepare(db, run_id, column, row, tail.ids[-1], shared) for row, column in batch]
            swapped = engine.write(lambda writer, swaps=swaps: _swap(writer, run_id, tail.ids[0], swaps), run_id=run_id)  # type: ignore[misc]
            if not swapped.result():
                return 0
    engine.write(lambda writer: _forget(writer, run_id, tail.ids), run_id=run_id).result()
    return sum(len(column.steps) for column in tail.columns.values())


def _registry(db: Db, run_id: str) -> tuple[dict[KeyName, _Known], int]:
    known: dict[KeyName, _Known] = {}
    next_id = 1
    for key_id, name, kind, points, step, ms, number, text, upto in db.execute(
        "SELECT key_id, name, kind, points, last_step, last_ms, last_number, last_text, upto"
        " FROM metric_keys WHERE run_id = ?",
        (run_id,),
    ):
        facts = KeyFacts(name, kind, points, step, ms, number if kind == "number" else text)
        known[name, kind] = _Known(key_id, facts, upto)
        next_id = max(next_id, key_id + 1)
    return known, next_id


def _fresh(tail: Tail, known: dict[KeyName, _Known], next_id: int) -> list[tuple[_Known, Column]]:
    """The keys that have something new, with what the registry is to say of them."""
    fresh: list[tuple[_Known, Column]] = []
    for name in tail.columns:
        row = known.get(name)
        column = tail.column(name, row.upto if row else 0)
        if column is None:
            continue
        if row is None:
            fresh.append((_Known(next_id, add_facts(None, column, name), 0), column))
            next_id += 1
        else:
            fresh.append((row._replace(facts=add_facts(row.facts, column)), column))
    return fresh


def _prepare(db: Db, run_id: str, column: Column, row: _Known, upto: int, shared: _Shared) -> _Swap:
    is_text = row.facts.kind == "text"
    place, count = _joining(db, run_id, row.key_id, len(column.steps), TEXT_CHUNK_POINTS if is_text else CHUNK_POINTS)
    old = _chunks_from(db, run_id, row.key_id, place) if count else []
    place, old = _behind_damage(Place(run_id, row.key_id, place), row.facts.kind, old)
    points = [chunk.points for chunk in old]
    steps = _join_ints(points, [chunk.steps for chunk in old], column.steps, shared)
    times = _join_ints(points, [chunk.times for chunk in old], column.times, shared)
    labels = [label for chunk in old for label in unpack_labels(chunk.labels, chunk.points)]
    packed = (
        pack_labels(join_labels([*labels, *column.labels])),
        steps.data,
        times.data,
        _join_values(points, [chunk.values for chunk in old], column.values),
    )
    facts = row.facts
    number, text = (None, facts.last_value) if is_text else (facts.last_value, None)
    return _Swap(
        (
            run_id,
            row.key_id,
            facts.name,
            facts.kind,
            facts.points,
            facts.last_step,
            facts.last_ms,
            number,
            text,
            upto,
            row.upto,
        ),
        row.key_id,
        place,
        len(old),
        (sum(points) + len(column.steps), steps.least, steps.most, *packed, checksums(*packed)),
    )


def _behind_damage(start: Place, kind: str, old: list[_Old]) -> tuple[int, list[_Old]]:
    """Where the new chunk goes, and what joins it: a damaged one stays as it is, to be found and not to be spread."""
    for number in range(len(old), 0, -1):
        chunk = old[number - 1]
        why = damage(kind, *chunk[1:])
        if why is not None:
            leave_out(start._replace(place=chunk.place), why)
            return chunk.place + 1, old[number:]
    return start.place, old


def _joining(db: Db, run_id: str, key_id: int, new: int, most: int) -> tuple[int, int]:
    """Where the new chunk goes, and how many of the newest chunks go into it."""
    rows = db.execute(
        "SELECT place, points FROM chunks WHERE run_id = ? AND key_id = ? ORDER BY place DESC LIMIT ?",
        (run_id, key_id, _NEWEST),
    ).fetchall()
    count = how_many_join(new, [points for _, points in rows], most)
    if count:
        return rows[count - 1][0], count
    return (rows[0][0] + 1 if rows else 0), 0


def how_many_join(new: int, newest: Sequence[int], most: int) -> int:
    """How many of a key's chunks ``new`` points join, given the lengths of its chunks, the newest first."""
    total = new
    filling = 0
    for points in newest:
        if points >= _FULL * most or total + points > most:
            break
        total += points
        filling += 1
    if total >= _FULL * most:
        return filling
    total = new
    for joined, points in enumerate(newest[:filling]):
        if total >= SETTLED_POINTS or points > 2 * total:
            return joined
        total += points
    return filling


def _chunks_from(db: Db, run_id: str, key_id: int, place: int) -> list[_Old]:
    rows = db.execute(
        "SELECT place, points, crcs, labels, steps, times, vals FROM chunks WHERE run_id = ? AND key_id = ?"
        " AND place >= ? ORDER BY place",
        (run_id, key_id, place),
    )
    return [_Old(*row) for row in rows]


def _join_ints(points: list[int], old: list[bytes], new: Ints, shared: _Shared) -> _PackedInts:
    # The arrays of a pass live as long as it does, so that an id is never another's.
    source = (id(new), *points, *old)
    found = shared.get(source)
    if found is None:
        if len(shared) >= _SHARED_MOST:  # these keys share little, and what they do not would only take memory
            shared.clear()
        joined = np.concatenate([*map(unpack_ints, old, points), new])
        found = shared[source] = _PackedInts(pack_ints(joined), int(joined.min()), int(joined.max()))
    return found


def _join_values(points: list[int], old: list[bytes], new: Floats | list[str]) -> bytes:
    if isinstance(new, list):
        return pack_texts([text for data in old for text in unpack_texts(data)] + new)
    return pack_floats(np.concatenate([*map(unpack_floats, old, points), new]))


def _swap(db: Db, run_id: str, first_id: int, swaps: list[_Swap]) -> bool:
    """Put new chunks in the place of old ones; False when their inbox is gone: a removed run, or a quicker pass."""
    if db.execute("SELECT 1 FROM inbox WHERE run_id = ? AND id = ?", (run_id, first_id)).fetchone() is None:
        return False
    for swap in swaps:
        if swap.old:
            gone = db.execute(
                "DELETE FROM chunks WHERE run_id = ? AND key_id = ? AND place >= ?", (run_id, swap.key_id, swap.place)
            ).rowcount
            if gone != swap.old:
                raise StoreError(f"chunks of {run_id} changed during compaction; it will be tried again.")
    known = db.executemany(
        "INSERT INTO metric_keys (run_id, key_id, name, kind, points, last_step, last_ms, last_number, last_text, upto)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run_id, key_id) DO UPDATE SET points = excluded.points, last_step = excluded.last_step,"
        " last_ms = excluded.last_ms, last_number = excluded.last_number, last_text = excluded.last_text,"
        " upto = excluded.upto WHERE metric_keys.upto = ?",
        [swap.registry for swap in swaps],
    ).rowcount
    if known != len(swaps):
        raise StoreError(f"keys of {run_id} changed during compaction; it will be tried again.")
    db.executemany(
        "INSERT INTO chunks (run_id, key_id, place, points, min_step, max_step, labels, steps, times, vals, crcs)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(run_id, swap.key_id, swap.place, *swap.chunk) for swap in swaps],
    )
    return True


def _forget(db: Db, run_id: str, ids: list[int]) -> None:
    # Exactly the rows that were read; never "up to".
    db.executemany("DELETE FROM inbox WHERE run_id = ? AND id = ?", [(run_id, row_id) for row_id in ids])
