"""``rundial import``: runs of other loggers from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rundial.cli.context import Workspace, command, connect, group, options, target
from rundial.cli.output import answer, plain, progress, say
from rundial.errors import RundialError
from rundial.http import Json, given

if TYPE_CHECKING:
    from rundial.importers.draft import Draft

app = group("Bring runs of other loggers here, or of another server.")

NewProject = Annotated[str | None, typer.Option("--project", help="Another project than the runs were in.")]


@command(app, "wandb")
def wandb(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="The folder `wandb`, one that has it, or that of a single run.")
    ],
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


@command(app, "rundial")
def rundial(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="The folder that `rundial export` wrote.")],
    project: NewProject = None,
    workspace: Workspace = None,
) -> None:
    """Bring in what `rundial export` wrote, without loss. A second time it changes nothing."""
    from rundial.importers.native import read_export

    found = read_export(directory, target(workspace).workspace, project)
    _bring_in(found.drafts, len(found.drafts), found.finish)


@command(app, "tensorboard")
def tensorboard(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder with event files in it or below, or one of them.")
    ],
    project: NewProject = None,
    workspace: Workspace = None,
) -> None:
    """Bring in runs of TensorBoard: scalars, images, histograms, audio, texts and hyper-parameters."""
    from rundial.importers.tensorboard import read_logs

    drafts = read_logs(path, target(workspace).workspace, project)
    _bring_in(drafts, len(drafts))


@command(app, "mlflow")
def mlflow(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The folder `mlruns`, one that has it, or a SQLite database.")
    ],
    project: NewProject = None,
    workspace: Workspace = None,
) -> None:
    """Bring in runs of MLflow: metrics, parameters, tags, notes and artifacts. Each experiment is a project."""
    from rundial.importers.mlflow import read_store

    drafts = read_store(path, target(workspace).workspace, project)
    _bring_in(drafts, len(drafts))


@command(app, "trackio")
def trackio(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Trackio's folder, or the database or Parquet file of a project.")
    ],
    project: NewProject = None,
    workspace: Workspace = None,
) -> None:
    """Bring in runs of Trackio: metrics, configuration, media, alerts and system metrics."""
    from rundial.importers.trackio import read_store

    drafts = read_store(path, target(workspace).workspace, project)
    _bring_in(drafts, len(drafts))


def _bring_in(drafts: Iterable[Draft], total: int, between: Callable[..., None] | None = None) -> None:
    """Bring runs in, and say of each what became of it. Raises :class:`RundialError` when one of them failed."""
    from rundial.importers.draft import Target, bring_in

    done: list[Json] = []
    with connect() as client, progress("Importing", total, f"of {total} runs") as advance:
        server = Target(client)
        try:
            for result in bring_in(server, drafts, advance, **given(between=between)):
                done.append({"leftOut": {}, **result})
        finally:
            server.close()
    for run in done:
        _say_result(run)
    answer({"runs": done}, lambda: None)
    if failed := sum("error" in it for it in done):
        raise RundialError(f"{failed} of {len(done)} runs could not be brought in. The same command tries again.")


_WORDS = {
    "imported": "is here",
    "there": "was here already",
    "exists": "is left alone: there is another run of this id",
}


def _say_result(run: Json) -> None:
    said = f"failed: {run['error']}" if "error" in run else _WORDS[run["status"]]
    say(f"{plain(run['project'])}/{plain(run['runName'])} ({plain(run['runId'])}) {said}")
    for what, number in run["leftOut"].items():
        say(f"  not carried: {number:,} {plain(what)}")


def _say(folder: str, run: Json) -> None:
    if "error" in run:
        return say(f"{folder}: {run['error']}")
    counts = ", ".join(f"{run[name]:,} {name}" for name in ("rows", "media", "artifacts", "lines"))
    say(f"{folder}: {plain(run['project'])}/{plain(run['runName'])}: {counts}")
    if run["leftOut"]:
        say(f"  {run['leftOut']:,} media or files are no longer there")
    if run["damaged"]:
        say(f"  {run['damaged']} What came before it was brought in.")
