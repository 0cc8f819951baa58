"""``rundial export``: everything of runs as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rundial.cli.context import Workspace, connect, target
from rundial.cli.output import answer, note, progress, say
from rundial.client import HttpClient
from rundial.errors import ConfigError, RequestError, RundialError
from rundial.exports.tables import Format
from rundial.http import Json


def export(
    targets: Annotated[list[str], typer.Argument(metavar="PROJECT|RUN…", help="Ids of runs, or projects with all.")],
    format: Annotated[Format, typer.Option(help="Of the tables.")] = "parquet",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder, or file of --html. Default: rundial-export.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="One page to look at instead, which needs no server.")] = False,
    workspace: Workspace = None,
) -> None:
    """Write everything of runs into a folder; `rundial import rundial` takes it in again. --html makes a page."""
    from rundial.exports.project import runs_of

    with connect() as client:
        runs = runs_of(client, target(workspace).workspace, targets)
        if not runs:
            raise RundialError("there are no runs to export.")
        if html:
            return _page(client, runs, out or Path("rundial-export.html"))
        _files(client, runs, out or Path("rundial-export"), format)


def _files(client: HttpClient, runs: list[Json], out: Path, form: Format) -> None:
    from rundial.exports.project import export_runs

    with progress("Exporting", len(runs), f"of {len(runs)} runs") as advance:
        try:
            report = export_runs(client, runs, out, form, lambda what: advance(1) if what == "run" else None)
        except RequestError as error:
            error.message += " What has come is kept: the same command goes on from there."
            raise
        except KeyboardInterrupt:
            raise RundialError("interrupted. What has come is kept: the same command goes on from there.") from None
    document = {
        "out": str(out),
        "format": form,
        "runs": len(runs),
        "rows": report.rows,
        "artifacts": report.artifacts,
        "leftOut": report.left_out,
    }

    def human() -> None:
        rows = ", ".join(f"{count:,} {table}" for table, count in report.rows.items() if count)
        say(f"{len(runs):,} runs are in {out}: {rows or 'no rows'}; {report.artifacts:,} artifacts.")
        for what, count in report.left_out.items():
            note(f"  not carried: {count:,} {what}")

    answer(document, human)


def _page(client: HttpClient, runs: list[Json], out: Path) -> None:
    from rundial.exports.html import write_page

    if out.exists() and not out.is_file():
        raise ConfigError(f"{out} is no file that a page could replace. Give --out the name of one.")
    with progress("Exporting", len(runs), f"of {len(runs)} runs") as advance:
        left_out = write_page(client, runs, out, advance)
    document = {"out": str(out), "runs": len(runs), "bytes": out.stat().st_size, "leftOut": left_out}

    def human() -> None:
        say(f"{len(runs):,} runs are in {out}; any browser opens it.")
        for what, count in left_out.items():
            note(f"  not carried: {count:,} {what}")

    answer(document, human)
