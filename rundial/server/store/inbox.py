"""The inbox: batches as they arrived, read by key.

Ingest appends each batch as *blocks*, one for each layout (stage, context, keys in this order) among its records: the
numbers as one matrix, row by row, without the keys that every record repeats. The compactor turns them into a column
for each key later. Until then every reader turns the few that are left itself, with :func:`pivot`, so that what is
acknowledged is what is read.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, Literal, NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt

from rundial.events import Metrics
from rundial.server.store.columns import Floats, Ints, Labels
from rundial.server.store.engine import Db
from rundial.server.store.lists import SQL_LIST, marks, parts

Kind = Literal["number", "text"]
KeyName = tuple[str, Kind]
Context = tuple[tuple[str, str], ...] | None
Row = list[float | int | bool | str]
_POINTS_AT_ONCE = 500_000
"""Points of several runs that are in memory at a time."""


class Block(msgspec.Struct, array_like=True, gc=False):
    """The records of one layout in a batch. Arrays are little-endian; times in Unix milliseconds."""

    stage: str | None
    context: dict[str, str] | None
    names: list[str]
    at: bytes
    """int64: the position of each record in the batch; empty when these are all its records."""
    steps: bytes
    """int64"""
    times: bytes
    """int64"""
    values: bytes | list[Row]
    """float64, record by record in the order of ``names``; lists when there is a text among them."""

    @property
    def points(self) -> int:
        return len(self.names) * len(self.steps) // 8

    @property
    def last_step(self) -> int:
        return int(np.frombuffer(self.steps, "<i8").max())

    def numbers(self) -> Floats:
        """The values one after the other, when they are all numbers."""
        assert isinstance(self.values, bytes)
        return np.frombuffer(self.values, "<f8")

    def rows(self) -> list[Row]:
        if isinstance(self.values, list):
            return self.values
        return cast(list[Row], self.numbers().reshape(-1, len(self.names)).tolist())


encode_blocks = msgspec.msgpack.Encoder().encode
_decode_blocks = msgspec.msgpack.Decoder(list[Block]).decode


class Column(NamedTuple):
    """The points of one key in the order they arrived. Times in Unix milliseconds."""

    at: Ints
    """The position of each point's record among the records read."""
    steps: Ints
    times: Ints
    values: Floats | list[str]
    labels: Labels

    def after(self, position: int) -> Column:
        """What came with the records from ``position`` on."""
        start = int(np.searchsorted(self.at, position))
        if start == 0:
            return self
        return Column(
            self.at[start:], self.steps[start:], self.times[start:], self.values[start:], skip(self.labels, start)
        )

    def last(self) -> int:
        """The index of the newest point: of the highest step the one that arrived last."""
        return len(self.steps) - 1 - int(np.argmax(self.steps[::-1]))


class _Row(NamedTuple):
    """A row of the inbox."""

    id: int
    records: int
    points: int
    data: bytes


class Tail(NamedTuple):
    """Rows of a run's inbox, decoded: ``ids`` ascend, and record ``starts[i]`` is the first of row ``ids[i]``."""

    ids: list[int]
    starts: list[int]
    columns: dict[KeyName, Column]

    def column(self, name: KeyName, upto: int) -> Column | None:
        """What the rows behind row ``upto`` say of a key: the rows up to it are in the key's chunks already."""
        column = self.columns.get(name)
        if column is None or not self.ids or upto < self.ids[0]:
            return column
        row = bisect_right(self.ids, upto)
        if row == len(self.ids):
            return None
        column = column.after(self.starts[row])
        return column if len(column.steps) else None


def read_tail(db: Db, run_id: str, max_points: int | None = None) -> Tail:
    """The rows of a run's inbox, oldest first; with ``max_points`` as many whole rows as hold them, at least one."""
    rows = db.execute("SELECT id, records, points, data FROM inbox WHERE run_id = ? ORDER BY id", (run_id,))
    return _tail(map(_Row._make, rows), max_points)


