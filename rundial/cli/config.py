"""``rundial config``: what is configured, and changing it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rundial import config
from rundial.cli.configuration import edited, profile_name, profile_of
from rundial.cli.context import command, group, options
from rundial.cli.output import answer, fields, say
from rundial.errors import ConfigError

app = group("The settings of commands and scripts.")

_SECRET = ("api_key", "session_token")

Option = Annotated[str, typer.Argument(metavar="OPTION", help="An option of docs/settings.md, as in project.")]
Everywhere = Annotated[bool, typer.Option("--top", help="At the top of the file, for all profiles.")]


@command(app, "show")
def show(
    all: Annotated[bool, typer.Option("--all", help="Every option, with the defaults.")] = False,
) -> None:
    """Show the settings that hold here, out of flags, environment and file."""
    settings = config.resolve({"endpoint": options.endpoint})
    found: dict[str, Any] = {name: getattr(settings, name) for name in config.OPTIONS}
    found["api_key"] = "set" if settings.api_key else None
    if not all:
        found = {name: found[name] for name in ("endpoint", "workspace", "project", "mode", "api_key")}
    local = config.local_server()
    where = {"profile": profile_name(), "file": str(config.config_path()), "home": str(config.home())}
    if found["endpoint"] is None:
        where["local server"] = local.url if local else "not running"
    answer({**where, "resolved": found}, lambda: fields({**where, **found}))


@command(app, "path")
def path() -> None:
    """Show where the file is."""
    answer({"path": str(config.config_path())}, lambda: print(config.config_path()))


@command(app, "set")
def set_option(
    option: Option,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value.")],
    top: Everywhere = False,
) -> None:
    """Write an option into the file, in the profile in use."""
    if option not in config.OPTIONS or option in _SECRET:
        raise ConfigError(
            f"{option!r} cannot be set here. Options are in docs/settings.md; for keys: `rundial auth login`."
        )
    checked = getattr(config.resolve({option: value}), option)
    if option in ("spool_directory", "workspace_root"):
        checked = value  # as it was written: it is taken from the directory that a script runs in
    with edited() as document:
        (document if top else profile_of(document, profile_name()))[option] = checked
    answer({"option": option, "value": checked}, lambda: say(f"{option} is {checked} from now on."))


@command(app, "unset")
def unset(option: Option, top: Everywhere = False) -> None:
    """Take an option out of the file."""
    with edited() as document:
        place = document if top else profile_of(document, profile_name())
        if option not in place or option in _SECRET:
            raise ConfigError(f"{option!r} is not set there.")
        del place[option]
    answer({"option": option}, lambda: say(f"{option} is not set any more."))
