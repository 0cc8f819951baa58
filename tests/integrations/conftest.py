"""Real frameworks, real tiny models, and a real server that is asked afterwards what it has."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import ServerProcess, lasting_server, script, start_server

__all__ = ["lasting_server", "script", "start_server"]

History = dict[int, dict[str, Any]]


@pytest.fixture
def server(lasting_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> ServerProcess:
    """The file's server, which runs of this test and of its scripts log to by themselves."""
    use_server(lasting_server, monkeypatch)
    return lasting_server


def use_server(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs begun from here on log to ``server``."""
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")


def succeed(process: subprocess.Popen[bytes], seconds: float = 90) -> str:
    """Wait for a program that must succeed; what it printed."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a script from a file, as frameworks that spawn processes need it: ``program(code, *arguments)``."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
        path = tmp_path / f"program{len(started)}.py"
        path.write_text(textwrap.dedent(code))
        command = [sys.executable, str(path), *map(str, arguments)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        with process:
            pass


def history(server: ServerProcess, run_id: str) -> History:
    """All that a run logged, without ``system/*``: the values by step and key."""
    found: History = {}
    for key in server.get(f"/api/v1/metrics/keys?runId={run_id}")["keys"]:
        if not key["metricKey"].startswith("system/"):
            for step, value in server.points(run_id, key["metricKey"]):
                found.setdefault(step, {})[key["metricKey"]] = value
    return found
