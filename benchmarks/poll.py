"""What `run.poll()` costs while nothing waits, and how long a command takes from the server to the training thread.

    python benchmarks/poll.py

The first number is CPU time of the calling thread per call, the median of seven rounds, in a run with a dial, less an
empty loop. The second is from the moment a command is sent over HTTP to the moment its function is called, in a loop
that polls every millisecond, with the server in a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import rundial as rd
from rundial.client import HttpClient

CALLS = 1_000_000
COMMANDS = 30
BUDGET_NS = 500


def cost_ns(run: rd.Run) -> float:
    rounds = []
    for _ in range(7):
        numbers = range(CALLS)
        began = time.thread_time_ns()
        for _ in numbers:
            pass
        empty = time.thread_time_ns() - began
        began = time.thread_time_ns()
        for _ in numbers:
            run.poll()
        rounds.append((time.thread_time_ns() - began - empty) / CALLS)
    return statistics.median(rounds)


def latencies_ms(run: rd.Run, client: HttpClient) -> list[float]:
    heard: list[float] = []
    sent: list[float] = []
    run.dial("now", set=lambda: heard.append(time.monotonic()))
    run.flush(10)

    def send() -> None:
        for _ in range(COMMANDS):
            time.sleep(0.15)  # the server takes ten in a second
            sent.append(time.monotonic())
            client.turn_dial(run.id, "now")

    sender = threading.Thread(target=send)
    sender.start()
    until = time.monotonic() + 60
    while len(heard) < COMMANDS and time.monotonic() < until:
        run.poll()
        time.sleep(0.001)
    sender.join()
    return [(then - before) * 1000 for before, then in zip(sent, heard)]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rundial", "server", "--port", "0", "--data", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            key = (Path(folder) / "owner.key").read_text().strip()
            settings = {"spool_directory": f"{folder}/spool", "quiet": True, "system_metrics": False}
            run = rd.init(project="poll", endpoint=url, api_key=key, **settings)
            run.dial("lr", value=0.1, min=0.0, max=1.0)
            spent = cost_ns(run)
            waits = sorted(latencies_ms(run, HttpClient(url, api_key=key)))
            run.finish(10)
            server.terminate()
    print(f"run.poll() with nothing waiting: {spent:.0f} ns (at most {BUDGET_NS})")
    if len(waits) < COMMANDS:
        print(f"only {len(waits)} of {COMMANDS} commands arrived")
        return 1
    print(f"command to training thread: median {statistics.median(waits):.0f} ms, longest {waits[-1]:.0f} ms (500)")
    return 0 if spent <= BUDGET_NS and waits[-1] <= 500 else 1


if __name__ == "__main__":
    sys.exit(main())
