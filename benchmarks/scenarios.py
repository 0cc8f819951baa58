"""One scenario for one logger in one process: what ``log_call.py`` starts, again and again.

::

    python scenarios.py LOGGER SCENARIO --size 10 --seconds 2 --calls 100000 --folder DIR

The result is written to ``DIR/result.json``, because loggers print what they like. Times in it are microseconds unless
the name says otherwise. The garbage collector is on and nothing of a logger is tuned.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import socket
import statistics
import sys
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from time import perf_counter_ns, thread_time_ns

import peers

Result = dict[str, float]

PACE_PER_SECOND = 2_000
STEP_SECONDS = 0.001
SLOW_NS = 1_000_000
"""A call that takes longer than this has been felt by the training loop."""


class Scalars:
    """A training loop's values: a new dict for each call, made outside the timed part."""

    def __init__(self, size: int) -> None:
        chance = random.Random(7)
        names = [f"train/metric_{i}" for i in range(size)]
        self._rows = [[(name, chance.random()) for name in names] for _ in range(64)]

    def __call__(self, step: int) -> dict[str, float]:
        return dict(self._rows[step & 63])


def family() -> list[Path]:
    """This process and those it started, as folders of ``/proc``.

    Read there and not through psutil: where psutil is installed some loggers begin to log the machine too.
    """
    found = [Path("/proc/self")]
    for process in found:
        for task in (process / "task").iterdir():
            with suppress(FileNotFoundError):  # that thread has just ended
                found.extend(Path("/proc") / child for child in (task / "children").read_text().split())
    return found