def _tail(rows: Iterable[_Row], max_points: int | None) -> Tail:
    ids: list[int] = []
    starts: list[int] = []
    batches: list[tuple[int, list[Block]]] = []
    records = points = 0
    for row in rows:
        if max_points is not None and ids and points + row.points > max_points:
            break
        ids.append(row.id)
        starts.append(records)
        batches.append((records, _decode_blocks(row.data)))
        records += row.records
        points += row.points
    return Tail(ids, starts, pivot(batches))


def read_tails(db: Db, run_ids: Sequence[str]) -> Iterator[tuple[str, Tail]]:
    """:func:`read_tail` of those of the runs that have something in the inbox, a bounded part of them at a time."""
    waiting: list[tuple[str, int]] = []
    for part in parts(run_ids):
        waiting += db.execute(
            f"SELECT run_id, sum(points) FROM inbox WHERE run_id IN ({marks(part)}) GROUP BY run_id", part
        ).fetchall()
    while waiting:
        together = [run_id for run_id, _ in waiting[: _how_many([points for _, points in waiting])]]
        del waiting[: len(together)]
        rows: dict[str, list[_Row]] = {run_id: [] for run_id in together}
        for run_id, *row in db.execute(
            f"SELECT run_id, id, records, points, data FROM inbox WHERE run_id IN ({marks(together)})"
            " ORDER BY run_id, id",
            together,
        ):
            rows[run_id].append(_Row(*row))
        for run_id in together:
            yield run_id, _tail(rows.pop(run_id), None)


def _how_many(points: Sequence[int]) -> int:
    """How many of the first runs are read at once, given the points of each: at least one."""
    return max(1, sum(total <= _POINTS_AT_ONCE for total in accumulate(points[:SQL_LIST])))


def blocks_of(records: Sequence[Metrics]) -> list[Block]:
    """A batch as blocks. Raises OverflowError when a step or a time does not fit into 64 bits."""
    if _is_uniform(records):
        return [_block(records, b"")]
    groups: dict[tuple[object, ...], list[int]] = {}
    for position, record in enumerate(records):
        groups.setdefault((record.stage, _frozen(record.context), tuple(record.values)), []).append(position)
    return [_block([records[i] for i in at], np.array(at, "<i8").tobytes()) for at in groups.values()]


def _is_uniform(records: Sequence[Metrics]) -> bool:
    """Whether all records have the same keys in the same order and one stage: the rule in a training loop."""
    return (
        len({tuple(record.values) for record in records}) == 1
        and len({record.stage for record in records}) == 1
        and not any(record.context for record in records)
    )


def _block(records: Sequence[Metrics], at: bytes) -> Block:
    first = records[0]
    rows = [record.values.values() for record in records]
    values: bytes | list[Row]
    try:
        # array() takes numbers alone, where NumPy would read the text "1.5" as one.
        values = np.array(array("d", cast(Iterable[float], chain.from_iterable(rows))), "<f8").tobytes()
    except TypeError:
        values = [list(row) for row in rows]
    steps = np.array([record.step for record in records], "<i8")
    times = np.array([record.time_ns for record in records], "<i8") // 1_000_000
    return Block(first.stage, first.context or None, list(first.values), at, steps.tobytes(), times.tobytes(), values)


def _frozen(context: dict[str, str] | None) -> Context:
    return tuple(sorted(context.items())) if context else None


def pivot(batches: Iterable[tuple[int, list[Block]]]) -> dict[KeyName, Column]:
    """Batches to points by key, in the order of the records; with each batch the position of its first record."""
    layouts: dict[tuple[object, ...], list[tuple[int, Block]]] = {}
    for start, blocks in batches:
        for block in blocks:
            layout = (block.stage, _frozen(block.context), tuple(block.names))
            layouts.setdefault(layout, []).append((start, block))
    pieces: dict[KeyName, list[Column]] = {}
    for group in layouts.values():
        for name, column in _columns(group):
            pieces.setdefault(name, []).append(column)
    return {name: parts[0] if len(parts) == 1 else _interleave(parts) for name, parts in pieces.items()}


