"""``rundial logs``: the lines of a run."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rundial.cli.context import Project, RunId, Workspace, command, connect, find_run, group, options
from rundial.cli.exporting import Query
from rundial.cli.output import answer, moment, plain, print_json
from rundial.cli.rows import End, FileFormat, Follow, Interval, Out, PageSize, Start, about_export, end, write
from rundial.cli.rows import follow as follow_rows
from rundial.client import HttpClient
from rundial.http import Json, given, next_cursor

app = group("Lines of logs.")

COLUMNS = ("timestampMs", "sequence", "level", "message")
MOST_LINES = 10_000

Level = Literal["trace", "debug", "info", "warn", "error", "fatal"]


@command(app, "tail")
def tail(
    run: RunId,
    workspace: Workspace = None,
    project: Project = None,
    min_level: Annotated[Level, typer.Option(help="Leave out what matters less.")] = "trace",
    text: Annotated[str | None, typer.Option(help="Only lines with this in them, in whatever case.")] = None,
    lines: Annotated[int, typer.Option(min=1, max=MOST_LINES, help="How many.")] = 100,
    follow: Follow = False,
    interval_seconds: Interval = 2.0,
) -> None:
    """Show the last lines, oldest first."""
    with connect() as client:
        found = find_run(client, run, workspace, project)
        page = _last(client, found, min_level, text, lines)
        if not follow:
            empty = "No such lines."
            answer({"logs": page}, lambda: _show(page["rows"]) if page["rows"] else print(empty))
            return
        _show(page["rows"])
        _follow(client, found, page, min_level, text, interval_seconds)


def _last(client: HttpClient, run: Json, level: str, text: str | None, lines: int) -> Json:
    """The newest lines, in the order in which they came. One answer may hold fewer than were asked for."""
    place = run["projectId"], run["runId"]
    page = client.query_logs(*place, limit=lines, min_level=level, text=text)
    rows, first = list(page["rows"]), page
    while len(rows) < lines and (cursor := next_cursor(page)) is not None:
        page = client.query_logs(*place, limit=lines - len(rows), min_level=level, text=text, cursor=cursor)
        rows += page["rows"]
    return {**first, "rows": rows[::-1]}


def _follow(client: HttpClient, run: Json, page: Json, level: str, text: str | None, interval: float) -> None:
    known = {_identity(row) for row in page["rows"]}
    cursor = (page.get("page") or {}).get("tailCursor")

    def show() -> None:
        nonlocal known, cursor
        if cursor is None:
            rows = _last(client, run, level, text, 1000)["rows"]  # an older server: whatever was not there before
            fresh = [row for row in rows if _identity(row) not in known]
            known |= {_identity(row) for row in fresh}
        else:
            fresh, cursor = _after(client, run, level, text, cursor)
        _show(fresh)

    follow_rows(client, run, interval, show)


def _after(client: HttpClient, run: Json, level: str, text: str | None, cursor: str) -> tuple[list[Json], str]:
    """The lines that came after a cursor, and the next one."""
    rows: list[Json] = []
    while True:
        body = given(projectId=run["projectId"], runId=run["runId"], minLevel=level, text=text, cursor=cursor)
        page = client.call("logs tail", "POST", "/query/logs", {**body, "order": "asc", "limit": 1000})
        rows += page["rows"]
        cursor = page["page"].get("tailCursor") or cursor
        if next_cursor(page) is None:
            return rows, cursor


def _identity(row: Json) -> tuple[int, int, str]:
    return row["timestampMs"], row["sequence"], row["message"]


def _show(rows: list[Json]) -> None:
    for row in rows:
        if options.json:
            print_json(row)
        elif not options.quiet:
            text = plain(row["message"]).replace("\n", "\n    ")
            print(f"{moment(row['timestampMs'])}  {row['level']:5}  {text}", flush=True)


@command(app, "export")
def export_lines(
    run: RunId,
    out: Out,
    workspace: Workspace = None,
    project: Project = None,
    format: FileFormat = "json",
    start_ms: Start = 0,
    end_ms: End = None,
    page_size: PageSize = 1000,
) -> None:
    """Write all lines of a run into a file. Interrupted, the same command goes on where it was."""
    with connect() as client:
        found = find_run(client, run, workspace, project)

        def page(cursor: str | None) -> Json:
            return client.export_logs_page(
                found["projectId"], run, start_ms, end(end_ms), limit=page_size, cursor=cursor
            )

        write(Query("logs", COLUMNS, page, about_export(client, found, start_ms, end_ms)), out, format)
