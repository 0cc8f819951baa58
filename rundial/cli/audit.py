"""``rundial audit``: who did what."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rundial.cli.agent import agent_id
from rundial.cli.context import Workspace, command, connect, group, target
from rundial.cli.output import answer, moment, table
from rundial.http import Json

app = group("Who did what.")


@command(app, "list")
def list_events(
    workspace: Workspace = None,
    agent: Annotated[str | None, typer.Option(help="Only what this agent did: its id or name.")] = None,
    actor_kind: Annotated[
        Literal["user", "api_key", "agent", "system"] | None, typer.Option(help="Only what such actors did.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
) -> None:
    """List changes to a workspace, newest first."""
    with connect() as client:
        chosen = target(workspace).workspace
        who = agent_id(client, chosen, agent) if agent else None
        page = min(limit, 1000)
        events = client.list_audit_events(
            chosen, limit=page, agent_id=who, actor_kind=actor_kind, max_pages=-(-limit // page)
        )[:limit]
    rows = [
        (moment(it["createdAtMs"]), _who(it, "actor"), it["action"], _who(it, "target"), it.get("agentId"))
        for it in events
    ]
    headings = ("when", "actor", "action", "target", "agent")
    answer({"workspace": chosen, "events": events}, lambda: table(headings, rows, "No changes."))


def _who(event: Json, role: str) -> str:
    return ":".join(str(part) for part in (event.get(f"{role}Kind"), event.get(f"{role}Id")) if part)
