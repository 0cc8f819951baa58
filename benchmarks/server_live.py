"""How soon 200 live subscribers of two server processes on one PostgreSQL database hear of a commit.

::

    python benchmarks/server_live.py [--quick] [--subscribers 200] [--runs 4] [--seconds 30] [--json FILE]

Two server processes on one database, each with half of the subscribers (``GET /api/v1/stream`` of the project) and
half of the writers. Each writer has a run of its own and sends ten records of ten scalars twice a second, so that
every subscriber hears of every commit. When a commit was is asked of PostgreSQL (``pg_xact_commit_timestamp``: just
before it is written through to the disk); when it was heard is when the subscriber's socket could be read. All
subscribers are one process, which shares the machine with the rest.
"""

from __future__ import annotations

import multiprocessing
import re
import selectors
import socket
import sys
import threading
import time
from collections import defaultdict
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple
from urllib.parse import urlsplit

import load
import psutil
from report import Column, table, write_json
from rundial_server import Server
from server_place import Place, available, cpu, percentile, place, serving
from server_requests import AROUND, options

from rundial import wire
from rundial.events import Metrics, RunStart

SERVERS = 2
KEYS, RECORDS = 10, 10
PERIOD_SECONDS = 0.5
LIMITS = ("--limit", "streams_per_key=1000")
"""All subscribers show the same key."""
HEARD = re.compile(rb'event: points\ndata: \{"runId":"run_(\d+)","keys":\{"[^"]+":\[\[(\d+),')

COLUMNS = (
    Column("deliveries", "deliveries", ratio=False),
    Column("p50_ms", "ms after the commit: p50", ratio=False),
    Column("p99_ms", "p99", ratio=False),
    Column("worst_ms", "p99 of the worst subscriber", ratio=False),
    Column("longest_ms", "longest", ratio=False),
    Column("sent_p50_ms", "ms after sending: p50", ratio=False),
    Column("sent_p99_ms", "p99", ratio=False),
)
COSTS = (
    Column("subscribers", "subscribers", ratio=False),
    Column("commits", "commits/s", ratio=False),
    Column("deliveries_per_second", "deliveries/s", ratio=False),
    Column("missed", "missed", ratio=False),
    Column("server_cores", "cores: servers", ratio=False),
    Column("database_cores", "database", ratio=False),
    Column("quiet_cores", "servers before the writers came", ratio=False),
    Column("delivery_us", "CPU us/delivery", ratio=False),
    *AROUND,
)


class Heard(NamedTuple):
    """That a subscriber heard of a request of a run, and when (Unix seconds)."""

    subscriber: int
    run: int
    request: int
    at: float


