"""Every command of the older client's README, as it stands there, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import rundial
from tests.flows.conftest import Script, ServerProcess

HERE = ("--workspace", "default-workspace", "--project", "default-project")
EXAMPLE = Path(__file__).parent.parent.parent / "examples/cli_operational_parity_smoke.py"


@pytest.fixture
def started(configured: ServerProcess) -> str:
    """A run that the command line started."""
    made = rundial("run", "start", *HERE, "--name", "baseline-001", "--kind", "training", "--json").json
    return str(made["run"]["runId"])


def test_quick_start(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key at hand, `init` sets everything up, and what follows needs no flag."""
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    rundial("init", "--endpoint", server.url)
    monkeypatch.delenv("RUNDIAL_API_KEY")

    assert rundial("auth", "whoami", "--json").json["whoami"]["authenticated"] is True
    assert ["default-workspace", "default-project"] in [
        target[:2] for target in rundial("target", "ls", "--json").json["targets"]
    ]
    assert all(check["ok"] for check in rundial("doctor", "--json").json["checks"])
    assert [run["runName"] for run in rundial("run", "list", "--json").json["result"]["runs"]] == ["first-run"]
    for words in ("auth whoami", "target ls", "doctor"):
        assert len(rundial(*words.split()).out.splitlines()) > 1


def test_workspaces_and_projects(configured: ServerProcess) -> None:
    """Both are listed for people and for programs."""
    assert "default-workspace" in rundial("workspace", "ls").out
    assert rundial("workspace", "ls", "--json").json["workspaces"][0]["workspaceSlug"] == "default-workspace"
    assert "default-project" in rundial("project", "ls", "--workspace", "default-workspace").out
    listed = rundial("project", "ls", "--workspace", "default-workspace", "--json").json
    assert (listed["ok"], listed["workspace"]) == (True, "default-workspace")
    assert "default-project" in [project["projectSlug"] for project in listed["projects"]]


def test_a_run_is_started_listed_shown_and_finished(started: str) -> None:
    """The life of a run from the command line alone."""
    running = rundial("run", "list", *HERE, "--status", "running", "--json").json
    assert started in [run["runId"] for run in running["result"]["runs"]]
    assert started in rundial("run", "list", *HERE, "--status", "running").out
    assert rundial("run", "status", started, "--json").json["run"]["status"] == "running"
    assert "baseline-001" in rundial("run", "status", started).out

    assert rundial("run", "finish", started, "--state", "completed", "--json").json["run"]["status"] == "completed"

    assert rundial("run", "status", started, "--json").json["run"]["status"] == "completed"
    assert "completed" in rundial("run", "finish", started, "--state", "completed").out  # again is no error
    assert "HTTP 409" in rundial("run", "finish", started, "--state", "failed", code=1).err


def test_run_start_with_the_endpoint_behind_it(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Global options stand behind the command as well."""
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)

    made = rundial("run", "start", "--endpoint", server.url, *HERE, "--name", "b", "--kind", "training", "--json").json

    assert {name: made["run"][name] for name in ("kind", "workspace", "project")} == {
        "kind": "training",
        "workspace": "default-workspace",
        "project": "default-project",
    }


def test_metrics_and_logs(configured: ServerProcess, run_id: str) -> None:
    """Tails and exports of a run, with the flags of the README."""
    here = ("--workspace", "default-workspace", "--project", "cli")
    assert "train/loss" in rundial("metrics", "tail", run_id, *here, "--keys", "train/loss").out
    assert "line 39" in rundial("logs", "tail", run_id, *here, "--min-level", "info").out
    rundial("metrics", "export", run_id, *here, "--keys", "train/loss", "--format", "csv", "--out", "metrics.csv")
    rundial("logs", "export", run_id, *here, "--format", "json", "--out", "logs.json")

    lines = Path("metrics.csv").read_text().splitlines()
    assert lines[0] == "metricKey,step,timestampMs,value"
    assert len(lines) == 41
    assert json.loads(Path("logs.json").read_text())["rows"][0]["message"] == "line 0"


BLOCK = r"""
rundial auth whoami
rundial target ls
rundial doctor
rundial workspace ls
rundial project ls --workspace default-workspace
rundial run start --workspace default-workspace --project default-project --name baseline-001 --kind training
rundial run list --workspace default-workspace --project default-project --status running
rundial run status run_...
rundial metrics tail run_... --workspace default-workspace --project default-project --keys train/loss
rundial metrics export run_... \
--workspace default-workspace \
--project default-project \
--keys train/loss \
--format csv \
--out metrics.csv
rundial logs tail run_... --workspace default-workspace --project default-project --min-level info
rundial logs export run_... \
--workspace default-workspace \
--project default-project \
--format json \
--out logs.json
rundial run start \
--endpoint $RUNDIAL_ENDPOINT \
--workspace default-workspace \
--project default-project \
--name baseline-001 \
--kind training
rundial run finish run_... --state completed
"""
"""The commands, as a shell reads them."""


LOG = """
    import sys
    import rundial as rd

    with rd.Client(quiet=True) as client:
        client.log_metric("default-project", sys.argv[1], "train/loss", 1, -0.5)
        client.log_text("default-project", sys.argv[1], "hello")
        assert client.flush(10)
"""


def test_the_blocks_as_a_shell_reads_them(configured: ServerProcess) -> None:
    """Each command ends with 0 and says something; what they answer programs is in the tests above."""
    made = rundial("run", "start", *HERE, "--json").json["run"]["runId"]
    Script(LOG, made).output()
    commands = BLOCK.strip().replace("run_...", made)
    script = f'set -eu\nrundial() {{ {sys.executable} -m rundial "$@"; }}\n{commands}\n'

    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=110)

    assert (done.returncode, done.stderr) == (0, "")
    assert len(Path("metrics.csv").read_text().splitlines()) == 2
    assert [row["message"] for row in json.loads(Path("logs.json").read_text())["rows"]] == ["hello"]
    assert "hello" in done.stdout and "baseline-001" in done.stdout


def test_the_operational_smoke(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smoke goes through every operational command and says so, line by line."""
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    command = [sys.executable, str(EXAMPLE), *HERE, "--endpoint", server.url]

    result = subprocess.run(command, capture_output=True, text=True, timeout=110)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "FAILS" not in result.stdout
    assert result.stdout.count("ok  ") >= 15, result.stdout