def _columns(group: list[tuple[int, Block]]) -> Iterable[tuple[KeyName, Column]]:
    """The columns of blocks of one layout."""
    blocks = [block for _, block in group]
    first = blocks[0]
    steps = np.frombuffer(b"".join([block.steps for block in blocks]), "<i8")
    times = np.frombuffer(b"".join([block.times for block in blocks]), "<i8")
    at = np.concatenate([_positions(start, block) for start, block in group])
    shared = Column(at, steps, times, [], [(len(steps), first.stage, first.context)])
    values = [block.values for block in blocks]
    if all(isinstance(part, bytes) for part in values):
        matrix = np.frombuffer(b"".join(cast(list[bytes], values)), "<f8").reshape(len(steps), len(first.names))
        for name, numbers in zip(first.names, np.ascontiguousarray(matrix.T)):
            yield (name, "number"), shared._replace(values=numbers)
    else:
        rows = [row for block in blocks for row in block.rows()]
        for name, column in zip(first.names, zip(*rows)):
            yield from _mixed_columns(name, column, shared)


def _positions(start: int, block: Block) -> Ints:
    if block.at:
        return np.frombuffer(block.at, "<i8") + start
    return np.arange(start, start + len(block.steps) // 8, dtype=np.int64)


def _mixed_columns(name: str, values: Sequence[Any], shared: Column) -> Iterable[tuple[KeyName, Column]]:
    _, stage, context = shared.labels[0]
    is_text = np.array([isinstance(value, str) for value in values])
    kinds: tuple[tuple[Kind, npt.NDArray[np.bool_]], ...] = (("number", ~is_text), ("text", is_text))
    for kind, mask in kinds:
        chosen = [value for value, wanted in zip(values, mask) if wanted]
        if chosen:
            yield (
                (name, kind),
                Column(
                    shared.at[mask],
                    shared.steps[mask],
                    shared.times[mask],
                    chosen if kind == "text" else np.array(chosen, np.float64),
                    [(len(chosen), stage, context)],
                ),
            )


def _interleave(parts: list[Column]) -> Column:
    """One key's points out of several groups of records, in the order of the records."""
    at = np.concatenate([part.at for part in parts])
    order = np.argsort(at, kind="stable")
    values: Floats | list[str]
    if isinstance(parts[0].values, list):
        texts = [text for part in parts for text in part.values]
        values = [texts[i] for i in order]
    else:
        values = np.concatenate([part.values for part in parts])[order]
    return Column(
        at[order],
        np.concatenate([part.steps for part in parts])[order],
        np.concatenate([part.times for part in parts])[order],
        values,
        _ordered_labels(parts, order),
    )


def _ordered_labels(parts: list[Column], order: Ints) -> Labels:
    owners = np.repeat(np.arange(len(parts)), [len(part.at) for part in parts])[order]
    bounds = np.flatnonzero(np.diff(owners, prepend=-1))
    lengths = np.diff(bounds, append=len(owners))
    return join_labels([(int(n), *parts[owners[i]].labels[0][1:]) for i, n in zip(bounds, lengths)])


def join_labels(labels: Labels) -> Labels:
    """Equal neighbours as one."""
    joined: Labels = []
    for count, stage, context in labels:
        if joined and joined[-1][1:] == (stage, context):
            joined[-1] = (joined[-1][0] + count, stage, context)
        else:
            joined.append((count, stage, context))
    return joined


def skip(labels: Labels, points: int) -> Labels:
    """The labels without those of the first ``points`` points."""
    left: Labels = []
    for count, stage, context in labels:
        if count > points:
            left.append((count - points, stage, context))
        points = max(0, points - count)
    return left
