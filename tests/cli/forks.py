"""Runs many commands one after the other, each in a child of a process that has loaded the command line already.

Reads a list of ``{"words": […], "environment": {…}}`` from the standard input and writes what each of them did.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

import requests  # noqa: F401 - loaded once for all
import rich.console
import rich.table  # noqa: F401
import tomlkit  # noqa: F401
import typer.main

from rundial.cli import app, main

_tree = typer.main.get_command(app)
typer.main.get_command = lambda _: _tree  # it takes longer to build than most commands take


def run(words: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """One command, as a process of its own."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ.update(environment)
            sys.argv = ["rundial", *words]
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            try:
                main()
            except SystemExit as end:
                sys.stdout.flush()
                os._exit(end.code if isinstance(end.code, int) else 1)
            finally:
                os._exit(99)
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return {
            "words": words,
            "code": os.waitstatus_to_exitcode(status),
            "out": out.read().decode(),
            "err": err.read().decode(),
        }


if __name__ == "__main__":
    print(json.dumps([run(**asked) for asked in json.load(sys.stdin)]))
