"""``rundial import``: runs of other loggers from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rundial.cli.context import command, group, options
from rundial.cli.output import answer, plain, progress, say
from rundial.errors import RundialError
from rundial.http import Json, given

app = group("Bring runs of other loggers here.")


@command(app, "wandb")
def wandb(
    directory: Annotated[Path, typer.Argument(help="The folder `wandb`, one that has it, or that of a single run.")],
    project: Annotated[str | None, typer.Option(help="Another project than the runs were in.")] = None,
) -> None:
    """Bring in runs of W&B: history, summary, configuration, media, artifacts, console and system metrics."""
    from rundial.compat.wandb._import import import_run, run_folders

    done: list[Json] = []
    folders = run_folders(directory)
    quiet = True if options.json or options.quiet else None
    with progress("Importing", len(folders), f"of {len(folders)} runs") as advance:
        for folder in folders:
            try:
                found: Any = import_run(folder, project, **given(endpoint=options.endpoint, quiet=quiet))
            except RundialError as error:
                done.append({"folder": str(folder), "error": str(error)})
            else:
                done.append(
                    {
                        "folder": str(folder),
                        "runId": found.run_id,
                        "runName": found.name,
                        "project": found.project,
                        "rows": found.rows,
                        "media": found.media,
                        "artifacts": found.artifacts,
                        "lines": found.lines,
                        "leftOut": found.left_out,
                        "damaged": found.damaged,
                    }
                )
            _say(Path(folder).name, done[-1])
            advance(1)
    answer({"runs": done}, lambda: None)
    if failed := sum("error" in it for it in done):
        raise RundialError(f"{failed} of {len(done)} runs could not be brought in.")


def _say(folder: str, run: Json) -> None:
    if "error" in run:
        return say(f"{folder}: {run['error']}")
    counts = ", ".join(f"{run[name]:,} {name}" for name in ("rows", "media", "artifacts", "lines"))
    say(f"{folder}: {plain(run['project'])}/{plain(run['runName'])}: {counts}")
    if run["leftOut"]:
        say(f"  {run['leftOut']:,} media or files are no longer there")
    if run["damaged"]:
        say(f"  {run['damaged']} What came before it was brought in.")
