"""The inbox: records by row to points by key."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from rundial.events import Metrics
from rundial.server.store.inbox import Block, KeyName, blocks_of, encode_blocks, pivot

RECORD = st.builds(
    Metrics,
    time_ns=st.integers(-(2**63), 2**63 - 1),
    step=st.integers(-(2**63), 2**63 - 1),
    values=st.dictionaries(
        st.sampled_from("abc"), st.floats(allow_nan=False) | st.integers(-9, 9) | st.booleans() | st.text(max_size=3)
    ).filter(bool),
    stage=st.none() | st.just("train"),
    context=st.none() | st.just({"subset": "x"}),
)


def point_by_point(records: list[Metrics]) -> dict[KeyName, list[tuple[object, ...]]]:
    """What the inbox should say of the records, found the slow way."""
    found: dict[KeyName, list[tuple[object, ...]]] = {}
    for at, record in enumerate(records):
        for key, value in record.values.items():
            point = (at, record.step, record.time_ns // 1_000_000, value, record.stage, record.context)
            found.setdefault((key, "text" if isinstance(value, str) else "number"), []).append(point)
    return found


@settings(deadline=None)
@given(st.lists(st.lists(RECORD, max_size=6), max_size=4))
def test_every_point_comes_back_under_its_key(batches: list[list[Metrics]]) -> None:
    """Whatever the records have in common, each point keeps its place, step, time, value, stage and context."""
    stored: list[tuple[int, list[Block]]] = []
    records: list[Metrics] = []
    for batch in batches:
        data = encode_blocks(blocks_of(batch))
        stored.append((len(records), msgspec.msgpack.decode(data, type=list[Block])))
        records += batch
    found = {}
    for name, column in pivot(stored).items():
        labels = [(stage, context) for count, stage, context in column.labels for _ in range(count)]
        points = zip(column.at, column.steps, column.times, column.values, labels, strict=True)
        found[name] = [(at, step, time, value, *label) for at, step, time, value, label in points]
    assert found == point_by_point(records)
