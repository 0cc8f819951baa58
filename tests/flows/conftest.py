"""Real processes: a server, scripts that log, and a reader that asks the server what it has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

LISTENING = re.compile(rb"listening on (http://\S+)")


class Script(subprocess.Popen[bytes]):
    """A Python script in a process of its own."""

    def __init__(self, code: str, *arguments: object) -> None:
        super().__init__(
            [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def output(self, seconds: float = 60) -> tuple[str, str]:
        """Wait for a script that must succeed; what it printed on both streams."""
        out, err = self.communicate(timeout=seconds)
        assert self.returncode == 0, err.decode()
        return out.decode(), err.decode()


class ServerProcess:
    """``rundial server`` in a process of its own, in this test's home."""

    def __init__(self, data: Path, port: int = 0, watched: bool = True) -> None:
        self.data = data
        # A home of its own makes it somebody else's server: its watcher sees none of this test's spools.
        home = {} if watched else {"RUNDIAL_HOME": str(data / "home")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rundial", "server", "--port", str(port), "--data", str(data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | home,
        )
        assert self.process.stdout is not None
        said = b""
        # It may have something to say of what it finds here before it listens.
        while not (found := LISTENING.search(said)):
            line = self.process.stdout.readline()
            assert line, said
            said += line
        self.url = found.group(1).decode()
        self.port = int(self.url.rsplit(":", 1)[1])
        self.key = (data / "owner.key").read_text().strip()
        self._session = requests.Session()
        self._session.headers["authorization"] = f"Bearer {self.key}"

    def get(self, path: str) -> dict[str, Any]:
        answer = self._session.get(self.url + path, timeout=20)
        answer.raise_for_status()
        return dict(answer.json())

    def runs(self, project: str) -> list[dict[str, Any]]:
        path = f"/api/v1/workspaces/default-workspace/projects/{project}/runs/query?limit=1000"
        answer = self._session.get(self.url + path, timeout=20)
        return [] if answer.status_code == 404 else list(answer.json()["runs"])

    def points(self, run_id: str, key: str) -> list[tuple[int, float]]:
        answer = self._session.post(
            f"{self.url}/api/v1/query/series", json={"runId": run_id, "metricKeys": [key]}, timeout=20
        )
        return [(point["step"], point["value"]) for point in answer.json()["series"][0]["points"]]

    def wait_for(self, project: str, ready: Callable[[dict[str, Any]], bool], seconds: float = 20) -> dict[str, Any]:
        """The first run of the project that is as the test wants it; fails when that takes too long."""
        deadline = time.monotonic() + seconds
        while True:
            runs = self.runs(project)
            found = [run for run in runs if ready(run)]
            if found:
                return found[0]
            assert time.monotonic() < deadline, f"no run became ready: {runs}"
            time.sleep(0.1)

    def stop(self) -> None:
        self._session.close()
        self.process.terminate()
        assert self.process.stdout is not None
        with self.process.stdout:
            rest = self.process.stdout.read()
        assert self.process.wait(20) == 0, rest.decode()
        assert b"Traceback" not in rest, rest.decode()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers, in this test's home; all are stopped at its end."""
    started: list[ServerProcess] = []

    def start(**options: Any) -> ServerProcess:
        started.append(ServerProcess(tmp_path / "data", **options))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    """Starts scripts in the test's working directory: ``script(code, *arguments)``."""
    started: list[Script] = []

    def start(code: str, *arguments: object) -> Script:
        started.append(Script(code, *arguments))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        with process:
            pass


@pytest.fixture(scope="module")
def lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of a file: somebody else's, which sees none of their spools."""
    server = ServerProcess(tmp_path_factory.mktemp("server") / "data", watched=False)
    yield server
    server.stop()
