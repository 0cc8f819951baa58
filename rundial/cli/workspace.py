"""``rundial workspace``: the workspaces one may see."""

from __future__ import annotations

from rundial.cli.context import command, connect, group
from rundial.cli.output import answer, table

app = group("Workspaces.")


@command(app, "ls")
def ls() -> None:
    """List the workspaces you may see."""
    with connect() as client:
        found = client.list_workspaces(limit=1000)
    rows = [(it["workspaceSlug"], it.get("name"), it.get("role")) for it in found]
    answer({"workspaces": found}, lambda: table(("workspace", "name", "role"), rows, "No workspaces."))