def cpu_seconds() -> float:
    """CPU of this process and of the processes it started, living and ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for process in family()[1:]:
        after_name = (process / "stat").read_text().rpartition(")")[2].split()
        ticks += int(after_name[11]) + int(after_name[12])
    return time.process_time() + ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def rss_bytes() -> int:
    """Resident memory of this process and of the processes it started."""
    pages = sum(int((process / "statm").read_text().split()[1]) for process in family())
    return pages * resource.getpagesize()


def queued_ns() -> int:
    """How long this thread has waited for a core (https://docs.kernel.org/scheduler/sched-stats.html)."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1])


def thread_count() -> int:
    """Threads of this process."""
    return len(list(Path("/proc/self/task").iterdir()))


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def timer_cost(clock: Callable[[], int]) -> int:
    """Median nanoseconds between two readings of a clock: what every timed call pays besides itself."""
    costs = []
    for _ in range(2_000):
        before = clock()
        costs.append(clock() - before)
    return int(statistics.median(costs))


def percentiles(durations: array[int]) -> Result:
    """p50, p99, p99.9 and the longest, in microseconds, the timer's own cost taken off."""
    cost = timer_cost(perf_counter_ns)
    ordered = sorted(durations)

    def at(share: float) -> float:
        return max(0, ordered[min(len(ordered) - 1, int(share * len(ordered)))] - cost) / 1000

    return {"p50": at(0.5), "p99": at(0.99), "p99_9": at(0.999), "longest": at(1.0), "calls": len(ordered)}


def tight(session: peers.Session, size: int, calls: int, seconds: float) -> Result:
    """Calls one after the other without pause: the latency of one call, and the CPU of all threads for each."""
    scalars = Scalars(size)
    log = session.log
    for step in range(200):
        log(scalars(step), step=step)
    durations = array("q")
    used = cpu_seconds()
    deadline = perf_counter_ns() + int(seconds * 1e9)
    for step in range(200, 200 + calls):
        values = scalars(step)
        before = perf_counter_ns()
        log(values, step=step)
        after = perf_counter_ns()
        durations.append(after - before)
        if after > deadline:
            break
    used = cpu_seconds() - used
    return percentiles(durations) | {"cpu": used / len(durations) * 1e6}


def paced(session: peers.Session, size: int, calls: int, seconds: float) -> Result:
    """2,000 calls a second: the latency of a call that finds the logger idle or at work, and CPU for each call."""
    scalars = Scalars(size)
    log = session.log
    durations = array("q")
    used = cpu_seconds()
    begin = time.perf_counter()
    for step in range(min(calls, int(seconds * PACE_PER_SECOND))):
        values = scalars(step)
        pause = begin + step / PACE_PER_SECOND - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
        before = perf_counter_ns()
        log(values, step=step)
        durations.append(perf_counter_ns() - before)
        if time.perf_counter() - begin > 2 * seconds:
            break
    used = cpu_seconds() - used
    rate = len(durations) / (time.perf_counter() - begin)
    return percentiles(durations) | {"cpu": used / len(durations) * 1e6, "calls_per_second": rate}


def _work(rounds: int) -> float:
    """Pure Python that holds the interpreter lock: what a background thread would disturb most."""
    total = 0.0
    for i in range(rounds):
        total += i * 0.5
    return total


def _rounds_of_a_step() -> int:
    """How much work takes a step's time on this machine just now."""
    times = []
    for _ in range(50):
        before = thread_time_ns()
        _work(10_000)
        times.append(thread_time_ns() - before)
    return int(10_000 * STEP_SECONDS * 1e9 / statistics.median(times))


def step(session: peers.Session, size: int, calls: int, seconds: float) -> Result:
    """Inside a training step of 1 ms: CPU that the training thread spends in ``log``, and time it stands still.

    ``blocked`` counts over whole steps: also what a background thread takes from the work between two calls by holding
    the interpreter lock. ``queued`` is time in which the thread could have run and got no core: a busy machine.
    """
    scalars = Scalars(size)
    log = session.log
    rounds = _rounds_of_a_step()
    own = timer_cost(thread_time_ns)
    inside = array("q")
    steps = min(calls, int(seconds / STEP_SECONDS))
    wall, cpu, queued = perf_counter_ns(), thread_time_ns(), queued_ns()
    for number in range(steps):
        _work(rounds)
        values = scalars(number)
        before = thread_time_ns()
        log(values, step=number)
        inside.append(thread_time_ns() - before - own)
    wall, cpu, queued = perf_counter_ns() - wall, thread_time_ns() - cpu, queued_ns() - queued
    return {
        "cpu": sum(inside) / steps / 1000,
        "blocked": (wall - cpu - queued) / steps / 1000,
        "queued": queued / steps / 1000,
        "calls": steps,
    }


def flood(session: peers.Session, size: int, calls: int, seconds: float) -> Result:
    """As many points as asked for, as fast as they go, until ``finish`` has returned."""
    scalars = Scalars(size)
    log = session.log
    start = rss_bytes()
    peak = start
    threads = processes = 0
    begin = time.perf_counter()
    for number in range(calls):
        log(scalars(number), step=number)
        if number % max(1, calls // 10) == 0:
            peak = max(peak, rss_bytes())
            threads = max(threads, thread_count())
            processes = max(processes, len(family()) - 1)
    accepted = time.perf_counter()
    peak = max(peak, rss_bytes())
    session.finish()
    done = time.perf_counter()
    points = size * calls
    return {
        "points": points,
        "accept_seconds": accepted - begin,
        "finish_seconds": done - accepted,
        "points_per_second": points / (done - begin),
        "rss_mb": (peak - start) / 1e6,
        "threads": threads,
        "processes": processes,
    }


def idle(session: peers.Session, size: int, calls: int, seconds: float) -> Result:
    """``finish`` when everything has long been written: a few calls, a pause, then the end."""
    scalars = Scalars(size)
    for number in range(20):
        session.log(scalars(number), step=number)
    time.sleep(seconds)
    before = time.perf_counter()
    session.finish()
    return {"finish_seconds": time.perf_counter() - before}


def blackhole(session: peers.Session, size: int, calls: int, seconds: float) -> Result:
    """The server takes connections and never answers: the longest ``log`` beside the longest empty call.

    The two are called in turn in one process, so both meet the same machine; ``calls`` are spread over ``seconds``.
    """
    scalars = Scalars(size)
    log, empty = session.log, peers.PEERS["empty"].open(Path()).log
    logged, nothing = array("q"), array("q")
    begin = time.perf_counter()
    for number in range(calls):
        values = scalars(number)
        first = perf_counter_ns()
        empty(values, step=number)
        second = perf_counter_ns()
        log(values, step=number)
        third = perf_counter_ns()
        nothing.append(second - first)
        logged.append(third - second)
        if number % 20 == 0:
            time.sleep(max(0.0, begin + number * seconds / calls - time.perf_counter()))
    return {
        "longest": max(logged) / 1000,
        "longest_empty": max(nothing) / 1000,
        "slow": sum(duration > SLOW_NS for duration in logged),
        "slow_empty": sum(duration > SLOW_NS for duration in nothing),
        "p50": percentiles(logged)["p50"],
        "calls": calls,
    }


SCENARIOS: dict[str, Callable[[peers.Session, int, int, float], Result]] = {
    "tight": tight,
    "paced": paced,
    "step": step,
    "flood": flood,
    "idle": idle,
    "blackhole": blackhole,
}


def _silent_server() -> socket.socket:
    """A socket whose connections are all made, by the kernel, and never answered by anybody."""
    return socket.create_server(("127.0.0.1", 0), backlog=1_000)


def run(logger: str, scenario: str, size: int, calls: int, seconds: float, folder: Path) -> Result:
    """Open the logger in ``folder``, run the scenario, and say besides how long opening it took."""
    if scenario == "stored":
        return {"stored": peers.PEERS[logger].stored(folder)}
    peer = peers.PEERS[logger]
    if peer.module is not None:
        import_module(peer.module)
    with _silent_server() as silent:
        if scenario == "blackhole":
            os.environ["RUNDIAL_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
            os.environ["RUNDIAL_API_KEY"] = "rdk_nobody-will-ever-read-this-key"
        own_threads = thread_count()
        before = time.perf_counter()
        session = peer.open(folder)
        opened = {
            "init_seconds": time.perf_counter() - before,
            "opened_bytes": folder_bytes(folder),
            "own_threads": own_threads,
        }
        figures = SCENARIOS[scenario](session, size, calls, seconds) | opened
        if session.refused is not None:
            figures["refused"] = session.refused()
        session.leave()
        return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Run one scenario for one logger.")
    parser.add_argument("logger", choices=peers.PEERS)
    parser.add_argument("scenario", choices=[*SCENARIOS, "stored"])
    parser.add_argument("--size", type=int, default=10, help="scalars in one call")
    parser.add_argument("--calls", type=int, default=100_000, help="at most this many calls")
    parser.add_argument("--seconds", type=float, default=2.0, help="for about this long")
    parser.add_argument("--folder", type=Path, required=True, help="where the logger writes; result.json goes there")
    arguments = parser.parse_args()
    result = run(**vars(arguments))
    (arguments.folder / "result.json").write_text(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # what is still queued is not part of the figure, and some loggers take minutes to drain it


if __name__ == "__main__":
    main()
