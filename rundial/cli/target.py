"""``rundial target``: the workspace and project that commands and scripts use when none is named."""

from __future__ import annotations

from typing import Annotated

import typer

from rundial.cli.configuration import edited, profile_name, profile_of
from rundial.cli.context import Workspace, command, connect, group, target
from rundial.cli.output import answer, say, table
from rundial.errors import RundialError
from rundial.http import Json

app = group("The workspace and project used when none is named.")


@command(app, "ls")
def ls(workspace: Workspace = None) -> None:
    """List every workspace and project you may use; `*` is the one in use."""
    with connect() as client:
        chosen = target()
        known = client.list_workspaces(limit=1000)
        workspaces = [it for it in known if workspace in (None, it["workspaceSlug"], it.get("name"))]
        if not workspaces:
            raise RundialError(f"there is no workspace {workspace}. `rundial workspace ls` lists those you may see.")
        projects = {it["workspaceSlug"]: client.list_projects(it["workspaceSlug"], limit=1000) for it in workspaces}
    places = [(ws, it["projectSlug"], it.get("name")) for ws, found in projects.items() for it in found]
    rows = [("*" if place[:2] == chosen else "", *place) for place in places]
    document: Json = {"workspaces": workspaces, "targets": places}
    if workspace is not None:
        document |= {"workspace": workspaces[0]["workspaceSlug"], "projects": next(iter(projects.values()))}
    answer(document, lambda: table(("", "workspace", "project", "name"), rows, "No projects yet."))


@command(app, "use")
def use(
    workspace: Annotated[str | None, typer.Option(help="Workspace. Default: the one in use.")] = None,
    project: Annotated[str | None, typer.Option(help="Project.")] = None,
) -> None:
    """Choose the workspace and project to use from now on, in scripts too, if they are there."""
    if project is None and workspace is None:
        raise RundialError("name them: `rundial target use --workspace NAME --project NAME`.")
    with connect() as client:
        chosen = target(workspace, project)
        client.resolve_project_id(*chosen)  # the next question would make it
        found = client.resolve_run_target(chosen.workspace, chosen.project)
    with edited() as document:
        profile = profile_of(document, profile_name())
        profile["workspace"], profile["project"] = found["workspaceSlug"], found["projectSlug"]
    message = f"Using {found['workspaceSlug']}/{found['projectSlug']} from now on."
    answer({"message": message, "target": found}, lambda: say(message))
