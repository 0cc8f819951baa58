"""Scripts in the style of public examples: they run under the shim, and print what they print under the real W&B."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.flows.conftest import ServerProcess

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))
NEEDS_W_AND_B_SERVER = {"api_export", "artifact_pipeline", "sweep_function", "sweep_sklearn"}
"""What the real one cannot do without its server; here it can."""
NOT_UNDER_THE_REAL_ONE = {"keras_callback": "its callback imports TensorFlow, whatever the backend"}
LOGS_NOTHING = {"before_init", "disabled"}
REAL = ROOT / ".venv-wandb/lib/python3.11/site-packages/wandb"
_IMPORTS = re.compile(r"^(?:import|from) (\w+)", re.MULTILINE)

pytestmark = [pytest.mark.timeout(240)]


def run(command: list[str], folder: Path, **environment: str) -> str:
    """What a program prints that must succeed."""
    folder.mkdir()
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, cwd=folder, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def need_libraries(script: Path) -> None:
    """Leave the test out when the script imports what is not installed."""
    for name in set(_IMPORTS.findall(script.read_text())) - {"wandb"}:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not here")
    if "SummaryWriter" in script.read_text() and find_spec("tensorboard") is None:
        pytest.skip("tensorboard is not here")


def under_the_shim(script: Path, folder: Path) -> str:
    """What a script prints with Rundial in the place of wandb."""
    return run([sys.executable, "-m", "rundial.compat.wandb", str(script)], folder)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_runs_under_the_shim(
    script: Path, server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends well, prints no warning of what is not supported, and the server has its run."""
    need_libraries(script)
    before = {run["runId"] for project in projects(server) for run in server.runs(project)}
    said = under_the_shim(script, tmp_path / "shim")
    assert said.strip()
    found = [run for project in projects(server) for run in server.runs(project) if run["runId"] not in before]
    assert bool(found) is (script.stem not in LOGS_NOTHING)
    wanted = {"failed"} if script.stem == "failure" else {"completed"}
    assert {run["status"] for run in found} <= wanted


def projects(server: ServerProcess) -> list[str]:
    """The projects of the server."""
    found = server.get("/api/v1/workspaces/default-workspace/projects?limit=1000")
    return [project["projectSlug"] for project in found["projects"]]


@pytest.mark.skipif(not REAL.exists(), reason="the real one is not here; run: make wandb-venv")
@pytest.mark.parametrize(
    "script",
    [path for path in SCRIPTS if path.stem not in NEEDS_W_AND_B_SERVER | set(NOT_UNDER_THE_REAL_ONE)],
    ids=lambda path: path.stem,
)
def test_script_prints_the_same_under_the_real_one(script: Path, server: ServerProcess, tmp_path: Path) -> None:
    """The same script, offline, under W&B itself: what it prints is equal, line by line."""
    need_libraries(script)
    ours = under_the_shim(script, tmp_path / "shim")
    # The libraries of this environment, with W&B in front of nothing but itself.
    paths = os.pathsep.join([str(ROOT), str(REAL.parent)])
    theirs = run(
        [sys.executable, str(script)], tmp_path / "real", PYTHONPATH=paths, WANDB_MODE="offline", WANDB_SILENT="true"
    )
    assert ours.splitlines() == theirs.splitlines()
