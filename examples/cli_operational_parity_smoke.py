"""Goes through the operational commands against a server and reports each of them, line by line.

    RUNDIAL_API_KEY=rdk_... python examples/cli_operational_parity_smoke.py \
        --workspace default-workspace --project default-project [--endpoint http://127.0.0.1:8787]

It starts one run, logs into it, ends it, and leaves it there. Exit code 0: everything works.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import rundial as rd

STEPS = 20


class Smoke:
    """The commands, and what became of them."""

    def __init__(self, endpoint: str | None) -> None:
        self.shared = ["--endpoint", endpoint] if endpoint else []
        self.failed = 0

    def check(self, *words: str, code: int = 0) -> Any:
        """Run a command for people and for programs; what it answered the programs, None when it did not work."""
        document = None
        for form in ([], ["--json"]):
            command = [sys.executable, "-m", "rundial", *words, *self.shared, *form]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            well = done.returncode == code and "Traceback" not in done.stderr
            if well and form and code == 0:
                document = json.loads(done.stdout)
                well = document["ok"] is True
            self.report(well, f"rundial {' '.join([*words, *form])}", done.stderr or f"exit code {done.returncode}")
        return document

    def report(self, well: bool, what: str, why: str) -> None:
        """One line, and the reason below it when something is not as it should be."""
        print(f"{'ok  ' if well else 'FAILS'}  {what}", flush=True)
        if not well:
            self.failed += 1
            print(f"       {why.strip()}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", default="default-workspace")
    parser.add_argument("--project", default="default-project")
    parser.add_argument("--endpoint")
    asked = parser.parse_args()
    smoke = Smoke(asked.endpoint)
    here = ["--workspace", asked.workspace, "--project", asked.project]

    smoke.check("doctor")
    smoke.check("auth", "whoami")
    smoke.check("target", "ls")
    smoke.check("workspace", "ls")
    smoke.check("project", "ls", "--workspace", asked.workspace)
    started = smoke.check("run", "start", *here, "--name", "operational-smoke", "--kind", "training")
    if started is None:
        print("Without a run nothing more can be tried.")
        return 1
    run_id = started["run"]["runId"]
    log_into(run_id, asked)

    smoke.check("run", "list", *here, "--status", "running")
    smoke.check("run", "status", run_id, *here)
    tail = smoke.check("metrics", "tail", run_id, *here, "--keys", "train/loss")
    points = tail["series"]["series"][0]["points"] if tail else []
    smoke.report(
        [point["step"] for point in points] == list(range(STEPS - 10, STEPS)), "the last ten points", str(points)
    )
    smoke.check("logs", "tail", run_id, *here, "--min-level", "info")
    with tempfile.TemporaryDirectory() as folder:
        table, lines = Path(folder) / "metrics.csv", Path(folder) / "logs.json"
        export = ("--keys", "train/loss", "--format", "csv", "--out", str(table))
        smoke.check("metrics", "export", run_id, *here, *export)
        smoke.report(
            table.exists() and len(table.read_text().splitlines()) == STEPS + 1, "rows of metrics.csv", "missing"
        )
        smoke.check("logs", "export", run_id, *here, "--format", "json", "--out", str(lines))
        rows = json.loads(lines.read_text())["rows"] if lines.exists() else []
        smoke.report(
            [row["message"] for row in rows] == [f"step {i}" for i in range(STEPS)], "rows of logs.json", str(rows)
        )
    smoke.check("run", "finish", run_id, "--state", "completed")
    smoke.check("run", "status", "run_that_is_not_there", *here, code=1)
    print(f"{smoke.failed} failed." if smoke.failed else f"Everything works; the run is {run_id}.")
    return 1 if smoke.failed else 0


def log_into(run_id: str, asked: argparse.Namespace) -> None:
    """Log a few points and lines into the run that the command line started."""
    client = rd.Client(asked.endpoint, system_metrics=False)
    project = client.resolve_run_target(asked.workspace, asked.project)["projectId"]
    for step in range(STEPS):
        client.log_metric(project, run_id, "train/loss", step=step, value=-1 / (step + 1))
        client.log_text(project, run_id, f"step {step}")
    client.flush(10)
    client.close()


if __name__ == "__main__":
    sys.exit(main())
