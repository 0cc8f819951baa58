"""What the captured console costs: microseconds a printed line, beside print() alone.

::

    python benchmarks/console.py [--lines 20000] [--rounds 5]

The plain and the captured print() take turns and the table shows the median over the rounds. The records end in
memory; the queue is drained between the rounds, so that none is refused.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).parent.parent))

from rundial.console import Console
from rundial.testing import capture_run

LINES = {
    "20 characters": "epoch 3, loss 0.4213",
    "200 characters": "x" * 200,
}


def print_lines(line: str, count: int) -> float:
    """Seconds a line."""
    begin = time.perf_counter()
    for _ in range(count):
        print(line)
    return (time.perf_counter() - begin) / count


def measure(open_stream: Callable[[], TextIO], line: str, count: int, rounds: int) -> tuple[float, float, int]:
    """Median microseconds of a plain and of a captured line, and lines that were refused."""
    plain: list[float] = []
    captured: list[float] = []
    terminal = sys.stdout
    with capture_run(queue_bytes=64 * 1024 * 1024) as (run, _), open_stream() as stream:
        for _ in range(rounds):
            sys.stdout = stream
            plain.append(print_lines(line, count))
            console = Console(run._opened, "smart")  # type: ignore[arg-type]
            console.start()
            captured.append(print_lines(line, count))
            console.stop()
            sys.stdout = terminal
            run.flush(30)
        refused = run.diagnostics().dropped_log_lines_queue_full
    return statistics.median(plain) * 1e6, statistics.median(captured) * 1e6, refused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    streams: dict[str, Callable[[], TextIO]] = {"StringIO": io.StringIO, os.devnull: partial(open, os.devnull, "w")}
    print(f"{'us a line':<28}{'print':>8}{'captured':>10}{'cost':>8}{'refused':>9}")
    for stream_name, open_stream in streams.items():
        for line_name, line in LINES.items():
            plain, captured, refused = measure(open_stream, line, options.lines, options.rounds)
            name = f"{stream_name}, {line_name}"
            print(f"{name:<28}{plain:>8.2f}{captured:>10.2f}{captured - plain:>8.2f}{refused:>9}")


if __name__ == "__main__":
    main()
