"""``rundial profile``: several sets of settings in one file."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rundial.cli.configuration import checked_name, edited, profile_name, profile_of, read
from rundial.cli.context import command, group, options
from rundial.cli.credentials import drop
from rundial.cli.output import answer, say, table
from rundial.config import DEFAULT_PROFILE, checked_endpoint
from rundial.errors import ConfigError

app = group("Sets of settings, for several servers.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, `-` and `_`.")]


@command(app, "ls")
def ls() -> None:
    """List the profiles; `*` is the one in use."""
    active = profile_name()
    profiles: dict[str, Any] = read().get("profiles", {})
    found = [
        {"name": name, "endpoint": it.get("endpoint"), "workspace": it.get("workspace"), "project": it.get("project"),
         "key": bool(it.get("api_key") or it.get("session_token"))}
        for name, it in profiles.items()
    ]  # fmt: skip
    rows = [("*" if it["name"] == active else "", *it.values()) for it in found]
    headings = ("", "profile", "endpoint", "workspace", "project", "key")
    answer({"activeProfile": active, "profiles": found}, lambda: table(headings, rows, "No profiles."))


@command(app, "create")
def create(
    name: Name,
    activate: Annotated[bool, typer.Option(help="Use it from now on.")] = True,
) -> None:
    """Make a profile, for the server of --endpoint if one is given."""
    checked_name(name)
    with edited() as document:
        if name in document.get("profiles", {}):
            raise ConfigError(f"there is a profile {name} already. `rundial profile use {name}` chooses it.")
        made = profile_of(document, name)
        if options.endpoint:
            made["endpoint"] = checked_endpoint(options.endpoint)
        if activate:
            document["active_profile"] = name
    answer({"profile": name, "active": activate}, lambda: say(f"Made profile {name}."))


@command(app, "use")
def use(name: Name) -> None:
    """Use a profile from now on."""
    with edited() as document:
        if name not in document.get("profiles", {}):
            raise ConfigError(f"there is no profile {name}. `rundial profile create {name}` makes it.")
        document["active_profile"] = name
    answer({"activeProfile": name}, lambda: say(f"Using profile {name} from now on."))


@command(app, "delete")
def delete(name: Name) -> None:
    """Remove a profile with its key."""
    with edited() as document:
        profiles: Any = document.get("profiles", {})
        if name not in profiles:
            raise ConfigError(f"there is no profile {name}.")
        drop(profiles[name], "api_key")
        drop(profiles[name], "session_token")
        del profiles[name]
        if document.get("active_profile") == name:
            del document["active_profile"]
    answer({"profile": name, "activeProfile": DEFAULT_PROFILE}, lambda: say(f"Profile {name} is gone."))
