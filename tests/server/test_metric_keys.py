"""What is known of the keys of many runs, without their points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rundial.server.store import Store
from rundial.server.store.compactor import compact
from rundial.server.store.metric_keys import key_facts
from tests.server.streams import Stream


def test_each_run_has_its_first_keys(tmp_path: Path, open_store: Callable[[Path], Store]) -> None:
    """As many as are asked for, by name: of runs with few keys and with many, compacted, waiting, or both."""
    store = open_store(tmp_path)
    store._compactor.stop()
    expected: dict[str, list[tuple[str, float]]] = {}
    for number in range(12):
        stream = Stream(store, f"run_{number:02d}")
        stream.start()
        known: dict[str, float] = {}
        for step, (first, last) in enumerate([(0, number), (number // 2, number + number % 3)]):
            values = {f"key_{(7 * key) % 20:02d}": float(step * 100 + key) for key in range(first, last)}
            if values:
                stream.log(step, **values)
                known |= values
            if step < number % 3:
                compact(store._engine, stream.run_id)
        expected[stream.run_id] = sorted(known.items())
    run_ids = list(reversed(expected))
    for limit in (1, 3, 200):
        with store._engine.read() as db:
            found = key_facts(db, [*run_ids, "run_none"], limit)
            alone = {run_id: key_facts(db, [run_id], limit)[run_id] for run_id in run_ids}
        assert found.pop("run_none") == []
        assert found == alone
        assert {run_id: [(facts.name, facts.last_value) for facts in keys] for run_id, keys in found.items()} == {
            run_id: known[:limit] for run_id, known in expected.items()
        }
