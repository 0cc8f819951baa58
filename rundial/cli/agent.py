"""``rundial agent``: identities of programs, and their keys."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rundial.cli.context import Project, Workspace, command, connect, group, target
from rundial.cli.key import ExpiresAt, ExpiresIn, Label, Scope, expiry, key_table, scopes_of, show_new_key
from rundial.cli.output import answer, moment, say, table
from rundial.client import HttpClient
from rundial.errors import RundialError

app = group("Agents: identities of programs.")
keys = group("Keys of an agent.")
app.add_typer(keys, name="key")

Agent = Annotated[str, typer.Option("--agent", help="Id or name of the agent.")]


@command(app, "create")
def create(name: Annotated[str, typer.Option(help="What it is called.")], workspace: Workspace = None) -> None:
    """Make an agent. It needs a key to do anything: `rundial agent key create`."""
    with connect() as client:
        chosen = target(workspace).workspace
        made = client.create_agent(chosen, name)
    agent = made.get("agent", made)
    answer({"workspace": chosen, "result": made}, lambda: say(f"{agent.get('agentId')} is {name}."))


@command(app, "list")
def list_agents(
    workspace: Workspace = None,
    status: Annotated[Literal["active", "revoked"] | None, typer.Option(help="Only these.")] = None,
) -> None:
    """List the agents of a workspace."""
    with connect() as client:
        chosen = target(workspace).workspace
        found = client.list_agents(chosen, status=status, limit=1000)
    rows = [(it["agentId"], it.get("name"), it.get("status"), moment(it.get("updatedAtMs"))) for it in found]
    headings = ("agent", "name", "status", "updated")
    answer({"workspace": chosen, "agents": found}, lambda: table(headings, rows, "No agents."))


@command(app, "revoke")
def revoke(agent: Agent, workspace: Workspace = None) -> None:
    """Make an agent and all its keys worthless at once."""
    with connect() as client:
        chosen = target(workspace).workspace
        wanted = agent_id(client, chosen, agent)
        result = client.revoke_agent(chosen, wanted)
    answer({"workspace": chosen, "result": result}, lambda: say(f"{wanted} and its keys are worth nothing now."))


@command(keys, "create")
def create_key(
    agent: Agent,
    workspace: Workspace = None,
    project: Project = None,
    scope: Scope = None,
    label: Label = None,
    expires_at_ms: ExpiresAt = None,
    expires_in: ExpiresIn = None,
) -> None:
    """Make a key that acts for an agent in a project. It is shown once."""
    with connect() as client:
        chosen = target(workspace, project)
        made = client.create_agent_api_key(
            chosen.workspace,
            agent_id(client, chosen.workspace, agent),
            chosen.project,
            scopes=scopes_of(scope),
            label=label,
            expires_at_ms=expiry(expires_at_ms, expires_in),
        )
    document = {"workspace": chosen.workspace, "project": chosen.project, "result": made}
    answer(document, lambda: show_new_key(made))


@command(keys, "list")
def list_keys(agent: Agent, workspace: Workspace = None) -> None:
    """List the keys of an agent."""
    with connect() as client:
        chosen = target(workspace).workspace
        wanted = agent_id(client, chosen, agent)
        found = client.list_agent_api_keys(chosen, wanted)
    answer({"workspace": chosen, "agentId": wanted, "keys": found}, lambda: key_table(found))


def agent_id(client: HttpClient, workspace: str, reference: str) -> str:
    """The id of an agent that is named by its id or name. Raises :class:`RundialError` when none or several are."""
    if reference.startswith("agt_"):
        return reference
    known = client.list_agents(workspace, status="active", limit=1000)
    found = [it["agentId"] for it in known if reference in (it["agentId"], it.get("name"))]
    if len(found) != 1:
        why = f"{len(found)} agents are" if found else "no agent is"
        raise RundialError(f"{why} called {reference!r}. `rundial agent list` shows their ids.")
    return str(found[0])
