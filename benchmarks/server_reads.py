"""What reads take with 100 million points stored, on SQLite and on PostgreSQL.

::

    python benchmarks/server_reads.py [--quick] [--runs 100] [--engines sqlite,postgres] [--json FILE]

One run of ten series of a million points, and a hundred of nine series of 100,000; ``--quick`` a tenth as
long. They are sent by four processes to a real server, which is started anew when all are compacted. Requests go one
after the other over one connection. A series is read first by a server that has none of it in memory; the kernel
may have the files.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import Any

import load
import psutil
from report import Column, Figures, table, write_json
from rundial_server import Server
from server_place import Place, available, place, serving, settle, stored
from server_requests import AROUND, REQUESTS, WAITS, options, timed

SENDERS = 4
BODY_POINTS = 20_000
LONG_KEYS, LONG_STEPS = 10, 1_000_000
WIDE_KEYS, WIDE_STEPS = 9, 100_000
RUNS = 100
PAGE = 10_000
"""Points of a page of the exact export."""
COLUMNS_TYPE = "application/vnd.rundial.columns"

COLUMNS = (
    REQUESTS,
    Column("points", "M points read by one", 1e-6, ratio=False),
    *WAITS,
    Column("reply_bytes", "reply MB", 1e-6, ratio=False),
    *AROUND,
)
STORED = (
    Column("points", "M points", 1e-6, ratio=False),
    Column("points_per_second", "sent, k points/s", 1e-3, ratio=False),
    Column("compacted_seconds", "idle after s", ratio=False),
    Column("used_bytes", "B/point in use", ratio=False),
    Column("disk_bytes", "on disk", ratio=False),
    Column("rss_mb", "RSS MB: full", ratio=False),
    Column("rss_read_mb", "after reads", ratio=False),
)


def send(url: str, key: str, some: list[tuple[int, load.Curves]], ready: Any) -> None:
    """Send runs one after the other."""
    load.BATCH_POINTS = BODY_POINTS
    for seed, curves in some:
        load.send(url, key, curves, seed, ready)


def fill(at: Place, running: Server, runs: list[load.Curves]) -> dict[str, float]:
    """Send all runs and wait until they are compacted."""
    context = multiprocessing.get_context("spawn")
    numbered = list(enumerate(runs, start=1))
    open_door = context.Barrier(1)
    senders = [
        context.Process(target=send, args=(running.url, running.key, numbered[first::SENDERS], open_door), daemon=True)
        for first in range(SENDERS)
    ]
    begin = time.perf_counter()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
        if sender.exitcode:
            raise RuntimeError(f"a sender ended with {sender.exitcode}: its message is above")
    sent = time.perf_counter()
    idle = settle(at, [running])
    points = sum(curves.points for curves in runs)
    return {
        "points": points,
        "points_per_second": points / (sent - begin),
        "compacted_seconds": idle - sent,
        "rss_mb": psutil.Process(running.pid).memory_info().rss / 1e6,
    }


class Reader:
    """Asks one server, and notes of each kind of request what it takes."""

    def __init__(self, at: Place, running: Server) -> None:
        self.at = at
        self.running = running
        self.connection = load.Connection(running.url, running.key)
        self.found: dict[str, Figures] = {}

    def post(self, path: str, body: dict[str, Any], accept: str = "application/json") -> bytes:
        text = json.dumps(body).encode()
        return self.connection.request("POST", path, text, content_type="application/json", accept=accept)

    def time(self, name: str, points: int, asks: list[Callable[[], bytes]]) -> None:
        """Call one after the other; ``points`` is what one of them reads."""
        self.found[name] = {**timed(self.at, self.running, asks), "points": points}

    def buckets(self, ids: list[str], keys: list[str]) -> Callable[[], bytes]:
        """A chart: 1,000 buckets of each series."""
        body = {"runIds": ids, "metricKeys": keys, "x": "step", "buckets": 1_000}
        return lambda: self.post("/api/v1/query/buckets", body, COLUMNS_TYPE)

    def export(self, run_id: str, keys: list[str] | None, start_ms: int) -> Callable[[], bytes]:
        """Pages of the exact export from a moment on, each behind the one before."""
        cursor: list[str | None] = [None]

        def ask() -> bytes:
            chosen = {} if keys is None else {"metricKeys": keys}
            body = {"runId": run_id, "limit": PAGE, "startMs": start_ms, **chosen}
            reply = self.post("/api/v1/export/metrics", body | ({"cursor": cursor[0]} if cursor[0] else {}))
            cursor[0] = json.loads(reply)["page"]["nextCursor"]
            return reply

        return ask


def read(reader: Reader, long: load.Curves, wide: list[load.Curves]) -> None:
    """Every kind of read."""
    ids = [curves.run_id for curves in wide]
    first, again = "a server just started", "again"
    one = f"1 run, a series of {long.steps:,} points"
    many = f"{len(ids)} runs, a series of {wide[0].steps:,} points each"
    reader.time(f"{one}: {first}", long.steps, [reader.buckets([long.run_id], [key]) for key in long.names])
    reader.time(f"{one}: {again}", long.steps, [reader.buckets([long.run_id], long.names[:1])] * 100)
    points = len(ids) * wide[0].steps
    reader.time(f"{many}: {first}", points, [reader.buckets(ids, [key]) for key in wide[0].names])
    reader.time(f"{many}: {again}", points, [reader.buckets(ids, wide[0].names[:1])] * 20)
    whole = {"runId": long.run_id, "metricKeys": long.names[:1]}
    reader.time(f"{one}: all as JSON", long.steps, [lambda: reader.post("/api/v1/query/series", whole)] * 10)
    middle = load.BEGIN_NS // 1_000_000 + wide[0].steps * 5
    ask = reader.export(ids[0], None, middle)
    reader.time(f"exact export, page of {PAGE:,}, a run of {wide[0].points:,} points", PAGE, [ask] * 20)
    middle = load.BEGIN_NS // 1_000_000 + long.steps * 5
    ask = reader.export(long.run_id, None, middle)
    reader.time(f"exact export, page of {PAGE:,}, a run of {long.points:,} points", PAGE, [ask] * 10)


def measure(engine: str, runs: int, part: int) -> tuple[dict[str, float], dict[str, Figures]]:
    """One engine from an empty place to its reads: what is stored, and what each kind of read takes."""
    long = load.Curves("run_long", LONG_KEYS, LONG_STEPS // part)
    wide = [load.Curves(f"run_wide{number}", WIDE_KEYS, WIDE_STEPS // part) for number in range(runs)]
    with place(engine) as at:
        with serving(at) as servers:
            figures = fill(at, servers[0], [long, *wide])
        size = stored(at)
        figures["used_bytes"], figures["disk_bytes"] = (it / figures["points"] for it in (size.used, size.disk))
        print(f"{engine}: {figures['points']:,.0f} points are stored", file=sys.stderr)
        with serving(at) as servers:
            reader = Reader(at, servers[0])
            read(reader, long, wide)
            figures["rss_read_mb"] = psutil.Process(servers[0].pid).memory_info().rss / 1e6
    return figures, reader.found


def main() -> None:
    parser = options(__doc__, "a tenth of the points")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs beside the long one ({RUNS})")
    arguments = parser.parse_args()
    kept: dict[str, Figures] = {}
    found: dict[str, dict[str, Figures]] = {}
    for engine in available(arguments.engines):
        kept[engine], found[engine] = measure(engine, arguments.runs, 10 if arguments.quick else 1)
    print(table("What is stored", kept, STORED))
    for engine, rows in found.items():
        print(table(f"Reads, {engine}", rows, COLUMNS))
    if arguments.json is not None:
        write_json(arguments.json, {"stored": kept, "reads": found})


if __name__ == "__main__":
    main()
