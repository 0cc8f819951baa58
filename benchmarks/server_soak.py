"""SIGKILL of the server, over and over, under eight writers, on each engine, and a table of what it cost.

::

    python benchmarks/server_soak.py [--kills 200] [--engines sqlite,postgres] [--seed N]

A real ``rundial server`` process on a fixed port; eight connections, each a stream after the other, which note what was
acknowledged, send again what was not, and now and then send what was. The server is killed at a random moment: in the
middle of requests, of a compaction, and of its own start. While it is down the database is checked (SQLite:
``integrity_check`` and ``foreign_key_check`` of a copy; PostgreSQL: ``amcheck`` of every table and index). In the end
everything is read back: every acknowledged point and log line must be there, once, with its value.

PostgreSQL itself is not killed, and writes through to the disk. The exit code is 1 when something was lost, doubled or
wrong, a check failed, or a restart took more than five seconds.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import secrets
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import psutil  # noqa: E402
from rundial_server import environment  # noqa: E402 - the checkout this file stands in comes first

from rundial import wire  # noqa: E402
from rundial.events import Event, LogLine, Metrics, RunEnd, RunStart  # noqa: E402
from tests.server.postgres import Cluster, free_port  # noqa: E402

KILLS = 200
WRITERS = 8
KEYS = ("loss", "train/accuracy")
LINE_EVERY = 10
"""Every so many records one is a log line."""
RECORDS = (100, 2_000)
"""How long a run is: a run that has ended is compacted at once."""
BATCH = (1, 40)
PAUSE_SECONDS = 0.01
RESEND = 0.05
KILL_SECONDS = (0.02, 1.5)
LATE_SECONDS = (4.0, 6.5)
"""Long enough for the compactor to take up runs that go on."""
LATE, EARLY = 0.1, 0.1
"""How many of the kills are late, and how many meet the server while it starts."""
RESTART_SECONDS = 5.0
PATIENCE = 60.0
BEGIN_NS = 1_767_225_600_000_000_000
DURABLE = ("max_connections=100", "shared_buffers=64MB")


# -- what is sent, and so what must be there ------------------------------------------------------------------------


class Sent(NamedTuple):
    """A run: ``length`` records from sequence 0 on, the last of which ends it."""

    run_id: str
    stream: str
    length: int


def is_line(sequence: int) -> bool:
    return sequence % LINE_EVERY == LINE_EVERY - 1


def value(sequence: int, key: str) -> float:
    """What is logged in a record, so that whoever reads it back knows what it must be."""
    return sequence * 0.37 + 1 / (sequence + len(key))


def record(run: Sent, sequence: int) -> Event:
    """The record at a place of a run."""
    at = BEGIN_NS + sequence * 1_000_000
    if sequence == 0:
        return RunStart(at, run.run_id, "default-workspace", "soak", run.run_id)
    if sequence == run.length - 1:
        return RunEnd(at, "completed")
    if is_line(sequence):
        return LogLine(at, "info", f"line {sequence}")
    return Metrics(at, sequence, {key: value(sequence, key) for key in KEYS})


def body(run: Sent, first: int, last: int) -> bytes:
    """The records from ``first`` to before ``last`` as a request carries them."""
    packed = b"".join(wire.encode(record(run, sequence)) for sequence in range(first, last))
    return wire.pack_chunk(wire.Chunk(run.stream, first, last - first, packed))


def steps(run: Sent, first: int, last: int) -> set[int]:
    """The steps of the points among those records."""
    return {it for it in range(max(1, first), min(last, run.length - 1)) if not is_line(it)}


# -- the writers ----------------------------------------------------------------------------------------------------


class Broken(Exception):
    """The server broke its word; it says how."""


class Writer(threading.Thread):
    """Sends run after run over one connection, and knows of each how far it was acknowledged."""

    def __init__(self, port: int, key: str, seed: int) -> None:
        super().__init__(name=f"writer-{seed}", daemon=True)
        self.acknowledged: dict[Sent, int] = {}
        self.tried: dict[Sent, int] = {}
        self.answers = 0
        self.failures: Counter[str] = Counter()
        self.broken: list[str] = []
        self.enough = threading.Event()
        self._port = port
        self._key = key
        self._chance = random.Random(seed)
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        while not self.enough.is_set():
            run = Sent(f"run_{secrets.token_hex(8)}", secrets.token_hex(16), self._chance.randint(*RECORDS))
            self.acknowledged[run] = self.tried[run] = 0
            try:
                while self.acknowledged[run] < run.length and not self.enough.is_set():
                    self._step(run)
            except Broken as error:
                self.broken.append(f"{run.run_id}: {error}")

    def _step(self, run: Sent) -> None:
        done = self.acknowledged[run]
        first = self._chance.randint(0, done) if done and self._chance.random() < RESEND else done
        last = min(run.length, max(done, first) + self._chance.randint(*BATCH))
        self.tried[run] = max(self.tried[run], last)
        try:
            status, reply = self._post(run, body(run, first, last))
        except (OSError, http.client.HTTPException) as error:
            self.failures[type(error).__name__] += 1
            self._connection = None
            self.enough.wait(0.05)
            return
        if status >= 500:
            self.failures[str(status)] += 1
            self.enough.wait(0.05)
            return
        if status != 200 or reply["next"] < done or reply["next"] > self.tried[run] or reply["rejected"]:
            raise Broken(f"{status} {reply} to {first}..{last} after {done} were acknowledged")
        self.answers += 1
        self.acknowledged[run] = reply["next"]
        self.enough.wait(PAUSE_SECONDS)

    def _post(self, run: Sent, data: bytes) -> tuple[int, dict[str, Any]]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        headers = {
            "authorization": f"Bearer {self._key}",
            "content-type": wire.CONTENT_TYPE,
            "x-rundial-stream": run.stream,
            "x-rundial-protocol": "2",
        }
        self._connection.request("POST", "/api/v1/ingest/records", data, headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


# -- the server, and the database behind it -------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a server keeps its data. ``check`` looks at the database while it is down and says what is wrong."""

    engine: str
    data: Path
    database: str | None
    check: Callable[[], list[str]]


