"""Metric keys: what is known of each key of a run without reading its points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rundial.server.store.engine import Db
from rundial.server.store.inbox import Column, KeyName, Kind, Tail, read_tails
from rundial.server.store.lists import marks, parts


class KeyFacts(NamedTuple):
    """What is known of one key of one run: how many points, and the newest: the last of the highest step."""

    name: str
    kind: Kind
    points: int
    last_step: int
    last_ms: int
    last_value: float | str

    def document(self) -> dict[str, Any]:
        return {
            "metricKey": self.name,
            "kind": self.kind,
            "count": self.points,
            "lastStep": self.last_step,
            "lastTimeMs": self.last_ms,
            "lastValue": self.last_value,
        }


class Entry(NamedTuple):
    """A key that chunks are stored of, under its id; they reach up to the row ``upto`` of the inbox."""

    key_id: int
    name: str
    kind: Kind
    upto: int


def key_facts(db: Db, run_ids: Sequence[str], limit: int) -> dict[str, list[KeyFacts]]:
    """Of each run the keys by name, ``limit`` at most, chunks and inbox taken together. Call inside a read snapshot.

    The database is asked as often for many runs as for one.
    """
    known: dict[str, list[tuple[KeyFacts, int]]] = {run_id: [] for run_id in run_ids}
    for run_id, name, kind, points, step, ms, number, text, upto in _rows(db, run_ids, limit):
        facts = KeyFacts(name, kind, points, step, ms, number if kind == "number" else text)
        known[run_id].append((facts, upto))
    found = {run_id: [facts for facts, _ in keys] for run_id, keys in known.items()}
    for run_id, tail in read_tails(db, run_ids):
        found[run_id] = _with_tail(known[run_id], tail, limit)
    return found


_FACTS = "SELECT run_id, name, kind, points, last_step, last_ms, last_number, last_text, upto FROM metric_keys"


def _rows(db: Db, run_ids: Sequence[str], limit: int) -> Iterator[tuple[Any, ...]]:
    """The keys of each run in the order of their names, ``limit`` at most."""
    for part in parts(run_ids):
        # Ids are given out one by one. Of the few runs that have more keys than are wanted no more than those are read.
        wide = {
            row[0]
            for row in db.execute(
                f"SELECT r.run_id FROM runs r WHERE r.run_id IN ({marks(part)})"
                " AND (SELECT max(k.key_id) FROM metric_keys k WHERE k.run_id = r.run_id) > ?",
                (*part, limit),
            )
        }
        others = [run_id for run_id in part if run_id not in wide]
        if others:
            yield from db.execute(f"{_FACTS} WHERE run_id IN ({marks(others)}) ORDER BY run_id, name, kind", others)
        if wide:
            first = f"SELECT * FROM ({_FACTS} WHERE run_id = ? ORDER BY name, kind LIMIT {limit:d}) AS wide"
            together = " UNION ALL ".join([first] * len(wide))
            yield from db.execute(f"{together} ORDER BY run_id, name, kind", tuple(wide))


def _with_tail(known: Sequence[tuple[KeyFacts, int]], tail: Tail, limit: int) -> list[KeyFacts]:
    facts: dict[KeyName, KeyFacts] = {}
    fresh = dict.fromkeys(tail.columns)
    for one, upto in known:
        key = (one.name, one.kind)
        facts[key] = add_facts(one, tail.column(key, upto))
        fresh.pop(key, None)
    # Beyond the limit a key of the inbox may be registered without having been read just now.
    bound = max(facts) if len(facts) == limit else None
    for key in fresh:
        if bound is None or key < bound:
            column = tail.columns[key]
            facts[key] = add_facts(None, column, key)
    return [facts[key] for key in sorted(facts)[:limit]]


def add_facts(known: KeyFacts | None, column: Column | None, key: KeyName | None = None) -> KeyFacts:
    """What is known of a key after ``column`` arrived. ``key`` names one of which nothing was known."""
    if column is None:
        assert known is not None
        return known
    last = column.last()
    step, ms, value = int(column.steps[last]), int(column.times[last]), column.values[last]
    value = value if isinstance(value, str) else float(value)
    if known is None:
        assert key is not None
        return KeyFacts(*key, len(column.steps), step, ms, value)
    points = known.points + len(column.steps)
    if step < known.last_step:
        return known._replace(points=points)
    return KeyFacts(known.name, known.kind, points, step, ms, value)


def registered(db: Db, run_id: str, names: Iterable[str]) -> Iterator[Entry]:
    """Those of the keys that have an id, which is what their chunks are stored under."""
    for part in parts(list(dict.fromkeys(names))):
        rows = db.execute(
            f"SELECT key_id, name, kind, upto FROM metric_keys WHERE run_id = ? AND name IN ({marks(part)})",
            (run_id, *part),
        )
        yield from (Entry(*row) for row in rows.fetchall())
