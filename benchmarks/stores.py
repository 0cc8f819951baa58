"""How other loggers store points on one machine: the same batches into their own storage, and one series read back.

::

    python stores.py LOGGER --points 100000 --folder DIR        # in the environment of that logger

Batches are 100 rows of 10 scalars. Only the storage's own calls are timed. The result goes to ``DIR/result.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import peers
from scenarios import folder_bytes

KEYS = 10
ROWS = 100
BEGIN_MS = 1_767_225_600_000
Row = tuple[int, int, dict[str, float]]
"""Step, Unix time in milliseconds, values."""


class Store(NamedTuple):
    """A storage: takes a batch of rows, makes sure that all is written, and reads one series."""

    write: Callable[[list[Row]], Any]
    settle: Callable[[], Any]
    read: Callable[[str], int]
    """Reads the whole series of a key and returns how many points it has."""


def batches(points: int) -> Iterator[list[Row]]:
    """Noisy loss curves, :data:`ROWS` rows of :data:`KEYS` scalars at a time."""
    chance = random.Random(7)
    names = [f"train/layer_{i}/loss" for i in range(KEYS)]
    steps = points // KEYS
    for first in range(0, steps, ROWS):
        yield [
            (
                step,
                BEGIN_MS + 10 * step + chance.randrange(5),
                {name: (1 + math.exp(-4 * step / steps)) * chance.gauss(1, 0.03) for name in names},
            )
            for step in range(first, min(steps, first + ROWS))
        ]


def mlflow_store(folder: Path) -> Store:
    """MLflow's SQLAlchemy store on SQLite, ``log_batch`` of 1,000 metrics: what its server calls."""
    store_class = import_module("mlflow.store.tracking.sqlalchemy_store").SqlAlchemyStore
    metric = import_module("mlflow.entities").Metric
    store = store_class(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))
    run_id = store.create_run("0", "user", BEGIN_MS, [], "benchmark").info.run_id

    def write(rows: list[Row]) -> None:
        metrics = [metric(key, value, time_ms, step) for step, time_ms, row in rows for key, value in row.items()]
        store.log_batch(run_id, metrics, [], [])

    return Store(write, lambda: None, lambda key: len(store.get_metric_history(run_id, key)))


def trackio_store(folder: Path) -> Store:
    """Trackio's SQLite storage, ``bulk_log`` of 100 rows: what its dashboard process calls."""
    storage = import_module("trackio.sqlite_storage").SQLiteStorage

    def write(rows: list[Row]) -> None:
        stamps = [datetime.fromtimestamp(time_ms / 1000, UTC).isoformat() for _, time_ms, _ in rows]
        storage.bulk_log("benchmark", "run", [row for _, _, row in rows], [step for step, _, _ in rows], stamps)

    return Store(write, lambda: None, lambda key: len(storage.get_metric_values("benchmark", "run", key)))


def tensorboardx_store(folder: Path) -> Store:
    """tensorboardX event files: ``add_scalar`` for each value, and a scan of the files to read one series."""
    writer = import_module("tensorboardX").SummaryWriter(str(folder / "events"))

    def write(rows: list[Row]) -> None:
        for step, time_ms, row in rows:
            for key, value in row.items():
                writer.add_scalar(key, value, step, time_ms / 1000)

    def read(key: str) -> int:
        return sum(tag == key for tag, _, _ in peers.tensorboard_points(folder / "events"))

    return Store(write, writer.close, read)


STORES: dict[str, Callable[[Path], Store]] = {
    "trackio": trackio_store,
    "mlflow": mlflow_store,
    "tensorboardX": tensorboardx_store,
}


class Stopwatch:
    """Adds up wall and CPU seconds of the calls it is put around."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = function(*arguments)
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one logger's storage.")
    parser.add_argument("logger", choices=STORES)
    parser.add_argument("--points", type=int, default=100_000, help="how many to write at most")
    parser.add_argument("--seconds", type=float, default=30.0, help="stop writing after about this long")
    parser.add_argument("--folder", type=Path, required=True, help="where the storage and result.json go")
    arguments = parser.parse_args()
    store = STORES[arguments.logger](arguments.folder)
    empty_bytes = folder_bytes(arguments.folder)
    writing, reading = Stopwatch(), Stopwatch()
    written = 0
    for rows in batches(arguments.points):
        writing(store.write, rows)
        written += len(rows) * KEYS
        if writing.wall > arguments.seconds:
            break
    writing(store.settle)
    read = reading(store.read, "train/layer_0/loss")
    if read != written // KEYS:
        raise SystemExit(f"{arguments.logger} returned {read} points of a series of {written // KEYS}")
    result = {
        "points": written,
        "points_per_second": written / writing.wall,
        "points_per_cpu_second": written / writing.cpu,
        "bytes_per_point": (folder_bytes(arguments.folder) - empty_bytes) / written,
        "series_points": read,
        "read_per_cpu_second": read / reading.cpu,
    }
    (arguments.folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
