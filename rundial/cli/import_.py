"""``rundial import``: runs of other loggers from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Bring runs of other loggers here.", no_args_is_help=True)


@app.callback()
def _imports() -> None:
    """Bring runs of other loggers here."""


@app.command()
def wandb(
    directory: Annotated[Path, typer.Argument(help="The folder `wandb`, one that has it, or that of a single run.")],
    project: Annotated[str | None, typer.Option(help="Another project than the runs were in.")] = None,
) -> None:
    """Bring in runs of W&B: history, summary, configuration, media, artifacts, console and system metrics."""
    from rundial.compat.wandb._import import import_run, run_folders
    from rundial.errors import RundialError

    failed = 0
    for folder in run_folders(directory):
        try:
            found = import_run(folder, project)
        except RundialError as error:
            failed += 1
            print(f"{folder.name}: {error}")
            continue
        parts = f"{found.rows:,} rows, {found.media:,} media, {found.artifacts:,} artifacts, {found.lines:,} lines"
        print(f"{folder.name}: {found.project}/{found.name}: {parts}")
        if found.left_out:
            print(f"  {found.left_out:,} media or files are no longer there")
        if found.damaged:
            print(f"  {found.damaged} What came before it was brought in.")
    if failed:
        raise typer.Exit(1)
