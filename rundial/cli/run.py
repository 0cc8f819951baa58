"""``rundial run``: starting, finding, ending and changing runs."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from rundial.cli.context import Project, RunId, Target, Workspace, command, connect, find_run, group, options, target
from rundial.cli.output import answer, fields, moment, say, table
from rundial.client import HttpClient
from rundial.errors import RequestError, RundialError
from rundial.http import given, next_cursor

app = group("Runs.")

Runs = Annotated[list[str], typer.Argument(metavar="RUN…", help="Ids of the runs.")]
_STATUSES = ("running", "completed", "failed", "aborted", "crashed")


@command(app, "start")
def start(
    workspace: Workspace = None,
    project: Project = None,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    kind: Annotated[Literal["training", "agent", "eval"], typer.Option(help="What it is.")] = "training",
    id: Annotated[str | None, typer.Option("--id", help="Its id; the server makes one if none is given.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A mark to find it by. Repeatable.")] = None,
    group_name: Annotated[str | None, typer.Option("--group", help="Group of runs that belong together.")] = None,
) -> None:
    """Start a run that scripts log into by its id, with `rd.init(run_id=…, resume="allow")`; `finish` ends it."""
    with connect() as client:
        chosen = target(workspace, project)
        place = client.resolve_run_target(chosen.workspace, chosen.project)
        made = client.create_run(place["projectId"], run_id=id, run_name=name, kind=kind, tags=tag, group=group_name)
    run = {
        "runId": made["runId"],
        "kind": made.get("kind", kind),
        "workspace": place["workspaceSlug"],
        "project": place["projectSlug"],
    }
    answer({"run": run}, lambda: fields(run))


@command(app, "list")
def list_runs(
    workspace: Workspace = None,
    project: Project = None,
    status: Annotated[list[str] | None, typer.Option(help=f"Only those: {', '.join(_STATUSES)}. Repeatable.")] = None,
    search: Annotated[str | None, typer.Option(help="A part of the name or id.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 25,
    order: Annotated[Literal["asc", "desc"], typer.Option(help="Which end comes first.")] = "desc",
    order_by: Annotated[
        Literal["startedAtMs", "updatedAtMs", "runName", "runId"], typer.Option(help="What they are put in order by.")
    ] = "startedAtMs",
) -> None:
    """List the runs of a project, newest first."""
    statuses = [part for text in status or () for part in text.split(",") if part]
    if unknown := [part for part in statuses if part not in _STATUSES]:
        raise RundialError(f"there is no status {unknown[0]!r}. They are {', '.join(_STATUSES)}.")
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    with connect() as client:
        chosen = target(workspace, project)
        while True:
            try:
                page = client.query_runs(
                    chosen.workspace,
                    chosen.project,
                    limit=min(limit - len(rows), 1000),
                    order=order,
                    order_by=order_by,
                    cursor=cursor,
                    search=search,
                    statuses=statuses,
                )
            except RequestError as error:
                if error.error_code != "NOT_FOUND":
                    raise
                there = f"there is no project {chosen.project!r} in {chosen.workspace}, or this key may not see it."
                raise RundialError(there + _other_projects(client, chosen)) from error
            rows += page["runs"]
            cursor = next_cursor(page)
            if cursor is None or len(rows) >= limit:
                break
        others = "" if rows or search or statuses or options.json else _other_projects(client, chosen)
    shown = [
        (it["runId"], it.get("kind"), it["status"], it.get("runName"),
         moment(it.get("startedAtMs")), moment(it.get("updatedAtMs")))
        for it in rows
    ]  # fmt: skip
    headings = ("run", "kind", "status", "name", "started", "updated")
    empty = f"No such runs in {chosen.workspace}/{chosen.project}.{others}"
    answer({"result": {**page, "runs": rows}}, lambda: table(headings, shown, empty))


def _other_projects(client: HttpClient, place: Target) -> str:
    """Where else in the workspace there are runs, in a sentence; whoever names no project looks into a default one."""
    try:
        found = [it["projectSlug"] for it in client.list_projects(place.workspace) if it.get("runCount")]
    except RequestError:
        return ""  # a key for one project need not know the others
    if not found:
        return ""
    more = f" and {len(found) - 5} others" if len(found) > 5 else ""
    return f" There are runs in {', '.join(found[:5])}{more}: name one with --project."


@command(app, "status")
def status(run: RunId, workspace: Workspace = None, project: Project = None) -> None:
    """Show a run."""
    with connect() as client:
        found = find_run(client, run, workspace, project)
    times = {name: moment(found.get(name)) for name in ("startedAtMs", "finishedAtMs", "updatedAtMs")}
    shown = given(
        run=found["runId"],
        name=found.get("runName"),
        kind=found.get("kind"),
        status=found["status"],
        reason=found.get("reason"),
        workspace=found.get("workspaceSlug"),
        project=found.get("projectSlug") or found.get("projectId"),
        tags=found.get("tags") or None,
        **{"last step": found.get("lastStep"), "started": times["startedAtMs"], "finished": times["finishedAtMs"]},
        updated=times["updatedAtMs"],
        config=found.get("config") or None,
        summary=found.get("summary") or None,
    )
    answer({"run": found}, lambda: fields(shown))


@command(app, "finish")
def finish(
    run: RunId,
    state: Annotated[Literal["completed", "failed", "aborted"], typer.Option(help="How it ended.")] = "completed",
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    finished_at_ms: Annotated[int | None, typer.Option(help="When, in Unix milliseconds. Default: now.")] = None,
) -> None:
    """End a run."""
    with connect() as client:
        ended = client.update_run_status(run, state, finished_at_ms, reason)
    ended = ended.get("run", ended)
    answer({"run": ended}, lambda: say(f"{run} is {ended.get('status', state)}."))


@command(app, "rename")
def rename(
    run: RunId, name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it from now on.")]
) -> None:
    """Give a run another name."""
    with connect() as client:
        changed = client.update_run(run, name=name)
    answer({"run": changed.get("run", changed)}, lambda: say(f"{run} is called {name} now."))


@command(app, "tag")
def tag(
    run: RunId,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG]…", help="Tags to add.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A tag to take away. Repeatable.")] = None,
) -> None:
    """Add tags to a run or take them away; without any, show them."""
    with connect() as client:
        if tags or remove:
            client.edit_runs([run], add_tags=tags or (), remove_tags=remove or ())
        found = list(find_run(client, run).get("tags") or ())
    answer({"runId": run, "tags": found}, lambda: say(" ".join(found) or f"{run} has no tags."))


@command(app, "delete")
def delete(runs: Runs, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete runs with all that they logged. `rundial run restore` takes it back for a while."""
    if not yes:
        if not sys.stdin.isatty():
            raise RundialError("nothing was deleted: say --yes where nobody can be asked.")
        typer.confirm(f"Delete {', '.join(runs)} with all that was logged?", abort=True, err=True)
    with connect() as client:
        gone = client.delete_runs(runs)
    _all(gone["runs"], runs, "deleted")
    until = moment(gone.get("purgedAtMs"))
    answer({"deleted": gone}, lambda: say(f"Deleted. `rundial run restore` takes it back until {until}."))


@command(app, "restore")
def restore(runs: Runs) -> None:
    """Take back the deletion of runs."""
    with connect() as client:
        count = client.restore_runs(runs)
    _all(count, runs, "restored")
    answer({"restored": count}, lambda: say("Restored."))


def _all(count: int, runs: list[str], what: str) -> None:
    if count < len(set(runs)):
        raise RundialError(f"{count} of {len(set(runs))} runs were {what}; the server knows no others of these ids.")
