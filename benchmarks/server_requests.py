"""What the benchmarks of a server share: their options, and what requests take that go one after the other."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
from report import Column, Figures
from rundial_server import Server
from server_place import Place, cpu, percentile

REQUESTS = Column("requests", "requests", ratio=False)
WAITS = (
    Column("p50_ms", "ms: p50", ratio=False),
    Column("p99_ms", "p99", ratio=False),
    Column("cpu_ms", "CPU ms: server", ratio=False),
    Column("database_ms", "database", ratio=False),
)
AROUND = (Column("others", "others' cores", ratio=False), Column("load", "load", ratio=False))


def options(about: str | None, quick: str, engines: bool = True) -> argparse.ArgumentParser:
    """The options that all of them have; ``quick`` says what ``--quick`` leaves out."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    if engines:
        parser.add_argument("--engines", default="sqlite,postgres", help="comma list")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    return parser


def timed(at: Place, running: Server, asks: Iterable[Callable[[], bytes]]) -> Figures:
    """Send requests one after the other, and say what one takes; ``reply_bytes`` is how long an answer is."""
    waits: list[float] = []
    size = 0
    busy, used, start = psutil.getloadavg()[0], cpu(at, [running]), time.perf_counter()
    for ask in asks:
        begin = time.perf_counter()
        size += len(ask())
        waits.append((time.perf_counter() - begin) * 1e3)
    seconds, spent = time.perf_counter() - start, cpu(at, [running]) - used
    return {
        "requests": len(waits),
        "p50_ms": percentile(waits, 0.5),
        "p99_ms": percentile(waits, 0.99),
        "cpu_ms": spent.server / len(waits) * 1e3,
        "database_ms": spent.database / len(waits) * 1e3,
        "reply_bytes": size / len(waits),
        "others": spent.others / seconds,
        "load": busy,
    }
