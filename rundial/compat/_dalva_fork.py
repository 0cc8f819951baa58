"""A new run that goes on from what another one has: its config and its metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from rundial.compat.server import ask
from rundial.config import key_for
from rundial.errors import RequestError
from rundial.runs import Run

PAGE = 10_000
Json = dict[str, Any]


def parent_of(endpoint: str, run_id: str) -> Json:
    """The run to fork, as the server knows it. Raises :class:`RequestError`: it does not."""
    try:
        return ask(endpoint, key_for(endpoint), "GET", f"/api/v1/runs/{quote(run_id, safe='')}")
    except RequestError as error:
        raise RequestError(f"run {run_id!r} cannot be forked: {error}", error.status_code) from error


def copy_metrics(endpoint: str, parent: Json, run: Run) -> None:
    """Log every point of ``parent`` again, at its step and time, and its single values."""
    series = set()
    for row in _points(endpoint, parent["runId"]):
        series.add(row["metricKey"])
        run.log_metric(row["metricKey"], row["value"], step=row["step"], time_ms=row["timestampMs"])
    run.summary({key: value for key, value in parent["summary"].items() if key not in series})
    run.event("fork", parent=parent["runId"])


def _points(endpoint: str, run_id: str) -> Iterator[Json]:
    cursor = None
    while True:
        body = {"runId": run_id, "limit": PAGE, "format": "json", "cursor": cursor}
        page = ask(endpoint, key_for(endpoint), "POST", "/api/v1/export/metrics", body)
        yield from page["rows"]
        cursor = page["page"]["nextCursor"]
        if cursor is None:
            return