@contextmanager
def place(engine: str, folder: Path) -> Iterator[Place]:
    """An empty place for the time of a block."""
    data = folder / "data"
    if engine == "sqlite":
        yield Place(engine, data, None, lambda: check_sqlite(data))
        return
    with Cluster(DURABLE) as cluster:
        url = cluster.empty()
        yield Place(engine, data, url, lambda: check_postgres(url))


def check_sqlite(data: Path) -> list[str]:
    """What SQLite finds wrong with a copy of what the killed server left, its write-ahead log included."""
    if not (data / "rundial.db").exists():
        return []
    with tempfile.TemporaryDirectory(dir=data.parent) as copy:
        for name in ("rundial.db", "rundial.db-wal"):
            if (data / name).exists():
                shutil.copyfile(data / name, Path(copy) / name)
        with closing(sqlite3.connect(Path(copy) / "rundial.db")) as db:
            found = [str(row[0]) for row in db.execute("PRAGMA integrity_check")]
            found += [f"foreign key: {row}" for row in db.execute("PRAGMA foreign_key_check")]
    return [it for it in found if it != "ok"]


def check_postgres(url: str) -> list[str]:
    """What ``amcheck`` finds wrong with the tables and their indexes."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        tables = db.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        found = []
        for (table,) in tables:
            rows = db.execute("SELECT blkno, offnum, msg FROM verify_heapam(%s)", (table,)).fetchall()
            found += [f"{table}: {row}" for row in rows]
        try:
            db.execute(
                "SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
                " JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND c.relnamespace = 'public'::regnamespace"
            )
        except psycopg.Error as error:
            found.append(str(error))
    return found


def stored(place: Place) -> dict[str, tuple[int, int, int]]:
    """Of each run: its points by its own row, by the rows of its keys, and by its chunks."""
    question = (
        "SELECT run_id, points, (SELECT coalesce(sum(points), 0) FROM metric_keys k WHERE k.run_id = runs.run_id),"
        " (SELECT coalesce(sum(points), 0) FROM chunks c WHERE c.run_id = runs.run_id) FROM runs"
    )
    if place.database is None:
        with closing(sqlite3.connect(place.data / "rundial.db")) as file:
            rows = file.execute(question).fetchall()
    else:
        import psycopg

        with psycopg.connect(place.database) as db:
            rows = db.execute(question).fetchall()
    return {run_id: (int(all_of_it), int(keys), int(chunks)) for run_id, all_of_it, keys, chunks in rows}


def start(place: Place, port: int, log: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rundial", "server", "--port", str(port), "--data", str(place.data)]
    if place.database is not None:
        command += ["--database", place.database]
    home = place.data.parent / "home"
    home.mkdir(exist_ok=True)
    variables = environment(home, {"PYTHONPATH": str(REPOSITORY)})
    return subprocess.Popen(command, stdout=log, stderr=log, cwd=home, env=variables)


def await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the server answers. Raises RuntimeError when it ends, or takes too long."""
    until = time.monotonic() + PATIENCE
    while True:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the server does not answer; its log says why")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        finally:
            connection.close()


