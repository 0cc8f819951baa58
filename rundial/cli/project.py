"""``rundial project``: listing and making projects."""

from __future__ import annotations

from typing import Annotated

import typer

from rundial.cli.context import Workspace, command, connect, group, target
from rundial.cli.output import answer, moment, say, table

app = group("Projects.")


@command(app, "ls")
def ls(workspace: Workspace = None) -> None:
    """List the projects of a workspace."""
    with connect() as client:
        chosen = target(workspace).workspace
        found = client.list_projects(chosen, limit=1000)
    rows = [
        (it["projectSlug"], it.get("name"), it.get("runCount"), it.get("runningCount"), moment(it.get("updatedAtMs")))
        for it in found
    ]
    headings = ("project", "name", "runs", "running", "updated")
    answer({"workspace": chosen, "projects": found}, lambda: table(headings, rows, f"No projects in {chosen}."))


@command(app, "create")
def create(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name in addresses, as in mnist-demo.")],
    workspace: Workspace = None,
    name: Annotated[str | None, typer.Option(help="Its name for people.")] = None,
) -> None:
    """Make a project. Logging into one that does not exist makes it, too."""
    with connect() as client:
        chosen = target(workspace, project)
        made = client.create_project(chosen.workspace, chosen.project, name=name)
    made = made.get("project", made)
    answer(
        {"workspace": chosen.workspace, "project": made}, lambda: say(f"Made {chosen.project} in {chosen.workspace}.")
    )
