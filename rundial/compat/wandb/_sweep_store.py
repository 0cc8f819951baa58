"""Sweeps on disk: one folder each in the home, which all agents of this machine share under a lock."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from rundial.compat.wandb.errors import CommError
from rundial.config import home

_STATE = "sweep.json"


class Trial(Struct):
    """One run of a sweep.

    Args:
        run_id: of its run.
        point: where it lies.
        params: the same as configuration.
        state: ``pending`` while a controller has it wait, ``running``, ``finished``, ``failed`` or ``stopped``.
        metric: what became of it; None while nothing is known.
        bands: the best value when it came to a band of ``early_terminate``, by the band's number.
    """

    run_id: str
    point: list[float]
    params: dict[str, Any]
    state: str = "running"
    metric: float | None = None
    bands: dict[str, float] = {}


class Sweep(Struct):
    """A sweep and its trials; ``config`` is what ``wandb.sweep`` was given."""

    sweep_id: str
    project: str
    entity: str
    config: dict[str, Any]
    trials: list[Trial] = []
    state: str = "RUNNING"

    def trial(self, run_id: str) -> Trial | None:
        """The trial of a run."""
        return next((trial for trial in self.trials if trial.run_id == run_id), None)


def _folder(sweep_id: str) -> Path:
    return home() / "sweeps" / "".join(c if c.isalnum() or c in "-_" else "-" for c in sweep_id)


def create(sweep: Sweep) -> None:
    """Write a new sweep. Raises :class:`OSError`."""
    folder = _folder(sweep.sweep_id)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, sweep)


def read(sweep_id: str) -> Sweep:
    """A sweep as it is now. Raises :class:`CommError` when there is none."""
    path = _folder(sweep_id) / _STATE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Sweep)
    except (OSError, msgspec.MsgspecError) as error:
        raise CommError(f"there is no sweep {sweep_id!r} on this machine: {error}") from error


@contextmanager
def changing(sweep_id: str) -> Iterator[Sweep]:
    """A sweep that nobody else changes meanwhile; what is changed in it is written at the end."""
    folder = _folder(sweep_id)
    if not folder.is_dir():
        raise CommError(f"there is no sweep {sweep_id!r} on this machine; agents run where wandb.sweep() was called.")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep = read(sweep_id)
        yield sweep
        _write(folder, sweep)


def _write(folder: Path, sweep: Sweep) -> None:
    draft = folder / f"{_STATE}.tmp"
    draft.write_bytes(msgspec.json.encode(sweep, enc_hook=str))
    draft.replace(folder / _STATE)
