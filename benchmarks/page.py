"""What the page costs in a real browser: its size, the first chart, many long runs, a live run, a long table.

::

    python benchmarks/page.py            # 100 runs of 100,000 points, 10,000 runs in a table: some minutes
    python benchmarks/page.py --quick    # a tenth of both

Needs Playwright and Chromium (``CHROMIUM`` names another than /usr/bin/chromium), and the page as ``make ui`` builds
it. Each figure stands beside its budget; the exit status is 1 when one is missed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from load import Connection, Curves, send
from playwright.sync_api import Browser, Page, sync_playwright
from rundial_server import REPOSITORY, Server, server

from rundial import wire
from rundial.events import Metrics, RunStart

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--no-first-run", "--disable-gpu"]
STATIC = REPOSITORY / "rundial" / "server" / "static" / "assets"
ROUNDS = 7
LIVE_SECONDS = 10

WATCH = """
window.seen = (test) => new Promise((found, fail) => {
  const end = performance.now() + 60000;
  const look = () => {
    if (test()) requestAnimationFrame(() => found(performance.now()));
    else if (performance.now() > end) fail(new Error(`never: ${test}`));
    else requestAnimationFrame(look);
  };
  look();
});
window.chartReady = (lines) => {
  const plot = document.querySelector(".plot[data-loaded=true]");
  return plot !== null && Number(plot.dataset.points) > 0 && (!lines || Number(plot.dataset.lines) === lines);
};
"""
"""`seen` tells when a test first held, at the frame after; tests are made once a frame."""


class Report:
    """Figures beside their budgets, printed as they come."""

    def __init__(self) -> None:
        self.missed = 0

    def add(self, what: str, figure: float, budget: float | None, unit: str) -> None:
        over = budget is not None and figure > budget
        self.missed += over
        bound = "" if budget is None else f"{budget:>8g} {unit}" + ("  MISSED" if over else "")
        print(f"{what:<64}{figure:>9.1f} {unit:<8}{bound}", flush=True)


def main() -> int:
    """Print the table; 1 when a budget was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    runs, steps, rows = (10, 10_000, 1_000) if quick else (100, 100_000, 10_000)
    report = Report()
    print(f"{'':<64}{'measured':>9} {'':<8}{'budget':>8}")
    script = sum(len(gzip.compress(path.read_bytes())) for path in STATIC.glob("app-*.js"))
    report.add("JavaScript, gzip", script / 1000, 150, "kB")
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder) / "data", Path(folder) / "home") as place,
        sync_playwright() as playwright,
    ):
        fill(place, runs, steps, rows)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        first_chart(browser, place, steps, report)
        overlay(browser, place, runs, report)
        for metrics, rate in ((10, 10), (1, 100)):
            live(browser, place, metrics, rate, report)
        table(browser, place, rows, report)
        browser.close()
    return 1 if report.missed else 0


def fill(place: Server, runs: int, steps: int, rows: int) -> None:
    """The runs of the overlay, two senders at a time, and the rows of the table."""
    began = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(send_run, [(place.url, place.key, number, steps) for number in range(runs)]))
    connection = Connection(place.url, place.key)
    for number in range(rows):
        values = {"val/acc": (number * 37 % 1000) / 1000, "val/loss": number / rows, "train/loss": 1.0}
        config = {"lr": 10 ** -(number % 5), "layers": number % 12, "optimizer": {"name": ["adam", "sgd"][number % 2]}}
        post(connection, f"run_table_{number}", "table", 0, values, config)
    connection.close()
    print(f"({runs * steps:,} points and {rows:,} runs sent in {time.perf_counter() - began:.0f} s)")
    time.sleep(5)  # the compactor comes to rest


def send_run(task: tuple[str, str, int, int]) -> None:
    url, key, number, steps = task
    send(url, key, Curves(f"run_long_{number}", 1, steps), number + 1, Barrier(1))


