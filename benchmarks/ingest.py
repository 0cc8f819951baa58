"""What the server takes in, stores and gives back, beside the storage of other loggers, in one run.

::

    python benchmarks/ingest.py [--quick] [--points 10000000] [--rounds 3] [--only mlflow,trackio] [--json FILE]

A real server process; several connections, each a run of its own, send bodies of 1,000 points and wait for the
(fsynced) acknowledgement of each. One run has three series of a million points, the others
a hundred series each: 303 series.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import load
import peers
import psutil
import stores
from log_call import child, versions
from report import Column, Figures, medians, table, write_json
from rundial_server import Server, server
from scenarios import folder_bytes

LONG_KEYS, WIDE_KEYS = 3, 100
IDLE_SECONDS = 6.0
"""The compactor looks at every inbox within five seconds; a server silent for longer has nothing left to do."""
SETTLE_SECONDS = 180.0
COLUMNS = "application/vnd.rundial.columns"

INGEST = (
    Column("points", "points", ratio=False),
    Column("points_per_second", "k points/s", 1e-3),
    Column("points_per_cpu_second", "k points/CPU s", 1e-3),
    Column("bytes_per_point", "disk B/point"),
    Column("series_points", "series read", ratio=False),
    Column("read_per_cpu_second", "k points/CPU s", 1e-3),
)
READS = (Column("cpu_ms", "server CPU ms"), Column("wall_ms", "wall ms"), Column("reply_mb", "reply MB"))
SERVER = (
    Column("taken_per_cpu_second", "taken in, k points/CPU s", 1e-3),
    Column("compacted_seconds", "idle again after s"),
    Column("used_bytes_per_point", "disk B/point in use"),
    Column("rss_start_mb", "RSS MB: start"),
    Column("rss_tenth_mb", "after 1/10"),
    Column("rss_peak_mb", "peak"),
    Column("rss_restarted_mb", "restarted"),
    Column("rss_read_mb", "after reads"),
)


def runs(points: int, connections: int) -> list[load.Curves]:
    """The runs that together have ``points`` points: a long one of three series, and wide ones of a hundred."""
    steps = min(1_000_000, points // 10)
    wide = (points - LONG_KEYS * steps) // ((connections - 1) * WIDE_KEYS)
    return [
        load.Curves("run_long", LONG_KEYS, steps),
        *(load.Curves(f"run_wide{i}", WIDE_KEYS, wide) for i in range(connections - 1)),
    ]


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of the server, in user and kernel mode."""
    used = process.cpu_times()
    return float(used.user + used.system)


