"""What a server takes in from 1, 4 and 16 client processes, on SQLite and on PostgreSQL.

::

    python benchmarks/server_ingest.py [--quick] [--points 4000000] [--rounds 1] [--engines sqlite,postgres]

A real server process on an empty database. Each client is a process with one connection and one run; it has made all
bodies before the clock starts and sends one after the other, each after the acknowledgement of the last: records of
ten scalars, in bodies of 10 points (a slow training), of 1,000 (a busy one) and of 20,000 (a client that catches up).
Every acknowledgement comes after a commit that waits for the disk.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from threading import Barrier

import load
import psutil
from report import Column, Figures, medians, table, write_json
from rundial_server import Server
from server_place import Place, available, cpu, percentile, place, serving, settle, stored, synced_write_ms
from server_requests import AROUND, options

from rundial import wire

CLIENTS = (1, 4, 16)
KEYS = 10
BODIES = (10, 1_000, 20_000)
"""Points of a request."""
LEAST_REQUESTS = 20
"""Of each client, so that its latencies say something."""
MOST_REQUESTS = 8_000
"""Of all clients together."""

COLUMNS = (
    Column("points_per_second", "k points/s", 1e-3, ratio=False),
    Column("records_per_second", "k records/s", 1e-3, ratio=False),
    Column("requests_per_second", "requests/s", ratio=False),
    Column("p50_ms", "ack ms: p50", ratio=False),
    Column("p99_ms", "p99", ratio=False),
    Column("request_cpu_ms", "CPU ms/request", ratio=False),
    Column("taken_cpu", "CPU s/M points: taken in", ratio=False),
    Column("compacted_cpu", "and compacted", ratio=False),
    Column("database_cpu", "of it database", ratio=False),
    Column("used_bytes", "B/point in use", ratio=False),
    Column("disk_bytes", "on disk", ratio=False),
    Column("log_bytes", "log written", ratio=False),
    Column("compacted_seconds", "idle after s", ratio=False),
    *AROUND,
)


def client(url: str, key: str, curves: load.Curves, seed: int, points: int, ready: Barrier, answer: Pipe) -> None:
    """Make all bodies, wait for the others, send them, and tell how long each acknowledgement took (ms).

    Raises RuntimeError when the server acknowledges something else than what was sent.
    """
    load.BATCH_POINTS = points
    stream = f"{seed:032x}"
    made = list(load.bodies(curves, stream, seed))
    connection = load.Connection(url, key)
    headers = {"content_type": wire.CONTENT_TYPE, "x_rundial_stream": stream, "x_rundial_protocol": "2"}
    path = "/api/v1/ingest/records"
    connection.request("POST", path, made[0][0], **headers)  # the run begins before the clock does
    ready.wait()
    waits: list[float] = []
    for body, expected in made[1:]:
        begin = time.perf_counter()
        reply = json.loads(connection.request("POST", path, body, **headers))
        waits.append((time.perf_counter() - begin) * 1e3)
        if reply["next"] != expected or reply["rejected"]:
            raise RuntimeError(f"sent up to {expected}, acknowledged {reply['next']}, rejected {reply['rejected'][:3]}")
    connection.close()
    answer.send(waits)


def measure(engine: str, clients: int, body: int, points: int) -> dict[str, float]:
    """One row: an empty server, the clients, and what it took until the last point was compacted."""
    wanted = min(points, MOST_REQUESTS * body)
    steps = max(wanted // clients // KEYS, LEAST_REQUESTS * body // KEYS)
    runs = [load.Curves(f"run_{number}", KEYS, steps) for number in range(clients)]
    count = sum(curves.points for curves in runs)
    with place(engine) as at:
        with serving(at) as servers:
            before = stored(at)
            figures = take_in(at, servers[0], runs, body)
        after = stored(at)  # once it has stopped, SQLite has no second file beside the database
    return figures | {
        "used_bytes": (after.used - before.used) / count,
        "disk_bytes": (after.disk - (before.disk if at.database else 0)) / count,
        "log_bytes": (after.log - before.log) / count,
    }


def take_in(at: Place, running: Server, runs: list[load.Curves], body: int) -> dict[str, float]:
    """Send the runs from a process each, wait for the compactor, and say what it took."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(len(runs) + 1)
    pipes = [context.Pipe(duplex=False) for _ in runs]
    senders = [
        context.Process(
            target=client, args=(running.url, running.key, curves, seed, body, ready, pipes[seed][1]), daemon=True
        )
        for seed, curves in enumerate(runs)
    ]
    for sender in senders:
        sender.start()
    ready.wait(120)
    busy, spent = psutil.getloadavg()[0], sum(_seconds(sender.pid) for sender in senders)
    begin, used = time.perf_counter(), cpu(at, [running])
    waits = [wait for receiver, _ in pipes for wait in receiver.recv()]
    seconds, taken = time.perf_counter() - begin, cpu(at, [running]) - used
    spent = sum(_seconds(sender.pid) for sender in senders) - spent
    for sender in senders:
        sender.join()
        if sender.exitcode:
            raise RuntimeError(f"a client ended with {sender.exitcode}: its message is above")
    idle = settle(at, [running]) - begin - seconds
    whole = cpu(at, [running]) - used
    count = sum(curves.points for curves in runs)
    return {
        "points": count,
        "seconds": seconds,
        "points_per_second": count / seconds,
        "records_per_second": count / KEYS / seconds,
        "requests_per_second": len(waits) / seconds,
        "request_cpu_ms": taken.both / len(waits) * 1e3,
        "p50_ms": percentile(waits, 0.5),
        "p99_ms": percentile(waits, 0.99),
        "taken_cpu": taken.both / count * 1e6,
        "compacted_cpu": whole.both / count * 1e6,
        "database_cpu": whole.database / count * 1e6,
        "compacted_seconds": max(0.0, idle),
        "others": max(0.0, taken.machine - taken.both - taken.clients - spent) / seconds,
        "load": busy,
    }


def _seconds(pid: int | None) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def main() -> None:
    parser = options(__doc__, "a tenth of the points")
    parser.add_argument("--points", type=int, help="points of a row, about (4,000,000; with --quick 400,000)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each row is measured; tables show medians")
    parser.add_argument("--clients", default=",".join(map(str, CLIENTS)), help="comma list of how many")
    arguments = parser.parse_args()
    points = arguments.points or (400_000 if arguments.quick else 4_000_000)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as text:
        median, slow = synced_write_ms(Path(text))
    found: dict[str, dict[str, list[Figures]]] = {}
    engines = available(arguments.engines)
    for _ in range(arguments.rounds):
        for body in BODIES:
            for clients in map(int, arguments.clients.split(",")):
                for engine in engines:
                    name = f"{engine}, {clients} client{'s' if clients > 1 else ''}"
                    print(f"bodies of {body:,} points, {name}", file=sys.stderr)
                    rows = found.setdefault(f"{body:,}", {})
                    rows.setdefault(name, []).append(measure(engine, clients, body, points))
    print(f"A write of 4 KB with fsync on this disk: {median:.2f} ms, one in a hundred {slow:.2f} ms\n")
    for body_text, measured in found.items():
        shown = {name: medians(rounds) for engine in engines for name, rounds in measured.items() if engine in name}
        print(table(f"Ingest, bodies of {body_text} points", shown, COLUMNS))
    if arguments.json is not None:
        write_json(arguments.json, {"synced_write_ms": [median, slow], "rounds": found})


if __name__ == "__main__":
    main()
