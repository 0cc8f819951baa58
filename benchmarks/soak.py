"""A long run of everything that can go wrong, with real processes and a real server, and a table of what it cost.

::

    SOAK_MINUTES=60 python benchmarks/soak.py

*Kills*: SIGKILL at a random moment, in a tight loop or at 2,000 calls a second, with the server there or away, of the
trainer alone or of its whole process tree. *Exits*: every way a script can end. *Damage*: bits flipped, tails cut off
and stretches zeroed in spools. *Forks*: children that log, finish or leave while three threads log. *Faults*: a proxy
that misbehaves in another way every few seconds, for as many minutes as asked; the other kinds are tried in full from
60 minutes on, and in proportion below.

Every record that ``log()`` accepted is looked for at the server: the table says how many are lost, there twice or
wrong. The exit code is 1 when there is one, or when something hung.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import requests  # noqa: E402 - the checkout this file stands in comes first, installed or not
from rundial_server import Server, environment, server  # noqa: E402

import rundial as rd  # noqa: E402
from rundial.errors import WireError  # noqa: E402
from rundial.events import Event, Gap, Metrics  # noqa: E402
from rundial.recovery import deliver_folder  # noqa: E402
from rundial.segments import scan_segment  # noqa: E402
from rundial.testing import MemoryTransport  # noqa: E402
from tests.flows import proxy as faults  # noqa: E402

FULL_MINUTES = 60.0
KILLS, EXITS, DAMAGES, FORKS = 400, 300, 5_000, 1_000
KILLS_A_SYNC = 8
EXIT_RECORDS = 3_000
SPOOL_RECORDS, CHUNK_RECORDS = 6_000, 500
PACE = 2_000
EPISODE_SECONDS, EPISODE_PACE = 20.0, 1_000
FAULT_SECONDS = (0.5, 4.0)
PATIENCE = 120.0
"""Seconds after which a process counts as hung."""
SLOW_NS = 1_000_000
KEY = "x"

FAULTS: dict[str, faults.Fault] = {
    "passing": faults.passing,
    "refused": faults.refusing,
    "black hole": faults.black_hole,
    "half open": faults.half_open,
    "reset in the request": faults.reset_in_request,
    "reset in the answer": faults.reset_in_answer,
    "slow": faults.slow(1.0),
    "500": faults.answering(500),
    "503": faults.answering(503, faults.envelope("INTERNAL_ERROR")),
    "429": faults.answering(429, retry_after=faults.in_seconds(1)),
    "200 with a page": faults.answering(200),
    "redirect": faults.redirecting("http://127.0.0.1:9"),
    "commit, then 500": faults.committing_then(faults.answering(500)),
    "commit, then silence": faults.committing_then(faults.black_hole),
}


def value(step: int) -> float:
    """What is logged at a step, so that whoever reads it back knows what it must be."""
    return step * 0.37 + 1 / (step + 1)


def empty(metrics: dict[str, float], step: int) -> None:
    """What the longest ``log()`` stands beside."""


# -- the trainer: a process that logs and says in shared memory how far it is --------------------------------------


class Page:
    """A few numbers in a mapped file, which outlive the process that writes them."""

    NAMES = ("pid", "accepted", "refused", "longest", "longest_empty", "slow", "slow_empty", "finish_ns", "delivered")

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8 * len(self.NAMES)))
        with path.open("r+b") as file:
            self._words = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    def __getitem__(self, name: str) -> int:
        return self._words[self.NAMES.index(name)]

    def __setitem__(self, name: str, number: int) -> None:
        self._words[self.NAMES.index(name)] = number


def train(page: Page, run_id: str, pace: int, calls: int, seconds: float, ending: str) -> None:
    """Log until there were enough calls or seconds, then end in the way asked for.

    A step that is refused is logged again, so that the steps accepted are always those below ``accepted``.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    page["pid"] = os.getpid()
    run = rd.init(project="soak", run_id=run_id, quiet=True)
    log, began, step = run.log, time.monotonic(), 0
    accepted = Page.NAMES.index("accepted")
    words = page._words
    while step < calls and time.monotonic() - began < seconds:
        row = {KEY: value(step)}
        first = perf_counter_ns()
        empty(row, step=step)
        second = perf_counter_ns()
        taken = log(row, step=step)
        third = perf_counter_ns()
        if taken:
            step += 1
            words[accepted] = step
        else:
            page["refused"] += 1
        if third - second > page["longest"]:
            page["longest"] = third - second
        if second - first > page["longest_empty"]:
            page["longest_empty"] = second - first
        page["slow"] += third - second > SLOW_NS
        page["slow_empty"] += second - first > SLOW_NS
        if pace:
            time.sleep(max(0.0, began + step / pace - time.monotonic()))
    _end(run, page, ending)


