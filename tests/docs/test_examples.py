"""The examples run as they stand, without a server, and the demo with its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def run_example(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=100)


APART = {"demo.py", "cli_operational_parity_smoke.py"}
"""Tried by tests of their own."""
PLAIN = ["artifacts.py", "dials.py", "digits.py", "evals.py", "media.py", "quickstart.py", "traces.py"]
FRAMEWORKS = sorted({path.name for path in EXAMPLES.glob("*.py")} - APART - set(PLAIN))


@pytest.mark.parametrize("name", PLAIN)
def test_example_needs_no_server(name: str) -> None:
    """An example ends well without a server, with at most one line to say where the run is."""
    result = run_example(name)

    assert result.returncode == 0, result.stderr
    assert len(result.stderr.splitlines()) <= 1, result.stderr


@pytest.mark.frameworks
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_example_of_a_framework(name: str) -> None:
    """An example with a framework ends well without a server; what the framework itself prints is its own."""
    result = run_example(name)

    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr, result.stderr


def test_demo_ends_by_itself() -> None:
    """With DEMO_SECONDS the demo prints the address, trains, and ends; its data stays in its folder."""
    result = run_example("demo.py", DEMO_SECONDS="2")

    assert result.returncode == 0, result.stderr + result.stdout
    assert "Open http://127.0.0.1:" in result.stdout
    assert "of the digits held back are read right" in result.stdout
    assert Path(".demo/server/rundial.db").exists()
