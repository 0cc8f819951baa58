"""What ``rundial metrics`` and ``rundial logs`` share: rows of a run, followed as they come or written into a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from rundial.cli.context import find_run
from rundial.cli.exporting import STANDARD_OUTPUT, Format, Query, export
from rundial.cli.output import answer, note, say
from rundial.client import HttpClient
from rundial.errors import RequestError, RundialError
from rundial.http import Json

END_OF_TIME_MS = 253_402_300_799_999
"""The last moment of the year 9999."""

Follow = Annotated[bool, typer.Option("--follow", help="Go on printing what comes, until the run ends.")]
Interval = Annotated[float, typer.Option("--interval-seconds", min=0.1, help="How often to look, with --follow.")]
Out = Annotated[Path, typer.Option("--out", help="File to write; `-` is the standard output.")]
FileFormat = Annotated[Format, typer.Option("--format", help="What to write. Parquet needs `rundial[export]`.")]
Start = Annotated[int, typer.Option("--start-ms", help="Only from this moment on, in Unix milliseconds.")]
End = Annotated[int | None, typer.Option("--end-ms", help="Only up to this moment, in Unix milliseconds.")]
PageSize = Annotated[int, typer.Option("--page-size", min=1, max=10_000, help="Rows to ask for at a time.")]


def follow(client: HttpClient, run: Json, interval: float, show: Callable[[], None]) -> None:
    """Show what comes until the run has ended, or somebody has had enough of it.

    Args:
        client: the server.
        run: the run, as it was found.
        interval: seconds between two looks.
        show: shows what has come since it was called last.
    """
    with suppress(KeyboardInterrupt):
        while True:
            over = run["status"] != "running"
            show()
            if over:
                return note(f"{run['runId']} is {run['status']}.")
            time.sleep(interval)
            run = find_run(client, run["runId"])


def end(end_ms: int | None) -> int:
    """The moment up to which is exported."""
    return END_OF_TIME_MS if end_ms is None else end_ms


def about_export(client: HttpClient, run: Json, start_ms: int, end_ms: int | None) -> Json:
    """What an export is of."""
    where = {"endpoint": client.endpoint, "projectId": run["projectId"], "runId": run["runId"]}
    return {**where, "startMs": start_ms, "endMs": end(end_ms)}


def write(query: Query, out: Path, format: Format) -> None:
    """Export, and say how many rows there are, or in the error that nothing is lost. Raises :class:`RundialError`."""
    try:
        rows = export(query, out, format)
    except RequestError as error:
        error.message += " What has come is kept: the same command goes on from there."
        raise
    except KeyboardInterrupt:
        raise RundialError("interrupted. What has come is kept: the same command goes on from there.") from None
    if out not in STANDARD_OUTPUT:
        answer({"out": str(out), "rows": rows, "format": format}, lambda: say(f"{rows:,} rows are in {out}."))