# -- the trial ------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One line of the table. Times in seconds."""

    engine: str
    kills: int
    starting: int
    answers: int
    runs: int
    points: int
    lines: int
    lost: int
    doubled: int
    wrong: int
    longest_restart: float
    median_restart: float
    restart_cpu: float
    damages: int
    seconds: float

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.wrong or self.damages)


def trial(place: Place, kills: int, chance: random.Random) -> Row:
    """Kill the server so often, then look for everything."""
    began = time.monotonic()
    port = free_port()
    restarts: list[float] = []
    busy: list[float] = []
    problems: list[str] = []
    starting = 0
    with ExitStack() as stack, (place.data.parent / "server.log").open("wb") as log:
        process = start(place, port, log)
        stack.callback(lambda: _kill(process))
        await_answer(process, port)
        key = (place.data / "owner.key").read_text().strip()
        writers = [Writer(port, key, chance.getrandbits(32)) for _ in range(WRITERS)]
        for writer in writers:
            writer.start()
        for number in range(1, kills + 1):
            early = chance.random() < EARLY
            if early:
                starting += 1
                _kill(process)
                process = start(place, port, log)
                time.sleep(chance.uniform(0, 1.0))
            else:
                _acknowledged_more(writers)
                time.sleep(chance.uniform(*(LATE_SECONDS if chance.random() < LATE else KILL_SECONDS)))
            _kill(process)
            if place.database is None or number % 10 == 0 or number == kills:
                problems += place.check()
            spawned = time.monotonic()
            process = start(place, port, log)
            await_answer(process, port)
            restarts.append(time.monotonic() - spawned)
            busy.append(sum(psutil.Process(process.pid).cpu_times()[:2]))
            if number % 20 == 0:
                print(f"{place.engine}: {number} kills, longest restart {max(restarts):.1f} s", file=sys.stderr)
        _acknowledged_more(writers)
        for writer in writers:
            writer.enough.set()
        for writer in writers:
            writer.join()
        problems += [text for writer in writers for text in writer.broken]
        lost, doubled, wrong = _look(place, writers, port, key)
        process.terminate()
        process.wait(PATIENCE)
    for text in problems[:20]:
        print(f"{place.engine}: {text}", file=sys.stderr)
    acknowledged = {run: done for writer in writers for run, done in writer.acknowledged.items()}
    return Row(
        place.engine,
        kills + starting,
        starting,
        sum(writer.answers for writer in writers),
        len(acknowledged),
        sum(len(steps(run, 0, done)) for run, done in acknowledged.items()) * len(KEYS),
        sum(len(_lines(run, done)) for run, done in acknowledged.items()),
        lost,
        doubled,
        wrong,
        max(restarts),
        statistics.median(restarts),
        statistics.median(busy),
        len(problems),
        time.monotonic() - began,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def _acknowledged_more(writers: list[Writer]) -> None:
    """Wait until one more request was answered."""
    before = sum(writer.answers for writer in writers)
    until = time.monotonic() + PATIENCE
    while sum(writer.answers for writer in writers) == before:
        if time.monotonic() > until:
            raise RuntimeError("nothing is acknowledged any more")
        time.sleep(0.005)


def _lines(run: Sent, done: int) -> set[int]:
    return {it for it in range(1, min(done, run.length - 1)) if is_line(it)}


def _look(place: Place, writers: list[Writer], port: int, key: str) -> tuple[int, int, int]:
    """How many points and lines are lost, there twice, or wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def ask(path: str, **asked: Any) -> dict[str, Any]:
        connection.request("POST" if asked else "GET", path, json.dumps(asked).encode() if asked else None, headers)
        answer = connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
        return found if answer.status == 200 else {}

    rows = stored(place)
    lost = doubled = wrong = 0
    for writer in writers:
        for run, done in writer.acknowledged.items():
            if not done:
                continue
            wanted, may = steps(run, 0, done), steps(run, 0, writer.tried[run])
            distinct = 0
            series = ask("/api/v1/query/series", runId=run.run_id, metricKeys=list(KEYS)).get("series", [])
            for one in series:
                found = {point["step"]: point["value"] for point in one["points"]}
                distinct += len(found)
                lost += len(wanted - found.keys())
                wrong += sum(step not in may or got != value(step, one["metricKey"]) for step, got in found.items())
            lost += len(wanted) * (len(KEYS) - len(series))
            keys = ask(f"/api/v1/metrics/keys?runId={run.run_id}").get("keys", [])
            whole, compacted, chunks = rows.get(run.run_id, (0, 0, 0))
            # What a series counts is what chunks and inbox have, before the last one of a step wins.
            doubled += abs(sum(one["count"] for one in keys) - distinct) + abs(whole - distinct)
            doubled += abs(compacted - chunks)
            lines = Counter(_messages(ask, run))
            lost += len(_lines(run, done) - lines.keys())
            wrong += len(lines.keys() - _lines(run, writer.tried[run]))
            doubled += lines.total() - len(lines)
    connection.close()
    return lost, doubled, wrong


def _messages(ask: Callable[..., dict[str, Any]], run: Sent) -> Iterator[int]:
    cursor = None
    while True:
        page = ask("/api/v1/query/logs", runId=run.run_id, limit=10_000, order="asc", cursor=cursor)
        for row in page.get("rows", []):
            yield int(row["message"].removeprefix("line "))
        cursor = page.get("page", {}).get("nextCursor")
        if not page.get("page", {}).get("hasMore"):
            return


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| | kills | of these while it started | requests acknowledged | runs | points | log lines | lost | doubled"
        " | wrong | checks failed | restart: longest | median | CPU |",
        "|---|" + "---:|" * 13,
    ]
    for row in rows:
        lines.append(
            f"| {row.engine} | {row.kills:,} | {row.starting:,} | {row.answers:,} | {row.runs:,} | {row.points:,}"
            f" | {row.lines:,} | {row.lost:,} | {row.doubled:,} | {row.wrong:,} | {row.damages:,}"
            f" | {row.longest_restart:.2f} s | {row.median_restart:.2f} s | {row.restart_cpu:.2f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("SOAK_KILLS", KILLS)))
    parser.add_argument("--engines", default="sqlite,postgres")
    parser.add_argument("--restart-seconds", type=float, default=RESTART_SECONDS, help="how long a restart may take")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is left to chance")
    arguments = parser.parse_args()
    rows = []
    for engine in arguments.engines.split(","):
        with (
            tempfile.TemporaryDirectory(prefix="server-soak-", ignore_cleanup_errors=True) as text,
            place(engine, Path(text)) as made,
        ):
            rows.append(trial(made, arguments.kills, random.Random(arguments.seed)))
        print(f"{engine}: {rows[-1].seconds:.0f} s", file=sys.stderr)
    print(f"seed {arguments.seed}\n\n{table(rows)}")
    if not all(row.holds and row.longest_restart <= arguments.restart_seconds for row in rows):
        sys.exit("server_soak: something was lost, doubled, wrong or slow; see above")


if __name__ == "__main__":
    main()
