"""A real Rundial server process for the time of a ``with`` block."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent


class Server(NamedTuple):
    """Where a running server listens, its owner key and its process id."""

    url: str
    key: str
    pid: int


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of everything a benchmark starts: a home of its own, and no setting of the user's.

    The usage reports that some loggers send to their makers are switched off.
    """
    foreign = ("RUNDIAL_", "WANDB_", "MLFLOW_", "TRACKIO_", "XDG_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    quiet = {"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    return kept | quiet | {"HOME": str(home), "RUNDIAL_HOME": str(home / "rundial")} | dict(extra or {})


@contextmanager
def server(data: Path, home: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """A server on a free port with its data in ``data``; ended with SIGTERM and waited for.

    Raises RuntimeError when it ends before it listens.
    """
    command = [sys.executable, "-m", "rundial", "server", "--port", "0", "--data", str(data), *options]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("a+") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=home,
            env=environment(home, {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}),
        )
        assert process.stdout is not None
        try:
            url = _listening(process.stdout)
            if url is None:
                log.seek(0)
                raise RuntimeError(f"the server did not start: {log.read().strip()[-500:]}")
            yield Server(url, (data / "owner.key").read_text().strip(), process.pid)
        finally:
            process.terminate()
            process.stdout.close()
            process.wait(60)


def _listening(lines: Iterator[str]) -> str | None:
    for line in lines:
        if "listening on " in line:
            return line.rsplit("listening on ", 1)[1].split()[0].rstrip("/.")
    return None