def _end(run: rd.Run, page: Page, ending: str) -> None:
    if ending == "finish":
        began = perf_counter_ns()
        page["delivered"] = run.finish(PATIENCE / 2)
        page["finish_ns"] = perf_counter_ns() - began
    elif ending == "exception":
        raise ValueError("this trainer ends with an exception")
    elif ending == "os._exit":
        os._exit(3)
    elif ending == "abort":
        os.abort()
    elif ending in ("SIGINT", "SIGTERM"):
        while True:
            time.sleep(1)


def fork_while_threads_log(page: Page, run_id: str, forks: int) -> None:
    """Three threads log while children are forked that log, finish or just leave."""
    import threading

    run = rd.init(project="soak", run_id=run_id, quiet=True)
    stop = threading.Event()
    counts = [0, 0, 0]

    def work(number: int) -> None:
        while not stop.is_set():
            counts[number] += run.log({f"thread/{number}": value(counts[number])}, step=counts[number])
            time.sleep(0.0005)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    logged = 0
    for number in range(forks):
        logged += number % 3 == 0
        child = os.fork()
        if child == 0:
            if number % 3 == 0:
                run.log({"child": value(number)}, step=number)
            elif number % 3 == 1:
                run.finish(1)
            os._exit(0)
        os.waitpid(child, 0)
    stop.set()
    for thread in threads:
        thread.join()
    page["accepted"] = sum(counts) + logged
    page["delivered"] = run.finish(PATIENCE / 2)


# -- what is found at the server -----------------------------------------------------------------------------------


class Found(NamedTuple):
    """What became of the records of some runs."""

    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    def plus(self, other: Found) -> Found:
        return Found(*(a + b for a, b in zip(self, other, strict=True)))


class Row(NamedTuple):
    """One line of the table. Times in seconds."""

    what: str
    trials: int
    found: Found
    longest: float = 0.0
    longest_empty: float = 0.0
    slow: int = 0
    slow_empty: int = 0
    drain: float = 0.0
    hung: int = 0
    note: str = ""

    @property
    def holds(self) -> bool:
        return not (self.found.lost or self.found.doubled or self.found.wrong or self.hung)


class Reader:
    """Asks the server what it has."""

    def __init__(self, running: Server) -> None:
        self._url = running.url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["authorization"] = f"Bearer {running.key}"

    def run(self, run_id: str) -> dict[str, Any]:
        answer = self._session.get(f"{self._url}/api/v1/runs/{run_id}", timeout=60)
        return dict(answer.json()) if answer.ok else {"points": 0, "status": "unknown"}

    def points(self, run_id: str, key: str) -> dict[int, float]:
        body = {"runId": run_id, "metricKeys": [key]}
        answer = self._session.post(f"{self._url}/api/v1/query/series", json=body, timeout=120)
        return {point["step"]: point["value"] for point in answer.json()["series"][0]["points"]} if answer.ok else {}

    def look(self, run_id: str, accepted: int) -> Found:
        """Compare a trainer's steps with what is there; the call a kill interrupted may have gone through."""
        points = self.points(run_id, KEY)
        there = sum(step in points for step in range(accepted))
        wrong = sum(step > accepted or number != value(step) for step, number in points.items())
        return Found(accepted, accepted - there, int(self.run(run_id)["points"]) - len(points), wrong)

    def close(self) -> None:
        self._session.close()