def post(
    connection: Connection, run_id: str, project: str, step: int, values: dict[str, float], config: dict[str, object]
) -> None:
    """One step of a run; at step 0 with its start."""
    events: list[RunStart | Metrics] = [Metrics(time.time_ns(), step, dict(values))]
    if step == 0:
        started = time.time_ns()
        events.insert(0, RunStart(started, run_id, "default-workspace", project, run_id, config=config))
    stream = run_id.encode().hex().rjust(32, "0")[-32:]
    chunk = wire.Chunk(stream, step + (step > 0), len(events), b"".join(wire.encode(event) for event in events))
    headers = {"content_type": wire.CONTENT_TYPE, "x_rundial_stream": stream, "x_rundial_protocol": "2"}
    connection.request("POST", "/api/v1/ingest/records", wire.pack_chunk(chunk), **headers)


@contextmanager
def signed_in(browser: Browser, place: Server) -> Iterator[Page]:
    """A page that is signed in, with the page's files in its cache."""
    connection = Connection(place.url, place.key)
    link = json.loads(connection.request("POST", "/api/v1/auth/links"))["url"]
    connection.close()
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script(WATCH)
    page.goto(link)
    page.wait_for_url(f"{place.url}/#/")
    yield page
    page.close()


def project(place: Server, name: str, query: str = "") -> str:
    return f"{place.url}/#/p/default-workspace/{name}{query}"


def first_chart(browser: Browser, place: Server, steps: int, report: Report) -> None:
    """From the navigation to the frame with the curve, the page's files cached."""
    with signed_in(browser, place) as page:

        def round_(number: int) -> float:
            page.goto("about:blank")
            page.goto(f"{place.url}/#/runs/run_long_{number % 10}", wait_until="commit")
            return float(page.evaluate("seen(() => chartReady(1))"))

        report.add(f"first chart of a run of {steps:,} points", typical(round_), 300, "ms")

        def project_round(number: int) -> float:
            page.goto("about:blank")
            page.goto(project(place, "benchmark"), wait_until="commit")
            return float(page.evaluate("seen(() => chartReady(10))"))

        report.add("first chart of a project (its ten newest runs)", typical(project_round), 300, "ms")


def typical(measure: Callable[[int], float]) -> float:
    """The median over the rounds, of which the first warms up."""
    return statistics.median([measure(number) for number in range(ROUNDS + 1)][1:])


def overlay(browser: Browser, place: Server, runs: int, report: Report) -> None:
    """All runs in one chart, from the click that shows them; then a zoom, from the end of the drag."""
    with signed_in(browser, place) as page:
        shown, first, fine = [], [], []
        for number in range(ROUNDS):
            page.goto("about:blank")
            page.goto(project(place, "benchmark"))
            page.evaluate("seen(() => chartReady(10))")
            ready = f"seen(() => chartReady({runs}))"
            click = "[...document.querySelectorAll('button')].find((one) => one.textContent === 'all').click()"
            shown.append(
                page.evaluate(f"(async () => {{ const at = performance.now(); {click}; return await {ready} - at }})()")
            )
            times = drag(page, 0.3 + 0.02 * number)
            first.append(times["first"])
            fine.append(times["fine"])
        report.add(f"{runs} runs overlaid, from the click", statistics.median(shown), 1000, "ms")
        report.add("zoom, from the end of the drag to the new range drawn", statistics.median(first), 100, "ms")
        report.add("  and to the finer data of all runs", statistics.median(fine), None, "ms")


AFTER_DRAG = """new Promise((found) => {
  document.addEventListener("mouseup", async () => {
    const at = performance.now();
    const first = await seen(() => location.hash.includes("zoom="));
    const finer = (entry) => entry.name.endsWith("/query/buckets") && entry.startTime > at;
    const fine = await seen(() => performance.getEntriesByType("resource").some(finer));
    found({ first: first - at, fine: fine - at });
  }, { once: true, capture: true });
})"""


