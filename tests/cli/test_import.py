"""`rundial import`: runs of other loggers, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import rundial
from tests.compat.wandb.test_import import folder_of
from tests.flows.conftest import ServerProcess


def test_runs_of_wandb_come_in(configured: ServerProcess) -> None:
    """One line of JSON with every run; a second time they are there already, and that is 1."""
    folders = [folder_of(Path(), f"cliimport{number}", []) for number in range(2)]

    done = rundial("import", "wandb", ".", "--project", "cli-import", "--json").json
    again = rundial("import", "wandb", folders[0], "--project", "cli-import", "--json", code=1)
    human = rundial("--quiet", "import", "wandb", folders[0], "--project", "cli-import", code=1)

    assert [(run["runId"], run["project"], run["rows"], run["damaged"]) for run in done["runs"]] == [
        ("cliimport0", "cli-import", 3, None),
        ("cliimport1", "cli-import", 3, None),
    ]
    assert {run["runId"] for run in configured.runs("cli-import")} == {"cliimport0", "cliimport1"}
    assert "error" in again.json["runs"][0]
    assert json.loads(again.err.splitlines()[-1])["error"]["exitCode"] == 1
    assert (human.out, human.err.splitlines()[-1]) == ("", "error: 1 of 1 runs could not be brought in.")


def test_a_folder_without_runs_is_one_sentence(configured: ServerProcess) -> None:
    """And no traceback."""
    assert "there is no run of W&B" in rundial("import", "wandb", ".", code=1).err
