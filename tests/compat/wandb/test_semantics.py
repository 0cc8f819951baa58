"""The same questions to the real wandb and to ours: every answer agrees, or the difference is one we chose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
REAL = ROOT / ".venv-wandb/bin/python"
RECORD = json.loads((HERE / "semantics-0.31.json").read_text())
"""What wandb 0.31 answers, offline."""

DIFFERENT = {
    "log without data": (None, "wandb.log() without data"),
    "log a list": (None, "wandb.log of something that is no mapping"),
    "log a number key": (None, "wandb.log of something that is no mapping"),
    "define_metric best": ("fine", "wandb.define_metric"),
    "get_url": (None, "run.get_url"),
    "classes without name": ("raises TypeError", "wandb.Classes"),
    "summary read after finish": (1, "wandb.summary"),
    "environment": (["env-project", "env-name", ["a", "b"], "env-group"], "wandb.init"),
}
"""Our answer where it is another one, and the row of the table that says why."""


def answers(command, folder):
    """What the probes say when they are run so."""
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    found = folder / "answers.json"
    done = subprocess.run([*command, str(found)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(found.read_text())


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The answers of the module under test, in a process of its own."""
    folder = tmp_path_factory.mktemp("probes")
    return answers([sys.executable, "-m", "rundial.compat.wandb", str(HERE / "probes.py")], folder / "ours")


@pytest.mark.parametrize("question", RECORD)
def test_answer_is_the_same(ours, question):
    """Ours is the real one's answer, or the one that the table explains."""
    if question == "name":
        assert isinstance(ours[question], str)  # a readable one, where the real one has none offline
    elif question == "config vars":
        assert ours[question] == [key for key in RECORD[question] if key != "_wandb"]
    else:
        expected = DIFFERENT[question][0] if question in DIFFERENT else RECORD[question]
        assert ours[question] == expected


def test_differences_are_in_the_table():
    """Each difference names a row of the table, which does not call it the same."""
    from rundial.compat.wandb._surface import ROWS

    status = {row.symbol: row.status for row in ROWS}
    named = {symbol for _, symbol in DIFFERENT.values()}
    assert {symbol for symbol in named if status.get(symbol) in (None, "same")} == set()


@pytest.mark.skipif(not REAL.exists(), reason="the real wandb is not here; run scripts/wandb-venv.sh")
def test_the_record_is_what_wandb_says(tmp_path):
    """The real wandb, where it is installed, still answers what is recorded."""
    assert answers([str(REAL), str(HERE / "probes.py")], tmp_path / "real") == RECORD
