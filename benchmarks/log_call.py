"""What logging costs the training loop, beside other loggers, in one run.

::

    python benchmarks/log_call.py [--quick] [--only rundial,empty,trackio] [--rounds 3] [--json FILE]

Every figure comes from a process of its own: for each scenario the loggers take turns (A B C, A B C, ...), and the
table shows the median over the rounds, and in brackets the multiple of Rundial's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import peers
from report import Column, Figures, medians, table, write_json
from rundial_server import REPOSITORY, environment, server
from scenarios import folder_bytes

CHILD_SECONDS = 180
"""A scenario that takes longer is ended and shown as a dash."""


class Plan(NamedTuple):
    """A scenario with its size, and how its table reads."""

    title: str
    scenario: str
    size: int
    calls: int
    seconds: float
    columns: tuple[Column, ...]
    only: tuple[str, ...] = ()


LATENCY = (
    Column("p50", "p50 us", against_empty=True),
    Column("p99", "p99 us"),
    Column("p99_9", "p99.9 us"),
    Column("longest", "longest us", ratio=False),
    Column("cpu", "CPU us/call over empty", over_empty=True),
    Column("refused", "refused", ratio=False),
)
FLOOD = (
    Column("points", "points", ratio=False),
    Column("points_per_second", "k points/s", 1e-3),
    Column("lost_percent", "lost %", ratio=False),
    Column("refused", "refused", ratio=False),
    Column("accept_seconds", "log s", ratio=False),
    Column("finish_seconds", "finish s", ratio=False),
    Column("rss_mb", "RSS added MB"),
    Column("bytes_per_point", "disk B/point"),
    Column("threads", "threads", ratio=False),
    Column("processes", "processes", ratio=False),
)
FINISH = (Column("finish_seconds", "finish s"), Column("points", "points", ratio=False))
STEP = (
    Column("cpu", "CPU us/step over empty", over_empty=True),
    Column("blocked", "blocked us/step over empty", over_empty=True),
    Column("queued", "waiting for a core us/step", ratio=False),
)
IDLE = (Column("init_seconds", "init ms", 1e3), Column("finish_seconds", "finish ms", 1e3))
BLACKHOLE = (
    Column("longest", "longest us", ratio=False),
    Column("longest_empty", "empty: longest us", ratio=False),
    Column("slow", "calls > 1 ms", ratio=False),
    Column("slow_empty", "empty: calls > 1 ms", ratio=False),
    Column("p50", "p50 us", ratio=False),
    Column("calls", "calls", ratio=False),
    Column("refused", "refused", ratio=False),
)
IMPORT = (Column("import_cpu", "CPU ms", 1e3),)


def plans(quick: bool) -> list[Plan]:
    """Everything that is measured in a child, in the order of the tables."""
    sizes = (3, 300) if quick else (3, 10, 30, 300)
    calls, seconds = (20_000, 0.5) if quick else (100_000, 2.0)
    tight = [Plan(f"Tight loop, {n} scalars a call", "tight", n, calls, seconds, LATENCY) for n in sizes]
    return [
        *tight,
        Plan("2,000 calls a second, 10 scalars", "paced", 10, 10_000, 1.0 if quick else 5.0, LATENCY),
        Plan("Inside a training step of 1 ms, 10 scalars: training thread", "step", 10, 10_000, seconds * 1.5, STEP),
        Plan("init, and finish with nothing pending", "idle", 10, 0, 0.7 if quick else 1.5, IDLE),
        *([] if quick else [Plan("finish after 100k points", "flood", 10, 10_000, 0, FINISH)]),
        Plan("As many points as possible, to the end of finish", "flood", 10, 100_000, 0, FLOOD),
        Plan(
            "Server takes connections and never answers",
            "blackhole",
            10,
            20_000 if quick else 100_000,
            4.0 if quick else 15.0,
            BLACKHOLE,
            ("rundial",),
        ),
    ]


def child(command: list[str], folder: Path, extra: dict[str, str]) -> str | None:
    """Run a process and everything it starts to its end. Returns why it failed, or None."""
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(folder, extra), stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = process.wait(CHILD_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_group(process)
    if code == 0:
        return None
    lines = (folder / "output.log").read_text(errors="replace").strip().splitlines()
    return f"no answer within {CHILD_SECONDS} s" if code is None else (lines or [f"ended with {code}"])[-1]


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what a logger left running: its process group is the child's own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nothing was left
    process.wait()


@contextmanager
def surroundings(name: str, folder: Path) -> Iterator[dict[str, str]]:
    """The variables a logger's child needs; for ``rundial-online`` with a server behind them."""
    path = {} if peers.PEERS[name].requirement else {"PYTHONPATH": str(REPOSITORY)}
    if name != "rundial-online":
        yield path
        return
    with server(folder / "server", folder / "server-home") as running:
        yield path | {"RUNDIAL_ENDPOINT": running.url, "RUNDIAL_API_KEY": running.key}