def drag(page: Page, start: float) -> dict[str, float]:
    """Milliseconds from letting go to the frame with the new range, and to the one with the finer data."""
    area = page.locator(".u-over").first.bounding_box()
    assert area is not None
    page.evaluate(f"void (window.zoomed = {AFTER_DRAG})")
    page.mouse.move(area["x"] + area["width"] * start, area["y"] + 40)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * (start + 0.2), area["y"] + 40, steps=4)
    page.mouse.up()
    return dict(page.evaluate("window.zoomed"))


def live(browser: Browser, place: Server, metrics: int, rate: int, report: Report) -> None:
    """How much of the time the main thread is busy while a run logs and its charts are open."""
    run_id = f"run_live_{metrics}"
    stop = Event()
    feeder = Thread(target=feed, args=(place, run_id, metrics, rate, stop))
    feeder.start()
    try:
        with signed_in(browser, place) as page:
            page.goto(f"{place.url}/#/runs/{run_id}")
            page.evaluate("seen(() => chartReady(1))")
            time.sleep(2)
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable")
            busy = task_seconds(session)
            before = float(page.locator(".plot").first.get_attribute("data-points") or 0)
            began = time.perf_counter()
            time.sleep(LIVE_SECONDS)
            share = (task_seconds(session) - busy) / (time.perf_counter() - began)
            assert float(page.locator(".plot").first.get_attribute("data-points") or 0) > before
    finally:
        stop.set()
        feeder.join()
    report.add(f"main thread busy, {metrics} x {rate} points/s live", share * 100, 10, "%")


def task_seconds(session: object) -> float:
    found = session.send("Performance.getMetrics")["metrics"]  # type: ignore[attr-defined]
    return float(next(metric["value"] for metric in found if metric["name"] == "TaskDuration"))


def feed(place: Server, run_id: str, metrics: int, rate: int, stop: Event) -> None:
    """Logs `rate` steps a second until it is stopped."""
    connection = Connection(place.url, place.key)
    began = time.perf_counter()
    step = 0
    while not stop.is_set():
        post(connection, run_id, "live", step, {f"m{number}": step % (7 + number) for number in range(metrics)}, {})
        step += 1
        time.sleep(max(0.0, began + step / rate - time.perf_counter()))
    connection.close()


SCROLL = """async () => {
  const list = document.querySelector(".list .scroll");
  const frames = [];
  let last = await new Promise(requestAnimationFrame);
  const end = last + 4000;
  while (last < end) {
    list.scrollTop += 120;
    if (list.scrollTop + list.clientHeight >= list.scrollHeight) list.scrollTop = 0;
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  return frames;
}"""


def table(browser: Browser, place: Server, rows: int, report: Report) -> None:
    """Frames while the table of a large project is scrolled, a notch of the wheel each frame."""
    with signed_in(browser, place) as page:
        page.goto(project(place, "table"))
        page.get_by_text(f"{rows:,} runs", exact=True).wait_for(timeout=120_000)
        page.evaluate("seen(() => chartReady())")
        time.sleep(1)
        frames = page.evaluate(SCROLL)
        browser.start_tracing(page=page, categories=["toplevel"])
        page.evaluate(SCROLL)
        busiest = longest_task(json.loads(browser.stop_tracing()))
    report.add(f"longest frame while {rows:,} runs are scrolled", max(frames), 50, "ms")
    report.add("  median frame", statistics.median(frames), None, "ms")
    report.add("  longest task of the page, in processor time", busiest, 50, "ms")


def longest_task(trace: dict[str, list[dict[str, Any]]]) -> float:
    """Milliseconds that the page's main thread worked without a pause: what other programs do is not in it."""
    events = trace["traceEvents"]
    mains = {
        (it["pid"], it["tid"]) for it in events if it["name"] == "thread_name" and "RendererMain" in it["args"]["name"]
    }
    tasks = (it for it in events if it["name"] == "ThreadControllerImpl::RunTask" and (it["pid"], it["tid"]) in mains)
    return max(float(it.get("tdur", 0)) for it in tasks) / 1000


if __name__ == "__main__":
    sys.exit(main())
