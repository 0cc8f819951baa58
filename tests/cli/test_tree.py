"""Every command there is: where its options stand, and how it ends when something is wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from rundial.cli import app
from tests.flows.conftest import ServerProcess

SHARED = {"shared_json", "shared_quiet", "shared_endpoint", "shared_profile"}
RUN = "run_unknown"
ARGUMENTS = {
    "artifact get": "model",
    "artifact lineage": "model",
    "artifact put": "file.txt",
    "auth agent create": "--name robot",
    "auth agent key create": "--agent agt_1",
    "auth agent key list": "--agent agt_1",
    "auth agent revoke": "--agent agt_1",
    "agent create": "--name robot",
    "agent key create": "--agent agt_1",
    "agent key list": "--agent agt_1",
    "agent revoke": "--agent agt_1",
    "auth key revoke": "--key-id key_1",
    "control": f"{RUN} lr 0.1",
    "evals diff": "evr_a evr_b",
    "export": RUN,
    "logs export": f"{RUN} --out logs.json",
    "logs tail": RUN,
    "metrics export": f"{RUN} --out metrics.json",
    "metrics tail": RUN,
    "project create": "robots",
    "run delete": f"{RUN} --yes",
    "run finish": RUN,
    "run rename": f"{RUN} other",
    "run restore": RUN,
    "run status": RUN,
    "run tag": f"{RUN} best",
    "target use": "--project default-project",
    "verify": RUN,
}
"""What a command needs to get as far as its server."""
APART = {"ui", "sync", "completion", "config show", "config path", "config set", "config unset"}
APART |= {"profile ls", "profile create", "profile use", "profile delete", "import wandb", "auth logout"}
APART |= {"server backup", "server restore", "server check"}
APART |= {"import rundial", "import tensorboard", "import mlflow", "import trackio"}
"""Commands that ask no server, or that are one."""
KNOW_NO_KEY = {"verify"}
"""It looks into this machine's spool first, and knows no such run."""


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, below in command.commands.items():
        yield from _commands(below, (*path, name))


TREE = dict(_commands(typer.main.get_command(app)))
ASKING = sorted(TREE.keys() - APART)


def each(words: dict[str, list[str]], **environment: str) -> dict[str, dict[str, Any]]:
    """What each of the commands did."""
    asked = [{"words": it, "environment": environment} for it in words.values()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.forks"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"RUNDIAL_SYSTEM_METRICS": "0"},
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(words, json.loads(done.stdout), strict=True))


def spelled(name: str, *more: str) -> list[str]:
    """The command with what it needs."""
    return [*name.split(), *ARGUMENTS.get(name, "").split(), *more]


@pytest.fixture(autouse=True)
def file() -> None:
    """Something to upload."""
    Path("file.txt").write_text("hello")


def test_every_command_takes_the_shared_options() -> None:
    """Also a command that is added tomorrow."""
    assert [name for name, it in TREE.items() if not {option.name for option in it.params} >= SHARED] == []
    assert TREE.keys() >= ARGUMENTS.keys() | APART


def test_options_stand_before_and_behind_every_command() -> None:
    """All four are understood in both places: the profile that is not there is what fails."""
    shared = ["--json", "--quiet", "--endpoint", "http://127.0.0.1:1", "--profile", "nowhere"]
    names = [name for name in ASKING if name not in KNOW_NO_KEY]
    before = each({name: [*shared, *spelled(name)] for name in names})
    behind = each({name: spelled(name, *shared) for name in names})

    for done in (before, behind):
        assert {
            name: it for name, it in done.items() if it["code"] != 1 or "nowhere" not in it["err"] + it["out"]
        } == {}


def test_no_server_is_one_sentence_and_1() -> None:
    """Which programs read as JSON."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"

    done = each({name: spelled(name, "--json") for name in ASKING}, RUNDIAL_ENDPOINT=nobody, RUNDIAL_API_KEY="rdk_1")

    assert {name: it for name, it in done.items() if it["code"] != 1} == {}
    assert [name for name, it in done.items() if "Traceback" in it["err"] or "unexpected" in it["err"]] == []
    assert [name for name, it in done.items() if json.loads(it["err"])["error"]["exitCode"] != 1] == []


def test_a_key_that_is_refused_is_2(server: ServerProcess) -> None:
    """Whatever the command."""
    names = {name: spelled(name, "--json") for name in ASKING if name not in KNOW_NO_KEY}
    done = each(names, RUNDIAL_ENDPOINT=server.url, RUNDIAL_API_KEY="rdk_wrong")

    assert {name: it for name, it in done.items() if it["code"] != 2} == {}
    assert [name for name, it in done.items() if "Traceback" in it["err"]] == []
    assert [name for name, it in done.items() if json.loads(it["err"])["error"]["exitCode"] != 2] == []


def test_a_run_that_is_not_there_is_1(server: ServerProcess) -> None:
    """And said to be unknown, not to be a failure of ours."""
    names = {name: spelled(name, "--json") for name in ASKING if RUN in ARGUMENTS.get(name, "")}
    done = each(names, RUNDIAL_ENDPOINT=server.url, RUNDIAL_API_KEY=server.key)

    assert {name: it for name, it in done.items() if it["code"] != 1} == {}
    assert [name for name, it in done.items() if "Traceback" in it["err"] or "unexpected" in it["err"]] == []
    assert list(Path().glob("*.json")) == []


def test_a_mistyped_command_is_1() -> None:
    """An option that is not there, of every command, is one sentence that shows the way to the help."""
    done = each({name: [*name.split(), "--no-such-option"] for name in TREE if name != "control"})

    assert {name: it for name, it in done.items() if it["code"] != 1 or "--help" not in it["err"]} == {}