def measure(name: str, plan: Plan) -> Figures | str:
    """One run of one scenario for one logger: its figures, or why there are none."""
    calls = plan.calls
    if plan.scenario == "flood":
        calls = min(calls, peers.PEERS[name].flood_points // plan.size)
    script = str(peers.HERE / "scenarios.py")
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as text:
        folder = Path(text)
        options = ["--size", str(plan.size), "--calls", str(calls), "--seconds", str(plan.seconds), "--folder", text]
        with surroundings(name, folder) as extra:
            command = [str(peers.python_of(name)), script, name]
            failure = child([*command, plan.scenario, *options], folder, extra)
            if failure is not None:
                return failure
            figures = dict(json.loads((folder / "result.json").read_text()))
            if plan.scenario == "flood":
                figures["threads"] -= figures["own_threads"]
            if plan.columns is FLOOD and name != "empty":
                size = folder_bytes(folder) - figures["opened_bytes"]
                failure = child([*command, "stored", *options], folder, extra)
                if failure is not None:
                    return f"reading back failed: {failure}"
                stored = json.loads((folder / "result.json").read_text())["stored"]
                kept = stored / figures["points"]
                figures |= {"lost_percent": 100 * (1 - kept), "points_per_second": figures["points_per_second"] * kept}
                if name != "rundial-online":  # there it is the server's inbox, not yet compacted: see ingest.py
                    figures["bytes_per_point"] = size / max(stored, 1)
    return figures


def import_cpu(name: str) -> Figures | str:
    """CPU seconds of importing a logger, beyond those of the bare interpreter in the same environment."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as text, surroundings("empty", Path(text)) as extra:
        python = str(peers.python_of(name))
        path = {} if peers.PEERS[name].requirement else extra
        used = []
        for program in ("pass", f"import {peers.PEERS[name].module}") * 4:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            failure = child([python, "-c", program], Path(text), path)
            if failure is not None:
                return failure
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    pairs = list(zip(used[::2], used[1::2], strict=True))[1:]  # the first pair only warmed the file cache
    return {"import_cpu": statistics.median(imported - bare for bare, imported in pairs)}


def rounds_of(plan: Plan, names: list[str], rounds: int) -> dict[str, list[Figures]]:
    """A scenario for all loggers in turn, as many rounds as asked; who fails is named and not asked again."""
    found: dict[str, list[Figures]] = {name: [] for name in names if not plan.only or name in plan.only}
    failed: set[str] = set()
    for _ in range(rounds):
        for name in found:
            if name in failed:
                continue
            figures = import_cpu(name) if plan.scenario == "import" else measure(name, plan)
            if isinstance(figures, str):
                print(f"{plan.title}: {name} failed and is left out: {figures}", file=sys.stderr)
                failed.add(name)
            else:
                found[name].append(figures)
    return {name: figures for name, figures in found.items() if figures}


def versions(names: list[str]) -> dict[str, str]:
    """What is compared: the installed version of each peer."""
    program = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    return {
        name: subprocess.run(
            [peers.python_of(name), "-c", program, str(requirement)], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in names
        if (requirement := peers.PEERS[name].requirement)
    }


def main() -> None:
    kinds = ["import", *dict.fromkeys(plan.scenario for plan in plans(quick=False))]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of fewer and shorter scenarios")
    parser.add_argument("--only", metavar="NAMES", help=f"comma list out of: {', '.join(peers.PEERS)}")
    parser.add_argument("--scenarios", metavar="NAMES", help=f"comma list out of: {', '.join(kinds)}")
    parser.add_argument("--rounds", type=int, help="rounds over all loggers (3; with --quick 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every round's figures there")
    arguments = parser.parse_args()
    if unknown := [kind for kind in (arguments.scenarios or "").split(",") if kind and kind not in kinds]:
        parser.error(f"unknown scenario {unknown[0]!r}. Choose from {', '.join(kinds)}.")
    names, missing = peers.select(f"empty,{arguments.only}" if arguments.only else None)
    names = list(dict.fromkeys(names))
    for name in missing:
        print(f"{name} is left out: not installed. Run: python benchmarks/peers.py --setup {name}", file=sys.stderr)
    compared = versions(names)
    print("Compared:", ", ".join(f"{name} {version}".strip() for name, version in compared.items()) or "no peer", "\n")

    importable = [name for name in names if name not in ("empty", "rundial-online")]
    work = [
        (Plan("import", "import", 0, 0, 0, IMPORT), importable),
        *((plan, names) for plan in plans(arguments.quick)),
    ]
    chosen = arguments.scenarios.split(",") if arguments.scenarios else None
    document: dict[str, object] = {"versions": compared}
    for plan, who in work:
        if chosen is not None and plan.scenario not in chosen:
            continue
        found = rounds_of(plan, who, arguments.rounds or (1 if arguments.quick else 3))
        rows = {name: medians(figures) for name, figures in found.items()}
        if rows:
            print(table(plan.title, rows, plan.columns), flush=True)
        document[plan.title] = {"medians": rows, "rounds": found}
    if arguments.json is not None:
        write_json(arguments.json, document)


if __name__ == "__main__":
    main()
