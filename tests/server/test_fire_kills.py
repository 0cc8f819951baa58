"""SIGKILL of the server under eight writers: a few of the kills that ``make soak-server`` does by the hundred."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.server.postgres import why_not

KILLS = 5


@pytest.fixture(scope="module")
def soaks() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Both engines at the same time: most of it is waiting for servers to start."""
    script = str(ROOT / "benchmarks/server_soak.py")
    started = {}
    for engine in ("sqlite", "postgres") if why_not() is None else ("sqlite",):
        options = ["--kills", str(KILLS), "--engines", engine, "--restart-seconds", "60", "--seed", "5"]
        started[engine] = subprocess.Popen(
            [sys.executable, script, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    yield started
    for process in started.values():
        process.terminate()
        process.communicate()


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_nothing_acknowledged_is_lost_or_doubled(soaks: dict[str, subprocess.Popen[str]], engine: str) -> None:
    """Every acknowledged point and log line is there once, with its value, and the database is whole each time."""
    if engine not in soaks:
        pytest.skip(why_not() or "")
    output, _ = soaks[engine].communicate(timeout=110)

    assert soaks[engine].returncode == 0, output
    assert f"| {engine} |" in output
