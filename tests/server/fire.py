"""A real server process under fire: started as a person starts it, with its log, memory and files in view."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.server.conftest import RunningServer


@dataclass
class Target(RunningServer):
    """A server process; ``log`` is everything that it wrote. There is no store to look into."""

    process: psutil.Process = None  # type: ignore[assignment]
    log: Path = Path()

    def rss(self) -> int:
        """Bytes in memory."""
        return int(self.process.memory_info().rss)

    def files(self) -> int:
        """How many it has open."""
        return int(self.process.num_fds())


@contextmanager
def serving_process(
    folder: Path, database: str | None = None, *arguments: str, files: int | None = None, before: str = "pass"
) -> Iterator[Target]:
    """``rundial server`` on an empty folder.

    Args:
        folder: gets the data in ``data`` and the output in ``server.log``.
        database: the address of a PostgreSQL database, or None.
        arguments: of the command, besides.
        files: how many files the process may open.
        before: Python that the process runs first, for constants that would keep a test waiting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    code = f"import runpy, sys; sys.argv[0] = 'rundial'; {before}; runpy.run_module('rundial', run_name='__main__')"
    command = [sys.executable, "-u", "-c", code, "server", "--port", "0", "--data", str(folder / "data")]
    command += [*([] if database is None else ["--database", database]), *arguments]

    def limited() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output, preexec_fn=limited)
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            output.write(first)
            url = first.decode().strip().rpartition(" ")[2]
            key = (folder / "data" / "owner.key").read_text().strip()
            yield Target(url, key, None, psutil.Process(process.pid), log)  # type: ignore[arg-type]
        finally:
            process.terminate()
            output.write(process.stdout.read())
            process.stdout.close()
            process.wait(20)
