"""Sweeps from the command line, and trials that are programs of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rundial.compat.wandb._sweep_store import Sweep, Trial
from rundial.compat.wandb.errors import UsageError
from rundial.errors import RundialError

_TURNS: dict[str, Literal["running", "paused", "stopped"]] = {
    "pause": "paused",
    "resume": "running",
    "stop": "stopped",
}
_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")


def main(word: str, arguments: Sequence[str]) -> int:
    """``sweep FILE`` prints the new sweep's id, ``sweep --stop ID`` and the like turn it, ``agent ID`` runs its trials.

    Returns the exit code.
    """
    import argparse

    from rundial.compat.wandb import _sweep

    parser = argparse.ArgumentParser(prog=f"python -m rundial.compat.wandb {word}")
    parser.add_argument("--project", "-p")
    parser.add_argument("--entity", "-e")
    if word == "agent":
        parser.add_argument("--count", type=int)
    else:
        turns = parser.add_mutually_exclusive_group()
        for turn in _TURNS:
            turns.add_argument(f"--{turn}", action="store_const", const=turn, dest="turn")
    parser.add_argument("what", metavar="SWEEP_ID" if word == "agent" else "FILE_OR_SWEEP_ID")
    asked = parser.parse_args(arguments)
    try:
        if word == "sweep" and asked.turn:
            _turn(asked.what, asked.project, _TURNS[asked.turn])
        elif word == "agent":
            _sweep.agent(asked.what, None, asked.entity, asked.project, asked.count)
        else:
            print(_sweep.sweep(_document(Path(asked.what)), asked.entity, asked.project))  # noqa: T201 - a command line
    except (RundialError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 1
    return 0


def _turn(path: str, project: str | None, state: Literal["running", "paused", "stopped"]) -> None:
    """Tell the server what the agents of a sweep are to do, ``[entity/project/]id``. Raises :class:`RundialError`."""
    from rundial.compat.wandb import _server, _sweep_store

    *place, sweep_id = path.strip("/").split("/")
    named = project or (place[-1] if place else _sweep_store.read(sweep_id).project)
    _server.connect().turn_sweep(_server.workspace(), named, sweep_id, state)


def _document(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return dict(json.loads(text))
    import yaml

    return dict(yaml.safe_load(text))


def start(found: Sweep, trial: Trial, project: str, entity: str) -> str:
    """Run one trial as a program; ``finished`` or ``failed``. Raises :class:`UsageError` without a program."""
    with tempfile.TemporaryDirectory(prefix="rundial-sweep-") as folder:
        path = Path(folder) / "parameters.json"
        path.write_text(json.dumps({name: {"value": value} for name, value in trial.params.items()}))
        environment = {
            "RUNDIAL_COMPAT": "wandb",
            "WANDB_SWEEP_ID": found.sweep_id,
            "WANDB_RUN_ID": trial.run_id,
            "WANDB_SWEEP_PARAM_PATH": str(path),
            **{name: value for name, value in (("WANDB_PROJECT", project), ("WANDB_ENTITY", entity)) if value},
        }
        done = subprocess.run(command_of(found, trial), env={**os.environ, **environment}, check=False)
    return "failed" if done.returncode else "finished"


def command_of(found: Sweep, trial: Trial) -> list[str]:
    """The words of a trial's command, from the sweep's ``program`` and ``command``.

    Raises:
        UsageError: neither is there.
    """
    program = found.config.get("program")
    template = found.config.get("command") or _COMMAND
    if program is None and "${program}" in template:
        raise UsageError("agent() needs a function, or the sweep a program.")
    pairs = [(name, value) for name, value in trial.params.items() if not isinstance(value, dict)]
    interpreter = [sys.executable, "-m", "rundial.compat.wandb"]
    words = {
        "${env}": [],
        "${interpreter}": interpreter,
        "${program}": [str(program)],
        "${args}": [f"--{name}={value}" for name, value in pairs],
        "${args_no_hyphens}": [f"{name}={value}" for name, value in pairs],
        "${args_no_boolean_flags}": [
            f"--{name}" if value is True else f"--{name}={value}" for name, value in pairs if value is not False
        ],
        "${args_json}": [json.dumps(trial.params)],
    }
    command: list[str] = []
    for word in template:
        command += words.get(str(word), [str(word)])
    return command