def fill(running: Server, sent: list[load.Curves]) -> dict[str, float]:
    """Send all runs at once from a process each, wait for the compactor, and say what it took."""
    process = psutil.Process(running.pid)
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(len(sent) + 1)
    senders = [
        context.Process(target=load.send, args=(running.url, running.key, curves, seed, ready), daemon=True)
        for seed, curves in enumerate(sent, start=1)
    ]
    for sender in senders:
        sender.start()
    ready.wait(60)
    begin, used, points = time.perf_counter(), cpu_seconds(process), sum(curves.points for curves in sent)
    rss = [process.memory_info().rss]
    while any(sender.is_alive() for sender in senders):
        time.sleep(0.1)
        rss.append(process.memory_info().rss)
    acknowledged, taken = time.perf_counter(), cpu_seconds(process)
    for sender in senders:
        sender.join()
        if sender.exitcode:
            raise RuntimeError(f"a sender ended with {sender.exitcode}: its message is above")
    idle = settle(process)
    rss.append(process.memory_info().rss)
    return {
        "points": points,
        "points_per_second": points / (acknowledged - begin),
        "taken_per_cpu_second": points / (taken - used),
        "points_per_cpu_second": points / (cpu_seconds(process) - used),
        "compacted_seconds": idle - acknowledged,
        "rss_start_mb": rss[0] / 1e6,
        "rss_tenth_mb": rss[len(rss) // 10] / 1e6,
        "rss_peak_mb": max(rss) / 1e6,
    }


def settle(process: psutil.Process) -> float:
    """Wait until the server has been idle for a while. Returns the moment when it last had something to do."""
    begin = busy = time.perf_counter()
    used = cpu_seconds(process)
    while time.perf_counter() - busy < IDLE_SECONDS and time.perf_counter() - begin < SETTLE_SECONDS:
        time.sleep(0.5)
        now = cpu_seconds(process)
        if now - used > 0.05:
            busy = time.perf_counter()
        used = now
    return busy


def read(running: Server, requests: list[tuple[str, dict[str, Any], str]]) -> dict[str, float]:
    """Send requests (path, JSON body, accepted type) one after the other: the mean cost of one, the median wait."""
    process = psutil.Process(running.pid)
    connection = load.Connection(running.url, running.key)
    waits: list[float] = []
    size = 0
    used = cpu_seconds(process)
    for path, body, accept in requests:
        begin = time.perf_counter()
        size += len(
            connection.request("POST", path, json.dumps(body).encode(), content_type="application/json", accept=accept)
        )
        waits.append(time.perf_counter() - begin)
    used = cpu_seconds(process) - used
    connection.close()
    return {
        "cpu_ms": used / len(requests) * 1e3,
        "wall_ms": statistics.median(waits) * 1e3,
        "reply_mb": size / len(requests) / 1e6,
    }


def buckets(ids: list[str], keys: list[str]) -> tuple[str, dict[str, Any], str]:
    """The request a chart makes: 1,000 buckets of each series."""
    return "/api/v1/query/buckets", {"runIds": ids, "metricKeys": keys, "x": "step", "buckets": 1_000}, COLUMNS


def reads(running: Server, sent: list[load.Curves]) -> dict[str, dict[str, float]]:
    """Every kind of read: a server just started has nothing in memory, so ``first`` comes from the disk."""
    long, *wide = sent
    length = f"{long.steps:,}-point series"
    whole = ("/api/v1/query/series", {"runId": long.run_id, "metricKeys": long.names[:1]}, "application/json")
    some = [curves.run_id for curves in wide[:2]]
    overview = f"{len(some) * WIDE_KEYS} series"
    return {
        f"{length}, 1,000 buckets, first": read(running, [buckets([long.run_id], [key]) for key in long.names]),
        f"{length}, 1,000 buckets, again": read(running, [buckets([long.run_id], long.names[:1])] * 20),
        f"{length}, every point as JSON": read(running, [whole]),
        f"{overview}, 1,000 buckets each, first": read(running, [buckets(some, wide[0].names)]),
        f"{overview}, 1,000 buckets each, again": read(running, [buckets(some, wide[0].names)] * 5),
    }


def rundial_round(points: int, connections: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """One server from an empty folder to its reads: figures of ingest and storage, and those of each read."""
    sent = runs(points, connections)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as text:
        data, home = Path(text) / "data", Path(text) / "home"
        with server(data, home) as running:
            figures = fill(running, sent)
        figures["bytes_per_point"] = folder_bytes(data) / figures["points"]
        figures["used_bytes_per_point"] = used_bytes(data) / figures["points"]
        with server(data, home) as running:
            process = psutil.Process(running.pid)
            figures["rss_restarted_mb"] = process.memory_info().rss / 1e6
            found = reads(running, sent)
            figures["rss_read_mb"] = process.memory_info().rss / 1e6
    whole = next(costs for name, costs in found.items() if name.endswith("as JSON"))
    figures["series_points"] = sent[0].steps
    if whole["cpu_ms"]:  # a short series is read within one tick of the kernel's CPU clock
        figures["read_per_cpu_second"] = sent[0].steps / (whole["cpu_ms"] / 1e3)
    return figures, found


def used_bytes(data: Path) -> int:
    """Bytes of the database that hold something: pages once used and free again wait there for the next points."""
    with closing(sqlite3.connect(next(data.glob("*.db")))) as database:
        pages, free, size = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


def peer_round(name: str, points: int, seconds: float) -> Figures | str:
    """The storage of another logger in its own environment, or why there are no figures."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as text:
        folder = Path(text)
        options = ["--points", str(points), "--seconds", str(seconds), "--folder", text]
        failure = child([str(peers.python_of(name)), str(peers.HERE / "stores.py"), name, *options], folder, {})
        return failure or dict(json.loads((folder / "result.json").read_text()))


def main() -> None:
    names = list(stores.STORES)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of a million points")
    parser.add_argument("--points", type=int, help="points to store (10,000,000; with --quick 1,000,000)")
    parser.add_argument("--connections", type=int, default=4, help="connections that send at once, at least 3")
    parser.add_argument("--rounds", type=int, help="rounds (3; with --quick 1)")
    parser.add_argument(
        "--only", metavar="NAMES", help=f"comma list of peers: {', '.join(names)}; 'rundial': none of them"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every round's figures there")
    arguments = parser.parse_args()
    if arguments.connections < 3:
        parser.error("--connections must be at least 3: a long run and two wide ones.")
    quick = arguments.quick
    points = arguments.points or (1_000_000 if quick else 10_000_000)
    chosen, missing = peers.select(arguments.only or ",".join(names))
    for name in missing:
        print(f"{name} is left out: not installed. Run: python benchmarks/peers.py --setup {name}", file=sys.stderr)
    compared = [name for name in chosen if name in stores.STORES]

    found: dict[str, list[Figures]] = {"rundial": []}
    requests: dict[str, list[Figures]] = {}
    for _ in range(arguments.rounds or (1 if quick else 3)):
        figures, costs = rundial_round(points, arguments.connections)
        found["rundial"].append(figures)
        for request, cost in costs.items():
            requests.setdefault(request, []).append(cost)
        for name in list(compared):
            measured = peer_round(name, min(points, 100_000 if quick else 1_000_000), 5.0 if quick else 30.0)
            if isinstance(measured, str):
                print(f"{name} failed and is left out: {measured}", file=sys.stderr)
                compared.remove(name)
            else:
                found.setdefault(name, []).append(measured)
    rows = {name: medians(figures) for name, figures in found.items()}
    print(
        table(
            "Rundial: a server, over HTTP, acknowledged when fsynced. The others: in process, no network", rows, INGEST
        )
    )
    print(table("The server", {"rundial": rows["rundial"]}, SERVER))
    print(table("Reads", {name: medians(costs) for name, costs in requests.items()}, READS))
    if arguments.json is not None:
        document = {"versions": versions(compared), "rounds": found, "medians": rows, "reads": requests}
        write_json(arguments.json, document)


if __name__ == "__main__":
    main()
