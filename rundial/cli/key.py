"""``rundial auth key``: keys of a project."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from rundial.cli.context import Project, Workspace, command, connect, group, target
from rundial.cli.output import answer, moment, say, table
from rundial.errors import RundialError
from rundial.http import Json

app = group("Keys of a project.")

TRAINING = (
    "metrics:write",
    "logs:write",
    "traces:write",
    "evals:write",
    "artifacts:write",
    "project:read",
    "stream:read",
)
"""What a script needs to log everything and read it back."""
_OLDER = {"query:read": "project:read"} | {
    f"ingest:{it}": f"{it}:write" for it in ("metrics", "logs", "traces", "evals", "artifacts")
}
_UNITS = {"h": 3_600, "d": 86_400, "w": 7 * 86_400}

Scope = Annotated[
    list[str] | None, typer.Option("--scope", "--scopes", help="What it may do. Repeatable. Default: log and read.")
]
Label = Annotated[str | None, typer.Option(help="What it is for.")]
ExpiresAt = Annotated[int | None, typer.Option("--expires-at-ms", help="When it ends, in Unix milliseconds.")]
ExpiresIn = Annotated[str | None, typer.Option("--expires-in", help="How long it lasts: 12h, 30d or 4w.")]


@command(app, "create")
def create(
    workspace: Workspace = None,
    project: Project = None,
    scope: Scope = None,
    label: Label = None,
    expires_at_ms: ExpiresAt = None,
    expires_in: ExpiresIn = None,
    agent: Annotated[str | None, typer.Option(help="Make it for this agent: its id or name.")] = None,
) -> None:
    """Make a key for a project. It is shown once."""
    from rundial.cli.agent import agent_id

    ends, scopes = expiry(expires_at_ms, expires_in), scopes_of(scope)
    with connect() as client:
        chosen = target(workspace, project)
        if agent is None:
            made = client.create_api_key(*chosen, scopes, label=label, expires_at_ms=ends)
        else:
            who = agent_id(client, chosen.workspace, agent)
            made = client.create_agent_api_key(
                chosen.workspace, who, chosen.project, scopes=scopes, label=label, expires_at_ms=ends
            )
    answer({"result": made}, lambda: show_new_key(made))


@command(app, "list")
def list_keys(workspace: Workspace = None, project: Project = None) -> None:
    """List the keys of a project."""
    with connect() as client:
        chosen = target(workspace, project)
        found = client.list_api_keys(*chosen)
    document = {"workspace": chosen.workspace, "project": chosen.project, "keys": found}
    answer(document, lambda: key_table(found))


@command(app, "revoke")
def revoke(
    key_id: Annotated[str, typer.Option("--key-id", help="Id of the key; `rundial auth key list` shows it.")],
    workspace: Workspace = None,
    project: Project = None,
) -> None:
    """Make a key worthless at once."""
    with connect() as client:
        chosen = target(workspace, project)
        result = client.revoke_api_key(*chosen, key_id)
    answer({"result": result}, lambda: say(f"{key_id} is worth nothing now."))


def key_table(keys: Sequence[Json]) -> None:
    """Keys without their secrets, which nobody has any more."""
    rows = [
        (it["keyId"], it.get("label"), it.get("scopes"), moment(it.get("expiresAtMs")), moment(it.get("lastUsedAtMs")),
         bool(it.get("revokedAtMs")))
        for it in keys
    ]  # fmt: skip
    table(("key", "label", "scopes", "expires", "last used", "revoked"), rows, "No keys.")


def show_new_key(made: Json) -> None:
    """The text of a key, which is never shown again."""
    inner = made.get("key")
    document = inner if isinstance(inner, dict) else made
    secret = next((it[name] for it in (made, document) for name in ("apiKey", "secret", "token", "key")
                   if isinstance(it.get(name), str)), None)  # fmt: skip
    if secret is None:
        raise RundialError("the server made a key but did not show it. Revoke it, and update the server.")
    print(secret)
    say(f"Key {document.get('keyId', '')} is shown only this once: keep it now.")


def scopes_of(given: Sequence[str] | None) -> list[str]:
    """Scopes as flags have them, with commas and the older client's names; those a script needs when none is given."""
    named = [part.strip() for text in given or () for part in text.split(",") if part.strip()]
    return [_OLDER.get(name, name) for name in named] or list(TRAINING)


def expiry(at_ms: int | None, within: str | None) -> int | None:
    """The end of a key in Unix milliseconds. Raises :class:`RundialError` for a duration that is none."""
    if within is None:
        return at_ms
    match = re.fullmatch(r"(\d{1,5})([hdw])", within.strip())
    if match is None or at_ms is not None:
        raise RundialError("say either --expires-in with a number and h, d or w, as in 30d, or --expires-at-ms.")
    return int((time.time() + int(match[1]) * _UNITS[match[2]]) * 1000)
