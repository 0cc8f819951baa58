"""The ``rundial`` command: one file per noun, put together here."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from rundial.cli import (
    agent,
    artifact,
    audit,
    auth,
    config,
    evals,
    import_,
    logs,
    metrics,
    profile,
    project,
    run,
    server,
    target,
    workspace,
)
from rundial.cli.backup import backup, check, restore
from rundial.cli.completion import VARIABLE, completion
from rundial.cli.context import command, group, options
from rundial.cli.control import control
from rundial.cli.doctor import doctor
from rundial.cli.export import export
from rundial.cli.init import init
from rundial.cli.output import advice, fail
from rundial.cli.sync import sync
from rundial.cli.ui import ui
from rundial.cli.verify import verify
from rundial.errors import AuthError, RundialError
from rundial.version import __version__

DEBUG_VARIABLE = "RUNDIAL_DEBUG"
"""Set to 1, errors come with their traceback."""
_UsageError = typer.BadParameter.mro()[2]
"""Of Click, which Typer brings along under a name of its own."""


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"rundial {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Rundial: log experiments and look at them."""
    if context.invoked_subcommand is None and (text := context.get_help()):
        print(text)


app = group("Rundial: log experiments and look at them.", _root)
for function in (init, doctor, ui, sync, export, verify, completion):
    command(app)(function)
command(app, context_settings={"ignore_unknown_options": True})(control)  # a value may be a negative number
command(server.app)(backup)
command(server.app)(restore)
command(server.app)(check)
for noun, commands in (
    ("auth", auth.app),
    ("profile", profile.app),
    ("target", target.app),
    ("config", config.app),
    ("workspace", workspace.app),
    ("project", project.app),
    ("run", run.app),
    ("metrics", metrics.app),
    ("logs", logs.app),
    ("artifact", artifact.app),
    ("evals", evals.app),
    ("agent", agent.app),
    ("audit", audit.app),
    ("import", import_.app),
    ("server", server.app),
):
    app.add_typer(commands, name=noun)


def main() -> None:
    """Entry point: exit code 0, 1 for any error, 2 for a key that is missing or refused or may not do this."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal has no letters for is no error
    if VARIABLE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    try:
        code = app(prog_name="rundial", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        _fail(None, "aborted.", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except SystemExit as end:
        sys.exit(0 if isinstance(end.__context__, BrokenPipeError) else end.code)  # of Rich
    except AuthError as error:
        _fail(error, advice(error), 2)
    except RundialError as error:
        _fail(error, str(error), 1)
    except Exception as error:  # noqa: BLE001 - the last place before the terminal, where no traceback belongs
        if isinstance(error, _UsageError):
            return _fail(error, _usage(error), 1)
        hint = f"Set {DEBUG_VARIABLE}=1 to see where."
        _fail(error, f"something unexpected went wrong: {type(error).__name__}: {error}. {hint}", 1)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _usage(error: Exception) -> str:
    """What is wrong with a command as it was typed."""
    text = str(getattr(error, "format_message", error.__str__)()).replace("Value error, ", "").replace("\n\t", " ")
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "rundial")
    return f"{text if text.endswith(('.', '?')) else text + '.'} `{path} --help` shows how it is used."


def _fail(error: Exception | None, message: str, code: int) -> None:
    if error is not None and os.environ.get(DEBUG_VARIABLE) == "1":
        raise error
    fail(message, code, options.json or "--json" in sys.argv)
    sys.exit(code)
