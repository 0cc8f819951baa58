"""The ``rundial`` command: one file per noun, put together here."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from rundial.cli.server import server
from rundial.cli.sync import sync
from rundial.cli.ui import ui
from rundial.cli.verify import verify
from rundial.errors import AuthError, RundialError
from rundial.version import __version__

DEBUG_VARIABLE = "RUNDIAL_DEBUG"
"""Set to 1, errors come with their traceback."""

app = typer.Typer(
    help="Rundial: log experiments and look at them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(server)
app.command()(sync)
app.command()(ui)
app.command()(verify)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"rundial {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Rundial: log experiments and look at them."""


def main() -> None:
    """Entry point: exit code 0, 1 for an error, 2 for wrong usage or a key that is refused."""
    try:
        app(prog_name="rundial")
    except RundialError as error:
        _fail(error, str(error), 2 if isinstance(error, AuthError) else 1)
    except Exception as error:  # noqa: BLE001 - the last place before the terminal, where no traceback belongs
        hint = f"Set {DEBUG_VARIABLE}=1 to see where."
        _fail(error, f"something unexpected went wrong: {type(error).__name__}: {error}. {hint}", 1)


def _fail(error: Exception, message: str, code: int) -> None:
    if os.environ.get(DEBUG_VARIABLE) == "1":
        raise error
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
