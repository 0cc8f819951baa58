"""``rundial metrics``: the points of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from rundial.cli.context import Project, RunId, Workspace, command, connect, find_run, group, options
from rundial.cli.exporting import Query
from rundial.cli.output import answer, cell, moment, plain, print_json, table
from rundial.cli.rows import (
    END_OF_TIME_MS,
    End,
    FileFormat,
    Follow,
    Interval,
    Out,
    PageSize,
    Start,
    about_export,
    end,
    write,
)
from rundial.cli.rows import follow as follow_rows
from rundial.client import HttpClient
from rundial.http import Json, next_cursor

app = group("Points of metrics.")

COLUMNS = ("metricKey", "step", "timestampMs", "value")
LATE_MS = 10_000
"""How much later than its neighbours a point may arrive and still be followed."""
MAX_KEYS = 100_000
WHOLE_POINTS = 20_000
"""Series up to this length are asked for whole."""
_KEYS_AT_ONCE = 100

Keys = Annotated[list[str] | None, typer.Option(help="Only these metrics. Repeatable, or with commas. Default: all.")]


@command(app, "tail")
def tail(
    run: RunId,
    workspace: Workspace = None,
    project: Project = None,
    keys: Keys = None,
    points: Annotated[int, typer.Option(min=1, help="Points of each metric.")] = 10,
    follow: Follow = False,
    interval_seconds: Interval = 2.0,
) -> None:
    """Show the last points of each metric, by step."""
    with connect() as client:
        found = find_run(client, run, workspace, project)
        if follow:
            return _follow(client, found, keys, points, interval_seconds)
        series = _series(client, found, _chosen(client, found, keys), points)
    rows = [_row(it["metricKey"], point) for it in series for point in it["points"]]
    headings = ("metric", "step", "time", "value")
    answer({"series": {"runId": run, "series": series}}, lambda: table(headings, rows, f"{run} has no such metrics."))


def _row(key: str, point: Json) -> tuple[Any, ...]:
    return key, point["step"], moment(point["timestampMs"]), point["value"]


def _chosen(client: HttpClient, run: Json, keys: Sequence[str] | None) -> dict[str, Json]:
    """The metrics that are meant, with what the server says of them. A comma separates, unless a name has it."""
    known = {it["metricKey"]: it for it in client.list_metric_keys(run["projectId"], run["runId"], limit=MAX_KEYS)}
    if not keys:
        return known
    names = [name for text in keys for name in ([text] if text in known else text.split(",")) if name]
    return {name: known.get(name, {}) for name in names}


def _series(client: HttpClient, run: Json, keys: Mapping[str, Json], points: int) -> list[Json]:
    """The last points of each metric, oldest first."""
    # A server thins a series evenly, and only one that comes whole has its last points for certain.
    short = [key for key, about in keys.items() if about.get("count", 0) <= WHOLE_POINTS]
    found: dict[str, Json] = {}
    for begin in range(0, len(short), _KEYS_AT_ONCE):
        some = short[begin : begin + _KEYS_AT_ONCE]
        page = client.query_series(run["projectId"], run["runId"], some, max_points_per_series=WHOLE_POINTS)
        found |= {it["metricKey"]: {**it, "points": it["points"][-points:]} for it in page["series"]}
    for key, about in keys.items():
        if key not in found:
            found[key] = {"metricKey": key, "points": _end(client, run, key, about, points)}
    return [found[key] for key in keys]


def _end(client: HttpClient, run: Json, key: str, about: Json, points: int) -> list[Json]:
    """The last points of a long series, out of a time that is made longer until it holds enough of them."""
    window = 60_000
    while True:
        start = about["lastTimeMs"] - window
        rows = {row["step"]: row for row in _since(client, run, [key], start)}  # of one step the last counts
        if len(rows) >= points or start < 0:
            return [rows[step] for step in sorted(rows)][-points:]
        window *= 8


def _follow(client: HttpClient, run: Json, keys: Sequence[str] | None, points: int, interval: float) -> None:
    series = _series(client, run, _chosen(client, run, keys), points)
    shown = [{**point, "metricKey": it["metricKey"]} for it in series for point in it["points"]]
    for point in shown:
        _print(point)
    known = {_identity(point) for point in shown}
    newest = max((point["timestampMs"] for point in shown), default=0)

    def show() -> None:
        nonlocal known, newest
        names = list(_chosen(client, run, keys)) if keys else None
        for point in _since(client, run, names, newest - LATE_MS):
            if _identity(point) not in known:
                _print(point)
                known.add(_identity(point))
                newest = max(newest, point["timestampMs"])
        known = {identity for identity in known if identity[2] >= newest - LATE_MS}

    follow_rows(client, run, interval, show)


def _since(client: HttpClient, run: Json, keys: Sequence[str] | None, start_ms: int) -> Iterator[Json]:
    cursor: str | None = None
    while True:
        page = client.export_metrics_page(
            run["projectId"],
            run["runId"],
            max(0, start_ms),
            END_OF_TIME_MS,
            metric_keys=keys,
            limit=10_000,
            cursor=cursor,
        )
        yield from page["rows"]
        cursor = next_cursor(page)
        if cursor is None:
            return


def _identity(point: Json) -> tuple[str, int, int]:
    return point["metricKey"], point["step"], point["timestampMs"]


def _print(point: Json) -> None:
    if options.json:
        print_json({name: point[name] for name in COLUMNS})
    elif not options.quiet:
        values = moment(point["timestampMs"]), plain(point["metricKey"]), point["step"], cell(point["value"])
        print(*values, sep="  ", flush=True)


@command(app, "export")
def export_points(
    run: RunId,
    out: Out,
    workspace: Workspace = None,
    project: Project = None,
    keys: Keys = None,
    format: FileFormat = "json",
    start_ms: Start = 0,
    end_ms: End = None,
    page_size: PageSize = 1000,
) -> None:
    """Write all points of a run into a file, raw and by time. Interrupted, the same command goes on where it was."""
    with connect() as client:
        found = find_run(client, run, workspace, project)
        chosen = list(_chosen(client, found, keys)) if keys else None

        def page(cursor: str | None) -> Json:
            return client.export_metrics_page(
                found["projectId"], run, start_ms, end(end_ms), metric_keys=chosen, limit=page_size, cursor=cursor
            )

        about = about_export(client, found, start_ms, end_ms) | ({"metricKeys": chosen} if chosen else {})
        write(Query("metrics", COLUMNS, page, about), out, format)
