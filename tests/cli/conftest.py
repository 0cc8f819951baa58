"""The command line as a person runs it: real processes, against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import Script, ServerProcess

COMMAND = [sys.executable, "-m", "rundial"]

TRAIN = """
    import sys
    import rundial as rd

    endpoint, key, project, steps = sys.argv[1:5]
    with rd.init(project=project, name="trained", endpoint=endpoint, api_key=key, quiet=True, tags=["first"]) as run:
        for step in range(int(steps)):
            run.log({"train/loss": -0.5 + step, "lr, warm": 0.1}, step=step)
            run.log_text(f"line {step}", level="warn" if step % 2 else "info")
        run.log({"note": "=1+1"}, step=0)
        run.log_text("=HYPERLINK(1)")
    print(run.run_id)
"""


class Result:
    """What a command did."""

    def __init__(self, process: subprocess.CompletedProcess[str]) -> None:
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    @property
    def json(self) -> Any:
        """The one line of JSON that it printed."""
        (line,) = self.out.splitlines()
        return json.loads(line)


def rundial(*arguments: object, code: int = 0, stdin: str = "", **environment: str) -> Result:
    """Run a command that must end with ``code``, and never with a traceback."""
    process = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )
    assert process.returncode == code, f"{arguments}: {process.returncode}\n{process.stdout}\n{process.stderr}"
    assert "Traceback" not in process.stderr, process.stderr
    return Result(process)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that is not this user's own."""
    running = ServerProcess(tmp_path_factory.mktemp("server") / "data", watched=False)
    yield running
    running.stop()


@pytest.fixture
def configured(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> ServerProcess:
    """The server, with the environment that leads to it."""
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    return server


@pytest.fixture(scope="module")
def train(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Trains in a process of its own and gives the run's id."""

    def start(project: str = "cli", steps: int = 40) -> str:
        folder = Path.cwd()
        os.chdir(tmp_path_factory.mktemp("train"))
        try:
            out, _ = Script(TRAIN, server.url, server.key, project, steps).output()
        finally:
            os.chdir(folder)
        return out.strip()

    return start


@pytest.fixture(scope="module")
def run_id(train: Callable[..., str]) -> str:
    """A run that has ended, of the project ``cli``, with 40 steps of two metrics, a text and 41 lines."""
    return train()
