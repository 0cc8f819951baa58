"""What a page of a list of 10,000 runs takes, by each order and filter, on SQLite and on PostgreSQL.

::

    python benchmarks/server_runs.py [--quick] [--runs 10000] [--engines sqlite,postgres] [--json FILE]

Each run has a config of twenty entries, ten metrics of five steps, and an end. Pages of 100 runs are asked one after
the other over one connection: the first page again and again, and all pages of the list from the first to the last.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import load
from report import Column, Figures, table, write_json
from rundial_server import Server
from server_place import Place, available, cpu, place, serving, settle, stored
from server_requests import AROUND, REQUESTS, WAITS, options, timed

from rundial import wire
from rundial.events import Event, Metrics, RunEnd, RunStart

RUNS = 10_000
PAGE = 100
CLIENTS = 4
ORDERS = (
    *("startedAtMs", "updatedAtMs", "runName", "runId", "status", "duration"),
    *("config.option_3", "summary.train/metric_3"),
)
STATUSES = ("completed", "completed", "completed", "failed", "crashed")
LIST = "/api/v1/workspaces/default-workspace/projects/benchmark/runs/query"

COLUMNS = (
    REQUESTS,
    Column("runs", "runs in a reply", ratio=False),
    *WAITS,
    Column("reply_bytes", "reply kB", 1e-3, ratio=False),
    *AROUND,
)
MADE = (
    Column("runs_per_second", "runs/s", ratio=False),
    Column("cpu_ms", "CPU ms of a run", ratio=False),
    Column("database_ms", "of it database", ratio=False),
    Column("compacted_seconds", "idle after s", ratio=False),
    Column("used_kb", "kB/run in use", ratio=False),
)


def body(number: int) -> tuple[str, bytes]:
    """The stream of a run and all that it says, as one request."""
    chance = random.Random(number)
    at = load.BEGIN_NS + number * 60_000_000_000
    config = {f"option_{i}": chance.choice((True, "adam", 0.001, 32)) for i in range(20)}
    events: list[Event] = [
        RunStart(at, f"run_{number:05d}", "default-workspace", "benchmark", f"trial {number}", config=config)
    ]
    for step in range(5):
        events.append(Metrics(at + step * 10**9, step, {f"train/metric_{i}": chance.gauss(0, 1) for i in range(10)}))
    events.append(RunEnd(at + 6 * 10**9, chance.choice(STATUSES)))
    stream = f"{number:032x}"
    packed = b"".join(map(wire.encode, events))
    return stream, wire.pack_chunk(wire.Chunk(stream, 0, len(events), packed))


def fill(at: Place, running: Server, runs: int) -> dict[str, float]:
    """Make the runs, and wait until they are compacted."""

    def send(first: int) -> None:
        connection = load.Connection(running.url, running.key)
        for number in range(first, runs, CLIENTS):
            stream, data = body(number)
            headers = {"content_type": wire.CONTENT_TYPE, "x_rundial_stream": stream, "x_rundial_protocol": "2"}
            connection.request("POST", "/api/v1/ingest/records", data, **headers)
        connection.close()

    begin, used = time.perf_counter(), cpu(at, [running])
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(send, range(CLIENTS)))
    sent = time.perf_counter()
    idle = settle(at, [running])
    spent = cpu(at, [running]) - used
    return {
        "runs_per_second": runs / (sent - begin),
        "cpu_ms": spent.both / runs * 1e3,
        "database_ms": spent.database / runs * 1e3,
        "compacted_seconds": idle - sent,
        "used_kb": stored(at).used / runs / 1e3,
    }


def ask(at: Place, running: Server, connection: load.Connection, times: int, **query: Any) -> Figures:
    """The same page so many times; with ``times`` 0 all pages, one behind the other."""
    runs = 0
    cursor: str | None = None
    more = True

    def page() -> bytes:
        nonlocal runs, cursor, more
        path = f"{LIST}?{urlencode(query | {'limit': PAGE} | ({'cursor': cursor} if cursor else {}))}"
        reply = connection.request("GET", path)
        document = json.loads(reply)
        runs += len(document["runs"])
        cursor = None if times else document["page"]["nextCursor"]
        more = cursor is not None
        return reply

    def whole() -> Iterator[Callable[[], bytes]]:
        while more:
            yield page

    found = timed(at, running, [page] * times if times else whole())
    return {**found, "runs": runs / found["requests"]}


def measure(engine: str, runs: int, times: int) -> tuple[Figures, dict[str, Figures]]:
    """One engine: what the runs took, and what each list takes."""
    with place(engine) as at, serving(at) as servers:
        made = fill(at, servers[0], runs)
        connection = load.Connection(servers[0].url, servers[0].key)

        def page(times: int, **query: Any) -> Figures:
            return ask(at, servers[0], connection, times, **query)

        found: dict[str, Figures] = {}
        for name in ORDERS:
            found[f"first page by {name}"] = page(times, orderBy=name)
        found["first page by startedAtMs, oldest first"] = page(times, orderBy="startedAtMs", order="asc")
        found["every page by startedAtMs"] = page(0, orderBy="startedAtMs")
        found["every page by runName"] = page(0, orderBy="runName")
        found["every page by duration"] = page(0, orderBy="duration")
        found["name contains '99'"] = page(times, search="99")
        found["name contains what none has"] = page(times, search="nowhere")
        found["failed or crashed"] = page(times, statuses="failed,crashed")
        found["running (there are none)"] = page(times, statuses="running")
        connection.close()
    return made, found


def main() -> None:
    parser = options(__doc__, "a tenth of the runs, fewer requests")
    parser.add_argument("--runs", type=int, help="runs of the project (10,000; with --quick 1,000)")
    arguments = parser.parse_args()
    runs = arguments.runs or (RUNS // 10 if arguments.quick else RUNS)
    made: dict[str, Figures] = {}
    found: dict[str, dict[str, Figures]] = {}
    for engine in available(arguments.engines):
        made[engine], found[engine] = measure(engine, runs, 20 if arguments.quick else 100)
    print(table(f"{runs:,} runs made by {CLIENTS} connections", made, MADE))
    for engine, rows in found.items():
        print(table(f"A page of {PAGE} of {runs:,} runs, {engine}", rows, COLUMNS))
    if arguments.json is not None:
        write_json(arguments.json, {"runs": runs, "made": made, "lists": found})


if __name__ == "__main__":
    main()
