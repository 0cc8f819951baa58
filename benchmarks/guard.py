"""The guardrail: what must never get worse, measured in a minute. Ends with exit code 1 when something has.

::

    python benchmarks/guard.py

*Hot path*: ``run.log()`` of three scalars beside an empty function in the same process, in rounds that take turns, so
that a busy or slow machine slows down both. *Bounds*: a server that answers 503 for ever, and more records than the
spool may hold; the spool keeps to its bound, and not one record is unaccounted for.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import rundial as rd  # noqa: E402 - the checkout this file stands in, installed or not
from rundial.segments import scan_segment  # noqa: E402

MAX_RATIO = 50.0
"""Largest median ratio of ``run.log()`` to an empty function. It is about 30 today, on busy cores too."""
ROUNDS = 101
PARTS = 20
CALLS = 100
"""Calls in a part. A part is much shorter than a time slice, so that few are interrupted and the median is not."""
BOUND_BYTES = 8 * 1024 * 1024
WRITE_BYTES = 512 * 1024
"""How far the spool may be beyond its bound between a write and the eviction that follows it."""
RECORDS = 120_000
SCALARS = {"train/loss": 0.3, "train/accuracy": 0.9, "lr": 1e-3}
HEAVY = {f"train/layer_{number}/norm": number / 7 for number in range(30)}


class Check(NamedTuple):
    """One line of the table."""

    what: str
    found: str
    wanted: str
    holds: bool


def empty(metrics: Any = None, step: Any = None, time_ms: Any = None, **more: Any) -> None:
    """What ``run.log`` is measured against: a function that is called like it and does nothing."""


def batch(call: Callable[[dict[str, float]], object]) -> float:
    """Nanoseconds of one call: the median over the parts of a round."""
    costs = []
    for _ in range(PARTS):
        began = perf_counter_ns()
        for _ in range(CALLS):
            call(SCALARS)
        costs.append((perf_counter_ns() - began) / CALLS)
    return statistics.median(costs)


def hot_path() -> list[Check]:
    """The cost of ``run.log()`` as a multiple of an empty function's, with the worker draining beside it."""
    run = rd.init(project="guard", mode="offline", quiet=True)
    batch(run.log)
    pairs = []
    for _ in range(ROUNDS):
        pairs.append((batch(run.log), batch(empty)))
        time.sleep(0.02)  # training is not a tight loop: the worker gets its turn
    accepted = not run.diagnostics().dropped
    run.finish(5)
    logged, nothing = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(log / nothing for log, nothing in pairs)
    return [
        Check("run.log(3 scalars) / empty function", f"{ratio:.1f}", f"<= {MAX_RATIO:g}", ratio <= MAX_RATIO),
        Check("  in ns", f"{logged:,.0f} / {nothing:,.0f}", "", True),
        Check("  all accepted", str(accepted), "True", accepted),
    ]


class _Unavailable(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.requests += 1  # type: ignore[attr-defined]
        self.send_response(503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


@contextmanager
def unavailable_server() -> Iterator[ThreadingHTTPServer]:
    """A server that answers 503 to everything; it counts ``requests``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Unavailable)
    server.requests = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def spool_bytes(directory: Path) -> int:
    """Size of all segments; files come and go while it is read."""
    size = 0
    for path in directory.glob("*/*.seg"):
        try:
            size += path.stat().st_size
        except FileNotFoundError:
            continue
    return size


def bounds(directory: Path) -> list[Check]:
    """Several times more records than the spool may hold, with a server that never takes one."""
    with unavailable_server() as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that the server is unavailable is the point
        run = rd.init(
            project="guard",
            endpoint=f"http://127.0.0.1:{server.server_port}",
            spool_directory=str(directory),
            spool_max_bytes=BOUND_BYTES,
            flush_interval_seconds=0.02,
            system_metrics=False,
            quiet=True,
        )
        largest, balanced, accepted = 0, True, 0
        for number in range(RECORDS):
            accepted += run.log(HEAVY)
            if number % 500 == 0:
                time.sleep(0.001)
                largest = max(largest, spool_bytes(directory))
                balanced = balanced and run.diagnostics().balanced
        run.finish(1)
        largest = max(largest, spool_bytes(directory))
        found = run.diagnostics()
        requests: int = server.requests  # type: ignore[attr-defined]
    kept, gaps = on_disk(directory)
    evicted = found.dropped.get("spool_bytes", 0)
    refused = found.dropped_total - evicted
    most = BOUND_BYTES + WRITE_BYTES
    return [
        Check("spool at its largest, bytes", f"{largest:,}", f"<= {most:,}", largest <= most),
        Check("evicted records, counted", f"{evicted:,}", "> 0", evicted > 0),
        Check("  gaps on the disk say the same", f"{gaps:,}", f"= {evicted:,}", gaps == evicted),
        Check("records on the disk", f"{kept:,}", f"= {found.pending:,} pending", kept == found.pending),
        Check(
            "refused by log() and counted", f"{refused:,}", f"= {RECORDS - accepted:,}", refused == RECORDS - accepted
        ),
        Check(
            "logged = acknowledged + pending + dropped",
            f"{found.logged:,} = {found.acknowledged:,} + {found.pending:,} + {found.dropped_total:,}",
            "at every look",
            balanced and found.balanced,
        ),
        Check("records logged", f"{found.logged:,}", f"= {RECORDS + 3:,}", found.logged == RECORDS + 3),
        Check("requests", f"{requests:,}", "<= 200", 0 < requests <= 200),
    ]


def on_disk(directory: Path) -> tuple[int, int]:
    """Records in the segments, and records that gaps in them stand for."""
    places = [place for path in directory.glob("*/*.seg") for place in scan_segment(path)[1].places]
    return (
        sum(place.count for place in places if not place.is_gap),
        sum(place.count for place in places if place.is_gap),
    )


def table(checks: list[Check]) -> str:
    """The checks in columns."""
    widths = [max(len(check[column]) for check in checks) for column in (0, 1, 2)]
    lines = [
        f"{check.what:<{widths[0]}}  {check.found:>{widths[1]}}  {check.wanted:<{widths[2]}}  "
        + ("ok" if check.holds else "REGRESSED")
        for check in checks
    ]
    return "\n".join(line.rstrip() for line in lines)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="guard-") as text:
        folder = Path(text)
        for name in [name for name in os.environ if name.startswith("RUNDIAL_")]:
            del os.environ[name]
        os.environ |= {"RUNDIAL_HOME": str(folder / "home"), "RUNDIAL_CONFIG": str(folder / "config.toml")}
        os.chdir(folder)
        checks = [*hot_path(), *bounds(folder / "bounded")]
    print(table(checks))
    if not all(check.holds for check in checks):
        sys.exit("guard: something has regressed, see above")


if __name__ == "__main__":
    main()
