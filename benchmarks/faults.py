"""The longest ``log()`` under each single fault, beside an empty function and one as long, in the same process.

::

    python benchmarks/faults.py [--calls 100000] [--only "black hole;503"]

For each fault a trainer of its own logs at a steady pace through a proxy that misbehaves, or onto a disk that does. A
stopped process stops in whatever call it is in, so what lasts longer is hit more often: the second twin counts up for
as long as ``log()`` usually takes. The three take turns in who is first after a pause, when a process is stopped most.
Then the fault ends, and what was accepted must arrive or, on a disk that was full, be counted. The exit code is 1 when
something was not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import permutations
from pathlib import Path
from time import perf_counter_ns
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from report import Column, machine, table  # noqa: E402
from rundial_server import Server, environment, server  # noqa: E402
from soak import FAULTS, empty  # noqa: E402

import rundial as rd  # noqa: E402 - the checkout this file stands in comes first, installed or not
from tests.faults import open_room  # noqa: E402
from tests.flows import proxy as faults  # noqa: E402

PACE = 5_000
WARM_UP = 2_000
SLOW_NS = 1_000_000
PATIENCE = 120.0
SMALL_DISK = "1m"
DISK = "disk full, server refused"
COLUMNS = (
    Column("slow", "log() > 1 ms", ratio=False),
    Column("slow_long", "as long > 1 ms", ratio=False),
    Column("slow_empty", "empty > 1 ms", ratio=False),
    Column("p99_9", "p99.9 us", ratio=False),
    Column("longest", "longest us", ratio=False),
    Column("longest_long", "as long: longest us", ratio=False),
    Column("longest_empty", "empty: longest us", ratio=False),
    Column("accepted", "accepted", ratio=False),
    Column("dropped", "counted as dropped", ratio=False),
    Column("unaccounted", "unaccounted", ratio=False),
)


def count_up(turns: int) -> None:
    """Work that makes no call of the system and takes no lock."""
    for _ in range(turns):
        pass


def as_long_as(nanoseconds: float) -> int:
    """How many turns of :func:`count_up` take that long."""
    turns = 10_000
    times = []
    for _ in range(20):
        began = perf_counter_ns()
        count_up(turns)
        times.append(perf_counter_ns() - began)
    return max(1, round(turns * nanoseconds / min(times)))


def trainer(calls: int) -> None:
    """Log in a steady pace once told to, say what it took, and end once told to."""
    run = rd.init(project="faults", quiet=True, spool_directory="spool")
    log, took = run.log, 0
    for step in range(WARM_UP):
        began = perf_counter_ns()
        log({"x": step / 3}, step=step)
        took += perf_counter_ns() - began
        time.sleep(1 / PACE)
    turns = as_long_as(took / WARM_UP)
    print(run.id, flush=True)
    sys.stdin.readline()
    times: dict[str, list[int]] = {"": [], "_long": [], "_empty": []}
    orders = list(permutations(times))
    accepted, start = WARM_UP, time.monotonic()
    for step in range(WARM_UP, WARM_UP + calls):
        row = {"x": step / 3}
        for what in orders[step % len(orders)]:
            began = perf_counter_ns()
            if what == "":
                accepted += log(row, step=step)
            elif what == "_long":
                count_up(turns)
            else:
                empty(row, step=step)
            times[what].append(perf_counter_ns() - began)
        time.sleep(max(0.0, start + (step - WARM_UP) / PACE - time.monotonic()))
    figures = {f"longest{name}": max(found) / 1e3 for name, found in times.items()}
    figures |= {f"slow{name}": sum(it > SLOW_NS for it in found) for name, found in times.items()}
    figures["p99_9"] = sorted(times[""])[-max(1, calls // 1000)] / 1e3
    print("logged", flush=True)
    sys.stdin.readline()
    run.flush(PATIENCE)
    account = run.diagnostics()
    figures |= {"accepted": accepted, "dropped": sum(account.dropped.values())}
    figures["unaccounted"] = account.logged - account.acknowledged - account.pending - figures["dropped"]
    figures["pending"] = account.pending
    run.finish(PATIENCE)
    print(json.dumps(figures), flush=True)


@contextmanager
def started(folder: Path, variables: dict[str, str], calls: int, python: Path) -> Iterator[subprocess.Popen[str]]:
    """A trainer, ended with the block."""
    command = [str(python), __file__, "--trainer", str(calls)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(folder, variables),
        start_new_session=True,
    ) as process:
        yield process
        process.kill()
        process.communicate()


def measure(name: str, calls: int, running: Server, proxy: faults.Proxy) -> dict[str, float]:
    """The figures under one fault; ``unaccounted`` has what the server misses of what the trainer says it took."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True)))
        variables = {
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONWARNINGS": "ignore::RuntimeWarning",
            "RUNDIAL_ENDPOINT": proxy.url,
            "RUNDIAL_API_KEY": running.key,
            "RUNDIAL_SYSTEM_METRICS": "0",
        }
        python = Path(sys.executable)
        if name == DISK:
            room = stack.enter_context(open_room())
            room.mount(folder / "spool", SMALL_DISK)
            python = room.python(folder)
        proxy.switch(faults.passing)
        process = stack.enter_context(started(folder, variables, calls, python))
        assert process.stdin is not None and process.stdout is not None
        run_id = process.stdout.readline().strip()
        proxy.switch(faults.refusing if name == DISK else FAULTS[name])
        tell(process)
        said = process.stdout.readline().strip()
        assert said == "logged", said
        proxy.switch(faults.passing)
        tell(process)
        figures: dict[str, float] = json.loads(process.stdout.readline())
    there = points(running, run_id)
    figures["unaccounted"] += abs(figures["accepted"] - figures["dropped"] - there)
    return figures


def tell(process: subprocess.Popen[str]) -> None:
    """Let a waiting trainer go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def points(running: Server, run_id: str) -> int:
    """How many points the server has of a run."""
    import requests

    headers = {"authorization": f"Bearer {running.key}"}
    answer = requests.get(f"{running.url}/api/v1/runs/{run_id}", headers=headers, timeout=60)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return int(found["points"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--only", help="names of faults, with semicolons between")
    arguments = parser.parse_args()
    if arguments.trainer:
        return trainer(arguments.trainer)
    names = arguments.only.split(";") if arguments.only else [*FAULTS, DISK]
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as text:
        folder = Path(text)
        with (
            server(folder / "data", folder / "home") as running,
            faults.Proxy(int(running.url.rsplit(":", 1)[1])) as proxy,
        ):
            for name in names:
                rows[name] = measure(name, arguments.calls, running, proxy)
                print(f"{name}: {rows[name]}", file=sys.stderr)
    print(f"{machine()}\n\n{table(f'{arguments.calls:,} calls under each fault', rows, COLUMNS, reference='')}")
    if any(figures["unaccounted"] for figures in rows.values()):
        sys.exit("faults: something was neither delivered nor counted; see above")


if __name__ == "__main__":
    main()