class Stage:
    """A folder with a home of its own, a server in it, and the misbehaving proxy before the server."""

    def __init__(self, folder: Path, running: Server, proxy: faults.Proxy) -> None:
        self.folder = folder
        self.proxy = proxy
        self.reader = Reader(running)
        self._variables = {
            "PYTHONPATH": str(REPOSITORY),
            "RUNDIAL_ENDPOINT": proxy.url,
            "RUNDIAL_API_KEY": running.key,
            "RUNDIAL_CONFIG": str(folder / "config.toml"),
            "PYTHONWARNINGS": "ignore::RuntimeWarning",
        }
        self._count = 0

    def start(self, *arguments: object) -> tuple[str, Page, subprocess.Popen[bytes]]:
        """Start a trainer below a shell, both in a process group of their own: run id, page and the shell."""
        self._count += 1
        run_id = f"run_soak{os.getpid()}n{self._count}"
        path = self.folder / f"{run_id}.page"
        page = Page(path)
        command = [sys.executable, __file__, "--trainer", path, run_id, *arguments]
        process = subprocess.Popen(
            ["sh", "-c", '"$@"; exit $?', "sh", *map(str, command)],
            cwd=self.folder,
            env=environment(self.folder, self._variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return run_id, page, process

    def sync(self) -> float:
        """Send what waits; the seconds it took."""
        began = time.monotonic()
        self.proxy.switch(faults.passing)
        command = [sys.executable, "-m", "rundial", "sync"]
        variables = environment(self.folder, self._variables)
        done = subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            print(f"sync ended with {done.returncode}: {done.stdout}{done.stderr}", file=sys.stderr)
        return time.monotonic() - began


@contextmanager
def stage() -> Iterator[Stage]:
    """A stage for the time of a ``with`` block."""
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as text:
        folder = Path(text)
        with (
            server(folder / "data", folder / "server-home") as running,
            faults.Proxy(int(running.url.rsplit(":", 1)[1])) as proxy,
        ):
            made = Stage(folder, running, proxy)
            yield made
            made.reader.close()


def wait(ready: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether it came to be so in time."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def ended(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a trainer's shell; whether it ended in time. What is left of its group is killed."""
    try:
        process.wait(PATIENCE)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        _kill_group(process)
        process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all of it has gone by itself


def summed(what: str, pages: list[Page], found: Found, drains: list[float], hung: int, note: str = "") -> Row:
    """A row out of what the trainers wrote down."""
    return Row(
        what,
        len(pages),
        found,
        max((page["longest"] for page in pages), default=0) / 1e9,
        max((page["longest_empty"] for page in pages), default=0) / 1e9,
        sum(page["slow"] for page in pages),
        sum(page["slow_empty"] for page in pages),
        max(drains, default=0.0),
        hung,
        note,
    )


# -- the trials -----------------------------------------------------------------------------------------------------


def kills(stage: Stage, trials: int, chance: random.Random) -> Row:
    """SIGKILL at a random moment, all eight kinds in turn."""
    pages: list[Page] = []
    found, drains, hung, waiting = Found(), [], 0, []
    for trial in range(trials):
        tight, away, tree = trial & 1, trial & 2, trial & 4
        stage.proxy.switch(faults.refusing if away else faults.passing)
        run_id, page, process = stage.start(0 if tight else PACE, 10**9, PATIENCE, "finish")
        hung += not wait(lambda page=page: page["accepted"])
        time.sleep(chance.uniform(0, 0.25 if tight else 1.0))
        if tree:
            _kill_group(process)
        else:
            os.kill(page["pid"], signal.SIGKILL)
        hung += not ended(process)
        pages.append(page)
        waiting.append((run_id, page))
        if len(waiting) == KILLS_A_SYNC or trial == trials - 1:
            drains.append(stage.sync())
            for run_id, page in waiting:
                found = found.plus(stage.reader.look(run_id, page["accepted"]))
            waiting.clear()
    return summed("kill -9", pages, found, drains, hung)


ENDINGS = {
    "script end": "completed",
    "exception": "failed",
    "SIGINT": "aborted",
    "SIGTERM": "aborted",
    "os._exit": "crashed",
    "abort": "crashed",
}


def exits(stage: Stage, trials: int) -> Row:
    """Every way to end, with the server there and away; a false status counts as wrong."""
    pages: list[Page] = []
    found, drains, hung, slowest = Found(), [], 0, 0.0
    for trial in range(trials):
        ending, status = list(ENDINGS.items())[trial // 2 % len(ENDINGS)]
        stage.proxy.switch(faults.refusing if trial % 2 else faults.passing)
        run_id, page, process = stage.start(0, EXIT_RECORDS, PATIENCE, ending)
        hung += not wait(lambda page=page: page["accepted"] == EXIT_RECORDS)
        began = time.monotonic()
        if ending in ("SIGINT", "SIGTERM"):
            os.kill(page["pid"], getattr(signal, ending))
        hung += not ended(process)
        slowest = max(slowest, time.monotonic() - began)
        drains.append(stage.sync())
        seen = stage.reader.look(run_id, page["accepted"])
        found = found.plus(seen._replace(wrong=seen.wrong + (stage.reader.run(run_id)["status"] != status)))
        pages.append(page)
    return summed("exits of every kind", pages, found, drains, hung, f"longest exit {slowest:.2f} s")


def episodes(stage: Stage, seconds: float, chance: random.Random) -> Row:
    """Trainers that log at a steady pace while the proxy misbehaves in ever other ways."""
    pages: list[Page] = []
    found, drains, hung = Found(), [], 0
    until = time.monotonic() + seconds
    used = set()
    while time.monotonic() < until:
        stage.proxy.switch(faults.passing)
        lasts = min(EPISODE_SECONDS, max(5.0, until - time.monotonic()))
        run_id, page, process = stage.start(EPISODE_PACE, 10**9, lasts, "finish")
        hung += not wait(lambda page=page: page["accepted"])
        over = time.monotonic() + lasts - 0.5
        while time.monotonic() < over:
            name = chance.choice(list(FAULTS))
            used.add(name)
            stage.proxy.switch(FAULTS[name])
            time.sleep(min(chance.uniform(*FAULT_SECONDS), max(0.0, over - time.monotonic())))
        stage.proxy.switch(faults.passing)
        hung += not ended(process)
        if not page["delivered"]:
            stage.sync()
        drains.append(page["finish_ns"] / 1e9)
        found = found.plus(stage.reader.look(run_id, page["accepted"]))
        pages.append(page)
    refused = sum(page["refused"] for page in pages)
    note = f"{seconds / 60:g} minutes, {len(used)} kinds, {refused} calls refused"
    return summed("random faults", pages, found, drains, hung, note)


def forks(stage: Stage, count: int) -> Row:
    """Children forked beside three threads that log."""
    stage.proxy.switch(faults.passing)
    run_id, page, process = stage.start("--forks", count)
    hung = not ended(process)
    drain = stage.sync()
    doubled = wrong = there = 0
    for key in ("thread/0", "thread/1", "thread/2", "child"):
        points = stage.reader.points(run_id, key)
        there += len(points)
        wrong += sum(number != value(step) for step, number in points.items())
    doubled = int(stage.reader.run(run_id)["points"]) - there
    found = Found(page["accepted"], page["accepted"] - there, doubled, wrong)
    return Row("forks while 3 threads log", count, found, drain=drain, hung=int(hung))


def damages(stage: Stage, trials: int, chance: random.Random) -> Row:
    """A spool with one fault, read back; only what the fault touched may be missing, and nothing may be wrong."""
    original = stage.folder / "damaged"
    make_spool(stage, original)
    (folder,) = (path for path in original.iterdir() if path.is_dir())
    found, unread, touched_total, unreported, raised = Found(), 0, 0, 0, 0
    longest = 0.0
    for _ in range(trials):
        copy = stage.folder / "trial" / folder.name
        shutil.copytree(folder, copy)
        segment = chance.choice(sorted(copy.glob("*.seg")))
        touched = spoil(segment, chance)
        transport = MemoryTransport()
        began = time.monotonic()
        try:
            sent = deliver_folder(copy, lambda meta, transport=transport: transport, lambda meta: True)
        except (WireError, OSError):
            sent = None  # what `rundial sync` says and leaves as it is
        except Exception as error:
            print(f"damage raised {type(error).__name__}: {error}", file=sys.stderr)
            raised += 1
            sent = None
        longest = max(longest, time.monotonic() - began)
        if sent is None:
            unread += 1
        else:
            seen = check_events(transport.events, touched)
            touched_total += seen[1]
            unreported += seen[1] > 0 and not (sent.damaged or any(isinstance(e, Gap) for e in transport.events))
            found = found.plus(seen[0])
        shutil.rmtree(copy.parent)
    shutil.rmtree(original)
    note = f"{touched_total} records inside the damage, {unread - raised} folders kept unread, "
    note += f"{unreported} losses unreported, {raised} exceptions"
    return Row("damaged spools", trials, found._replace(wrong=found.wrong + raised), drain=longest, note=note)


def make_spool(stage: Stage, directory: Path) -> None:
    """A spool folder in chunks of a known size, as a process leaves it that never met a server."""
    code = """
import sys
import rundial as rd
sys.path.insert(0, sys.argv[1])
from soak import CHUNK_RECORDS, KEY, SPOOL_RECORDS, value
run = rd.init(project="soak", mode="offline", spool_directory=sys.argv[2], quiet=True)
for step in range(SPOOL_RECORDS):
    run.log({KEY: value(step)}, step=step)
    if step % CHUNK_RECORDS == CHUNK_RECORDS - 1:
        run.flush(0)
run.finish(1)
"""
    variables = environment(stage.folder, {"PYTHONPATH": str(REPOSITORY)})
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(directory)]
    subprocess.run(command, env=variables, cwd=stage.folder, check=True, timeout=PATIENCE)


def spoil(path: Path, chance: random.Random) -> tuple[int, int]:
    """Put one fault into a segment; the sequence numbers of the chunks that it touches."""
    _, segment, _ = scan_segment(path)
    data = bytearray(path.read_bytes())
    first = chance.randrange(len(data))
    kind = chance.choice(("flip", "cut", "zero"))
    if kind == "flip":
        data[first] ^= 1 << chance.randrange(8)
        last = first + 1
    elif kind == "cut":
        del data[first:]
        last = segment.size
    else:
        last = min(len(data), first + chance.randrange(1, 8192))
        data[first:last] = bytes(last - first)
    path.write_bytes(data)
    hit = [place for place in segment.places if place.offset < last and first < place.offset + place.length]
    return (hit[0].first, hit[-1].next) if hit else (0, 0)


def check_events(events: list[Event], touched: tuple[int, int]) -> tuple[Found, int]:
    """What is lost beyond the damage, doubled or wrong; and how many records the damage itself cost."""
    steps: dict[int, float] = {}
    doubled = 0
    for event in events:
        if isinstance(event, Metrics):
            doubled += event.step in steps
            steps[event.step] = float(event.values[KEY])
    wrong = sum(number != value(step) for step, number in steps.items())
    missing = [step for step in range(SPOOL_RECORDS) if step not in steps]
    inside = sum(touched[0] <= step + 1 < touched[1] for step in missing)  # the first record is the run's start
    return Found(SPOOL_RECORDS, len(missing) - inside, doubled, wrong), inside


# -- the table ------------------------------------------------------------------------------------------------------

HEADINGS = (
    "",
    "trials",
    "records accepted",
    "lost",
    "doubled",
    "wrong",
    "hung",
    "longest `log()`",
    "longest empty call",
    "calls over 1 ms",
    "of the empty one",
    "longest drain",
    "",
)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [HEADINGS, tuple("---" if at in (0, len(HEADINGS) - 1) else "---:" for at in range(len(HEADINGS)))]
    for row in rows:
        timed = row.longest > 0
        counts = (row.trials, *row.found, row.hung)
        times = (f"{row.longest * 1e3:.2f} ms", f"{row.longest_empty * 1e3:.2f} ms", f"{row.slow}", f"{row.slow_empty}")
        cells = [f"{count:,}" for count in counts] + (list(times) if timed else [""] * 4)
        lines.append((row.what, *cells, f"{row.drain:.2f} s", row.note))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--forks", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES", FULL_MINUTES)))
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is left to chance")
    arguments = parser.parse_args()
    if arguments.trainer:
        return _trainer(arguments)
    warnings.simplefilter("ignore", RuntimeWarning)  # each fault is announced, thousands of them
    share = min(1.0, arguments.minutes / FULL_MINUTES)
    chance = random.Random(arguments.seed)
    rows = []
    with stage() as made:
        os.environ |= {"RUNDIAL_HOME": str(made.folder / "rundial")}
        for trials in (
            lambda: kills(made, max(8, round(KILLS * share)), chance),
            lambda: exits(made, max(2 * len(ENDINGS), round(EXITS * share))),
            lambda: damages(made, max(100, round(DAMAGES * share)), chance),
            lambda: forks(made, max(100, round(FORKS * share))),
            lambda: episodes(made, 60 * arguments.minutes, chance),
        ):
            began = time.monotonic()
            rows.append(trials())
            print(f"{rows[-1].what}: {rows[-1].trials} trials in {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(f"seed {arguments.seed}\n\n{table(rows)}")
    if not all(row.holds for row in rows):
        sys.exit("soak: something was lost, doubled or wrong, or hung; see above")


def _trainer(arguments: argparse.Namespace) -> None:
    path, run_id, *rest = arguments.trainer
    if arguments.forks:
        return fork_while_threads_log(Page(Path(path)), run_id, arguments.forks)
    pace, calls, seconds, ending = rest
    train(Page(Path(path)), run_id, int(pace), int(calls), float(seconds), ending)


if __name__ == "__main__":
    main()