def listen(servers: list[Server], subscribers: int, answer: Pipe) -> None:
    """Open the streams, say so, and collect what they bring until something is said."""
    selector = selectors.DefaultSelector()
    for number in range(subscribers):
        server = servers[number % SERVERS]
        address = urlsplit(server.url)
        stream = socket.create_connection((str(address.hostname), address.port or 80))
        lines = ("GET /api/v1/stream?projectId=benchmark HTTP/1.1", f"host: {address.netloc}")
        stream.sendall("\r\n".join([*lines, f"authorization: Bearer {server.key}", "", ""]).encode())
        while b"id: " not in (first := stream.recv(65536)):
            if not first.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the stream was answered with {first[:300]!r}")
        selector.register(stream, selectors.EVENT_READ, (number, bytearray()))
    selector.register(answer, selectors.EVENT_READ, None)
    answer.send("open")
    heard: list[Heard] = []
    lost = 0
    while True:
        for found, _ in selector.select():
            if found.data is None:
                answer.recv()
                answer.send((heard, lost))
                return
            at = time.time()
            number, waiting = found.data
            waiting += found.fileobj.recv(262_144)  # type: ignore[union-attr]
            whole = waiting.rfind(b"\n\n") + 2
            if whole > 1:
                text = bytes(waiting[:whole])
                del waiting[:whole]
                lost += text.count(b"event: resync")
                heard += [Heard(number, int(run), int(step) // RECORDS, at) for run, step in HEARD.findall(text)]


class Writer(threading.Thread):
    """A run that logs. ``sent`` has the moment of each request (Unix seconds)."""

    def __init__(self, number: int, server: Server) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.number = number
        self.sent: list[float] = []
        self.enough = threading.Event()
        self._server = server
        self._stream = f"{number:032x}"
        self._next = 0
        self._connection = load.Connection(server.url, server.key)
        start = RunStart(time.time_ns(), f"run_{number}", "default-workspace", "benchmark", f"run {number}")
        self._send([wire.encode(start)])

    def run(self) -> None:
        begin = time.monotonic() + self.number * PERIOD_SECONDS / 7
        while not self.enough.wait(max(0.0, begin + len(self.sent) * PERIOD_SECONDS - time.monotonic())):
            first = len(self.sent) * RECORDS
            now = time.time_ns()
            values = {f"train/metric_{key}": key + 1 / (first + 1) for key in range(KEYS)}
            records = [wire.encode(Metrics(now, first + step, values)) for step in range(RECORDS)]
            self.sent.append(time.time())
            self._send(records)

    def _send(self, records: list[bytes]) -> None:
        body = wire.pack_chunk(wire.Chunk(self._stream, self._next, len(records), b"".join(records)))
        self._next += len(records)
        headers = {"content_type": wire.CONTENT_TYPE, "x_rundial_stream": self._stream, "x_rundial_protocol": "2"}
        self._connection.request("POST", "/api/v1/ingest/records", body, **headers)


def watch_commits(at: Place) -> None:
    """Let the database note each new row of the inbox, which the compactor takes away too soon."""
    import psycopg

    with psycopg.connect(str(at.database), autocommit=True) as db:
        db.execute(
            "CREATE TABLE noted (run_id TEXT, id BIGINT);"
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO noted VALUES (NEW.run_id, NEW.id); RETURN NULL; END $$;"
            "CREATE TRIGGER note AFTER INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION note()"
        )


def commits(at: Place) -> dict[int, list[float]]:
    """Of each run the moment of the commit of each request, in their order (Unix seconds)."""
    import psycopg

    found: dict[int, list[float]] = defaultdict(list)
    with psycopg.connect(str(at.database), autocommit=True) as db:
        for run_id, moment in db.execute(
            "SELECT run_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM noted ORDER BY id"
        ):
            found[int(run_id.removeprefix("run_"))].append(moment)
    return found


def row(waits: list[tuple[int, float, float]]) -> dict[str, float]:
    """Percentiles of (subscriber, seconds since the commit, seconds since the request was sent)."""
    each: dict[int, list[float]] = defaultdict(list)
    for subscriber, after, _ in waits:
        each[subscriber].append(after * 1e3)
    together = [after for some in each.values() for after in some]
    sent = [after * 1e3 for _, _, after in waits]
    return {
        "deliveries": len(waits),
        "p50_ms": percentile(together, 0.5),
        "p99_ms": percentile(together, 0.99),
        "worst_ms": max(percentile(some, 0.99) for some in each.values()),
        "longest_ms": max(together),
        "sent_p50_ms": percentile(sent, 0.5),
        "sent_p99_ms": percentile(sent, 0.99),
    }


def measure(subscribers: int, runs: int, seconds: float) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Latencies of those at the writer's server and at the other, and what it all took."""
    context = multiprocessing.get_context("spawn")
    with place("postgres") as at, serving(at, SERVERS, LIMITS) as servers:
        writers = [Writer(number, servers[number % SERVERS]) for number in range(runs)]
        pipe, other = context.Pipe()
        ears = context.Process(target=listen, args=(servers, subscribers, other), daemon=True)
        ears.start()
        other.close()
        pipe.recv()
        used, begin = cpu(at, servers), time.perf_counter()
        time.sleep(min(5.0, seconds))
        quiet = (cpu(at, servers) - used).server / (time.perf_counter() - begin)
        watch_commits(at)
        busy, used, begin = psutil.getloadavg()[0], cpu(at, servers), time.perf_counter()
        listened = psutil.Process(ears.pid).cpu_times()
        for writer in writers:
            writer.start()
        time.sleep(seconds)
        for writer in writers:
            writer.enough.set()
            writer.join()
        time.sleep(1.0)  # what is on its way
        lasted, spent = time.perf_counter() - begin, cpu(at, servers) - used
        done = psutil.Process(ears.pid).cpu_times()
        moments = commits(at)
        pipe.send("enough")
        heard, lost = pipe.recv()
        ears.join()
    for writer in writers:
        if len(moments[writer.number]) != len(writer.sent):
            raise RuntimeError(f"of {len(writer.sent)} commits of a run {len(moments[writer.number])} were seen")
    waits: dict[bool, list[tuple[int, float, float]]] = {True: [], False: []}
    for subscriber, run, request, moment in heard:
        here = subscriber % SERVERS == run % SERVERS
        waits[here].append((subscriber, moment - moments[run][request], moment - writers[run].sent[request]))
    sent = sum(len(writer.sent) for writer in writers)
    listening = done.user + done.system - listened.user - listened.system
    costs = {
        "subscribers": subscribers,
        "commits": sent / seconds,
        "deliveries_per_second": len(heard) / seconds,
        "missed": sent * subscribers - len({one[:3] for one in heard}) + lost,
        "server_cores": spent.server / lasted,
        "database_cores": spent.database / lasted,
        "quiet_cores": quiet,
        "delivery_us": spent.server / max(1, len(heard)) * 1e6,
        "others": max(0.0, spent.others - listening) / lasted,
        "load": busy,
    }
    return {"at the writer's server": row(waits[True]), "at the other": row(waits[False])}, costs


def main() -> None:
    parser = options(__doc__, "five seconds", engines=False)
    parser.add_argument("--subscribers", type=int, default=200, help="streams that are open (200)")
    parser.add_argument("--runs", type=int, default=4, help="writers (4)")
    parser.add_argument("--seconds", type=float, help="how long they write (30; with --quick 5)")
    arguments = parser.parse_args()
    if not available("postgres"):
        sys.exit(0)
    seconds = arguments.seconds or (5.0 if arguments.quick else 30.0)
    found, costs = measure(arguments.subscribers, arguments.runs, seconds)
    print(table("Two servers, one PostgreSQL: the points of a commit at each live subscriber", found, COLUMNS))
    print(table("What it takes", {"both servers": costs}, COSTS))
    if arguments.json is not None:
        write_json(arguments.json, {"latencies": found, "costs": costs})


if __name__ == "__main__":
    main()
