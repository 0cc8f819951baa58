"""Dials from the command line, of a job that goes on and through a queue directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import rundial
from tests.flows.conftest import Script, ServerProcess

JOB = """
    import sys, time
    import rundial as rd

    run = rd.init(project="cli", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    run.dial("lr", value=0.1, min=-1.0, max=1.0, unit="1/step", description="learning rate")
    run.dial("optimizer", value="adam", choices=["adam", "sgd", "1"])
    run.dial("note", value="none")
    stop = []
    run.dial("stop", set=lambda: stop.append(True))

    def refuse(value):
        raise ValueError("not today")

    run.dial("stubborn", value=True, validate=refuse)
    run.flush(20)
    print(run.id, flush=True)
    until = time.monotonic() + 60
    while not stop and time.monotonic() < until:
        run.poll()
        time.sleep(0.01)
    run.finish(10)
"""


@pytest.fixture(scope="module")
def job(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A job that offers dials; the id of its run."""
    with Script(JOB, server.url, server.key) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.kill()


def test_dials_are_listed_and_read(configured: ServerProcess, job: str) -> None:
    """With their ranges, or one value alone."""
    table = rundial("control", job).out
    found = rundial("control", job, "--json").json

    assert "lr" in table
    assert "-1..1 1/step" in table
    assert "adam | sgd | 1" in table
    assert [dial["name"] for dial in found["dials"]] == ["lr", "note", "optimizer", "stop", "stubborn"]
    assert rundial("control", job, "note").out == "none\n"


def test_a_dial_is_turned_and_turned_back(configured: ServerProcess, job: str) -> None:
    """The command waits for what becomes of it; a negative number is a value and no option."""
    before = rundial("control", job, "lr").out.strip()

    assert rundial("control", job, "lr", "-0.5", "--reason", "to see").out == f"lr: applied, {before} -> -0.5\n"
    undone = rundial("control", job, "lr", "--undo", "--json").json["command"]

    assert (undone["status"], undone["value"], undone["former"]) == ("applied", float(before), -0.5)
    history = rundial("control", job, "lr", "--history", "--json").json["commands"]
    assert [one["value"] for one in history][:2] == [float(before), -0.5]
    assert history[1]["reason"] == "to see"
    assert "to see" in rundial("control", job, "--history").out


def test_texts_and_choices_stay_what_was_typed(configured: ServerProcess, job: str) -> None:
    """Although they would be JSON."""
    rundial("control", job, "note", "17")
    rundial("control", job, "optimizer", "1")

    assert rundial("control", job, "note", "--json").json["dial"]["value"] == "17"
    assert rundial("control", job, "optimizer", "--json").json["dial"]["value"] == "1"


def test_what_is_not_applied_is_an_error(configured: ServerProcess, job: str) -> None:
    """By the server, by the job, or because there is no such dial."""
    assert "more than 1" in rundial("control", job, "lr", "7", code=1).err
    assert rundial("control", job, "stubborn", "false", code=1).out == "stubborn: rejected: not today\n"
    assert "There are: lr" in rundial("control", job, "lrr", "1", code=1).err
    assert "nothing to undo" in rundial("control", job, "stubborn", "--undo", code=1).err
    rundial("control", "run_nothing", code=1)
    rundial("control", code=1)


def test_a_dry_run_changes_nothing(configured: ServerProcess, job: str) -> None:
    """It says what would be."""
    before = rundial("control", job, "lr").out.strip()

    assert rundial("control", job, "lr", "0.9", "--dry-run").out == f"lr would go from {before} to 0.9.\n"
    assert rundial("control", job, "lr").out.strip() == before


def test_an_action_needs_no_value(configured: ServerProcess, job: str) -> None:
    """And not waiting for it is possible. Last, for it ends the job."""
    assert "pending" in rundial("control", job, "stop", "--wait", "0").out
    rundial("run", "status", job)


def test_a_queue_directory_needs_no_server(tmp_path: Path) -> None:
    """As `runtimectl` does."""
    queue = tmp_path / "queue"

    rundial("control", "-q", queue, "model.dropout.p", "-0.5", "--kwargs", '{"layer": 3}')
    shown = json.loads(rundial("control", "-q", queue, "status").out)

    command = json.loads((queue / "commands.jsonl").read_text())
    assert (command["path"], command["args"], command["kwargs"]) == ("model.dropout.p", [-0.5], {"layer": 3})
    assert (shown["commands"], shown["acks"]) == (1, 0)
    rundial("control", "-q", queue, "x", "--kwargs", "[1]", code=2)
