"""The loggers that are compared: how each is installed, opened, and read back.

Every peer runs in its documented local or offline mode with its default settings, in an environment of its own
under ``benchmarks/.venvs``. This file needs nothing but the standard library, so it loads in each of them::

    python benchmarks/peers.py --setup          # builds what is missing, says nothing when all is there
    python benchmarks/peers.py --setup trackio  # only that one
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
VENVS = HERE / ".venvs"
REPOSITORY = HERE.parent


def _leave_at_once() -> None:
    """Nothing: the process ends, and what is still queued ends with it."""


class Session(NamedTuple):
    """An open run: ``log(values, step=n)`` as the logger's own users call it, and what ends the run."""

    log: Callable[..., Any]
    finish: Callable[[], Any]
    refused: Callable[[], int] | None = None
    """How many calls the logger turned away and counted; None where it does not say."""
    leave: Callable[[], Any] = _leave_at_once
    """What to call when the figure is taken and nobody waits for delivery, so that nothing is left behind."""


class Peer(NamedTuple):
    """One logger. ``requirement`` is what pip installs; None runs in the environment of the benchmark itself."""

    requirement: str | None
    module: str | None
    open: Callable[[Path], Session]
    stored: Callable[[Path], int]
    """Points that can be read back from what the run left in its folder."""
    flood_points: int = 1_000_000
    """Points in the flood: fewer where a million would take minutes."""


def _nothing(values: dict[str, float], *, step: int) -> None:
    """The empty function that every figure is held against."""


def _open_empty(folder: Path) -> Session:
    return Session(_nothing, lambda: None)


def _open_rundial(folder: Path) -> Session:
    rundial = import_module("rundial")
    run = rundial.init(project="benchmark")
    (folder / "run_id").write_text(run.id)
    return Session(run.log, run.finish, lambda: int(run.diagnostics().dropped_total), lambda: run.finish(0))


def _stored_rundial(folder: Path) -> int:
    wire = import_module("rundial.wire")
    return sum(
        len(event.values)
        for path in folder.rglob("*")
        if path.is_file()
        for chunk in _chunks(wire, path.read_bytes())
        for event in wire.decode_chunk(chunk)[0]
        if type(event).__name__ == "Metrics"
    )


def _chunks(wire: Any, segment: bytes) -> Iterator[Any]:
    offset = wire.find_chunk(segment, 0)
    while 0 <= offset < len(segment):
        try:
            chunk, offset = wire.unpack_chunk(segment, offset)
        except wire.WireError:  # the unused end of a segment
            return
        yield chunk


def _stored_online(folder: Path) -> int:
    from urllib.request import Request, urlopen

    run_id = (folder / "run_id").read_text()
    url = f"{os.environ['RUNDIAL_ENDPOINT']}/api/v1/runs/{run_id}"
    with urlopen(Request(url, headers={"authorization": f"Bearer {os.environ['RUNDIAL_API_KEY']}"})) as reply:
        return int(json.load(reply)["points"])


def _open_trackio(folder: Path) -> Session:
    trackio = import_module("trackio")
    trackio.init(project="benchmark")
    return Session(trackio.log, trackio.finish)


def _stored_trackio(folder: Path) -> int:
    with closing(sqlite3.connect(next(folder.rglob("benchmark.db")))) as database:
        return sum(len(json.loads(row)) for (row,) in database.execute("SELECT metrics FROM metrics"))


def _open_wandb(folder: Path) -> Session:
    os.environ["WANDB_SILENT"] = "true"
    run = import_module("wandb").init(project="benchmark", mode="offline", dir=str(folder))
    return Session(run.log, run.finish)


def _stored_wandb(folder: Path) -> int:
    record = import_module("wandb.proto.wandb_internal_pb2").Record
    rows = (record.FromString(data).history.item for path in folder.rglob("*.wandb") for data in _log_records(path))
    return sum(not (item.key or item.nested_key[0]).startswith("_") for row in rows for item in row)


