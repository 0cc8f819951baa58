"""`rundial server` as a process of its own, for what only a process can show."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from rundial.server.store import Store
from tests.server.conftest import RunningServer

RUNDIAL = [sys.executable, "-m", "rundial"]


class CommandServer(RunningServer):
    """A server in a process, whose store is out of reach."""

    process: subprocess.Popen[str]


@contextmanager
def command(*arguments: str) -> Iterator[CommandServer]:
    """`rundial server --port 0 ARGUMENTS`, which name a ``--data``. Killed in the end, if it has not ended."""
    line = [*RUNDIAL, "server", "--port", "0", *arguments]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        greeting = process.stdout.readline()
        assert greeting, process.communicate()[1]
        folder = Path(arguments[arguments.index("--data") + 1])
        key = (folder / "owner.key").read_text().strip()
        server = CommandServer(greeting.strip().rpartition(" ")[2], key, cast(Store, None))
        server.process = process
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
