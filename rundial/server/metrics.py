"""Metrics of the server itself for Prometheus, in its text format.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.errors import ApiError
from rundial.server.store.vitals import Gauges
from rundial.version import __version__

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram, in seconds."""
UNKNOWN = "unknown"
"""The route of what has none: paths are of the client's making, so they are never labels."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Answered(NamedTuple):
    """A request that was answered."""

    method: str
    route: str
    """As it stands in the route table, with the names of its parameters; :data:`UNKNOWN` for none."""
    status: int
    seconds: float


class Metrics:
    """Counts since the process started. For the event loop alone."""

    def __init__(self) -> None:
        self._started = time.time()
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._buckets: dict[tuple[str, str], list[int]] = {}
        self._seconds: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[str] = Counter()
        self._records: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._ingest_bytes = 0

    def answered(self, one: Answered) -> None:
        """Count a request and how long it took."""
        method = one.method if one.method in _METHODS else UNKNOWN
        self._requests[method, one.route, str(one.status)] += 1
        place = (method, one.route)
        buckets = self._buckets.setdefault(place, [0] * (len(BOUNDS) + 1))
        buckets[next((i for i, bound in enumerate(BOUNDS) if one.seconds <= bound), len(BOUNDS))] += 1
        self._seconds[place] += one.seconds  # type: ignore[assignment]  # a Counter adds up what it is given

    def refused(self, code: str) -> None:
        """Count a request that was not granted, by the code of its answer."""
        self._refused[code] += 1

    def took(self, size: int, reply: Mapping[str, Any]) -> None:
        """Count what a request with records brought: ``size`` bytes as they arrived, and the answer to it."""
        self._ingest_bytes += size
        self._records["accepted"] += reply["accepted"]
        self._records["duplicate"] += reply["duplicate"]
        self._rejected.update(bad["code"] for bad in reply["rejected"])

    def text(self, gauges: Gauges, streams: int, process: str | None = None) -> str:
        """Everything in the text format.

        Args:
            gauges: of the store, which all processes share.
            streams: live streams that are open here.
            process: where there are several, what tells this one from the others.
        """
        own = {} if process is None else {"process": process}
        lines: list[str] = []

        def show(name: str, kind: str, text: str, samples: Iterable[tuple[dict[str, str], float]]) -> None:
            lines.extend((f"# HELP rundial_{name} {text}", f"# TYPE rundial_{name} {kind}"))
            lines.extend(f"rundial_{name}{_labels(labels)} {_number(value)}" for labels, value in samples)

        def by(label: str, counts: Mapping[str, int]) -> list[tuple[dict[str, str], float]]:
            return [({label: key} | own, count) for key, count in sorted(counts.items())]

        show("info", "gauge", "The version that runs.", [({"version": __version__} | own, 1)])
        requests = [
            ({"method": method, "route": route, "status": status} | own, float(count))
            for (method, route, status), count in sorted(self._requests.items())
        ]
        show("requests_total", "counter", "Answered requests.", requests)
        self._histogram(lines, own)
        show("requests_refused_total", "counter", "Requests that were not granted.", by("code", self._refused))
        show("ingest_bytes_total", "counter", "Bytes of records as they arrived.", [(own, self._ingest_bytes)])
        show("ingest_records_total", "counter", "Records that arrived.", by("result", self._records))
        show("ingest_rejected_total", "counter", "Records that were refused.", by("code", self._rejected))
        show("streams_open", "gauge", "Live streams that are open.", [(own, streams)])
        show("writer_waiting", "gauge", "Writes that wait for their turn.", [(own, gauges.writer_waiting)])
        show("inbox_batches", "gauge", "Batches that are not compacted.", [({}, gauges.inbox_batches)])
        show("inbox_points", "gauge", "Points in them.", [({}, gauges.inbox_points)])
        lag = gauges.compactor_lag_seconds
        show("compactor_lag_seconds", "gauge", "Age of the oldest batch that is not compacted.", [({}, lag)])
        show("runs_running", "gauge", "Runs that a process writes to.", [({}, gauges.runs_running)])
        show("blobs", "gauge", "Files of artifacts and media.", [({}, gauges.blobs)])
        show("blob_bytes", "gauge", "Bytes of files of artifacts and media.", [({}, gauges.blob_bytes)])
        damaged = [(own, gauges.damaged_chunks)]
        show("damaged_chunks", "gauge", "Chunks that were left out because they are not what was written.", damaged)
        show("start_time_seconds", "gauge", "When the process started, Unix time.", [(own, self._started)])
        show("cpu_seconds_total", "counter", "CPU time of the process.", [(own, time.process_time())])
        show("resident_memory_bytes", "gauge", "Memory of the process.", [(own, _resident())])
        show("open_fds", "gauge", "Open file descriptors.", [(own, _open_fds())])
        return "\n".join(lines) + "\n"

    def _histogram(self, lines: list[str], own: dict[str, str]) -> None:
        name = "rundial_request_seconds"
        lines.extend((f"# HELP {name} How long an answer took to be complete.", f"# TYPE {name} histogram"))
        for (method, route), buckets in sorted(self._buckets.items()):
            labels = {"method": method, "route": route} | own
            total = 0
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), buckets):
                total += count
                lines.append(f"{name}_bucket{_labels(labels | {'le': bound})} {total}")
            lines.append(f"{name}_sum{_labels(labels)} {_number(self._seconds[method, route])}")
            lines.append(f"{name}_count{_labels(labels)} {total}")


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except OSError:  # not Linux
        return 0


def _open_fds() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # not Linux
        return 0


async def metrics(request: Request) -> Response:
    """``GET /metrics``: for the token of ``--metrics-token``, or the owner's key."""
    principal = request.scope.get("principal")
    if principal is not None and not principal.everywhere:  # they are about every workspace
        raise ApiError(403, "The metrics are for the owner of the server.", "Ask him for the token of the metrics.")
    state = request.app.state
    gauges = await run_in_threadpool(state.store.vitals.gauges)
    process = str(os.getpid()) if state.store.shared else None
    text = state.metrics.text(gauges, state.hub.open_streams, process)
    return Response(text, headers={"content-type": CONTENT_TYPE})