def _log_records(path: Path) -> Iterator[bytes]:
    """The records of a LevelDB log, which is what a ``.wandb`` file is behind seven bytes of its own.

    Blocks of 32 KiB; in them fragments of CRC u32, length u16, type u8 (full 1, first 2, middle 3, last 4) and data
    (https://github.com/google/leveldb/blob/main/doc/log_format.md).
    """
    data = path.read_bytes()
    offset, parts = 7, b""
    while offset + 7 <= len(data):
        left = 32_768 - offset % 32_768
        if left < 7:
            offset += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        parts += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def _open_mlflow(folder: Path) -> Session:
    mlflow = import_module("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.start_run()

    def finish() -> None:
        mlflow.flush_async_logging()
        mlflow.end_run()

    return Session(partial(mlflow.log_metrics, synchronous=False), finish)


def _stored_mlflow(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return int(database.execute("SELECT count(*) FROM metrics").fetchone()[0])


def _open_tensorboardx(folder: Path) -> Session:
    writer = import_module("tensorboardX").SummaryWriter(str(folder / "events"))

    def log(values: dict[str, float], *, step: int) -> None:
        for key, value in values.items():
            writer.add_scalar(key, value, step)

    return Session(log, writer.close)


def _stored_tensorboardx(folder: Path) -> int:
    return sum(1 for _ in tensorboard_points(folder / "events"))


def tensorboard_points(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of every scalar in the event files below ``folder``.

    An event file is a row of TFRecords: length u64, its CRC u32, that many bytes of Event, their CRC u32
    (https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
    """
    event = import_module("tensorboardX.proto.event_pb2").Event
    for path in folder.rglob("*tfevents*"):
        data = path.read_bytes()
        offset = 0
        while offset + 12 <= len(data):
            (length,) = struct.unpack_from("<Q", data, offset)
            record = event.FromString(data[offset + 12 : offset + 12 + length])
            offset += 16 + length
            for value in record.summary.value:
                yield value.tag, record.step, value.simple_value


PEERS: dict[str, Peer] = {
    "empty": Peer(None, None, _open_empty, lambda folder: 0),
    "rundial": Peer(None, "rundial", _open_rundial, _stored_rundial),
    "rundial-online": Peer(None, "rundial", _open_rundial, _stored_online),
    "trackio": Peer("trackio", "trackio", _open_trackio, _stored_trackio),
    "wandb": Peer("wandb", "wandb", _open_wandb, _stored_wandb, flood_points=200_000),
    "mlflow": Peer("mlflow", "mlflow", _open_mlflow, _stored_mlflow, flood_points=5_000),
    "tensorboardX": Peer(
        "tensorboardX", "tensorboardX", _open_tensorboardx, _stored_tensorboardx, flood_points=200_000
    ),
}
"""By the name a table shows. ``empty`` is the empty function, ``rundial-online`` has a server process beside it."""


def python_of(name: str) -> Path:
    """The interpreter that has this logger installed."""
    return Path(sys.executable) if PEERS[name].requirement is None else VENVS / name / "bin" / "python"


def is_ready(name: str) -> bool:
    """Whether the logger can run: its environment is complete and is the one this file asks for."""
    requirement = PEERS[name].requirement
    stamp = VENVS / name / "ready"
    return requirement is None or (stamp.is_file() and stamp.read_text() == requirement)


def select(only: str | None) -> tuple[list[str], list[str]]:
    """The loggers to run out of a comma list (None: all), and those left out because they are not installed.

    Raises SystemExit on a name that is none of :data:`PEERS`.
    """
    wanted = only.split(",") if only else list(PEERS)
    unknown = [name for name in wanted if name not in PEERS]
    if unknown:
        raise SystemExit(f"unknown logger {unknown[0]!r}. Choose from {', '.join(PEERS)}.")
    return [name for name in wanted if is_ready(name)], [name for name in wanted if not is_ready(name)]


def set_up(name: str) -> str | None:
    """Build the environment of one peer. Returns why it could not be built, or None."""
    requirement = PEERS[name].requirement
    if requirement is None or is_ready(name):
        return None
    print(f"installing {name} into {VENVS / name}", flush=True)
    shutil.rmtree(VENVS / name, ignore_errors=True)
    venv.create(VENVS / name, with_pip=True)
    install = [str(python_of(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
    done = subprocess.run(install, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else f"pip ended with {done.returncode}"
    (VENVS / name / "ready").write_text(requirement)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the environments of the loggers that are compared.")
    parser.add_argument("--setup", nargs="*", metavar="PEER", required=True, help="peers to install; none named: all")
    names = parser.parse_args().setup or list(PEERS)
    for name in names:
        if name not in PEERS:
            parser.error(f"unknown peer {name!r}. Choose from {', '.join(PEERS)}.")
        reason = set_up(name)
        if reason is not None:
            print(f"{name} cannot be installed and is left out: {reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
