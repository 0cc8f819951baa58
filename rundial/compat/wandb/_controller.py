"""``wandb.controller``: the search of a sweep in a process of one's own, while agents only run what it schedules."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rundial.compat.wandb import _sweep, _sweep_store
from rundial.compat.wandb._sweep_store import Trial
from rundial.compat.wandb.errors import UsageError
from rundial.compat.wandb.errors.term import termlog

POLL_SECONDS = 0.5


class Controller:
    """The controller of a sweep whose ``controller`` is ``{"type": "local"}``.

    Args:
        sweep_id_or_config: a sweep that is there, or what one is made of by :meth:`create`; left out, the
            ``configure_*`` methods say it.
        entity, project: of its runs.

    Raises:
        CommError: there is no such sweep on this machine.
        UsageError: its controller is not a local one, or the sweep has begun.
    """

    def __init__(
        self,
        sweep_id_or_config: str | Mapping[str, Any] | None = None,
        entity: str | None = None,
        project: str | None = None,
    ) -> None:
        self._entity, self._project = entity, project
        self._sweep_id: str | None = None
        self._config: dict[str, Any] = {}
        if isinstance(sweep_id_or_config, str):
            self._sweep_id = sweep_id_or_config.strip("/").rpartition("/")[2]
            self._config = _sweep_store.read(self._sweep_id).config
            if not _sweep.is_controlled(self._config):
                raise UsageError("the sweep has no local controller: its config needs controller: {type: local}.")
        elif sweep_id_or_config is not None:
            self._config = dict(sweep_id_or_config)

    @property
    def sweep_id(self) -> str | None:
        """The sweep's id; None before :meth:`create`."""
        return self._sweep_id

    @property
    def sweep_config(self) -> dict[str, Any]:
        """What the sweep is made of."""
        return self._config

    # -- what it is made of ---------------------------------------------------------------------------------------

    def configure(self, sweep_dict_or_config: Mapping[str, Any]) -> None:
        """Take a whole configuration."""
        self._set(**dict(sweep_dict_or_config))

    def configure_search(self, search: str, **options: Any) -> None:
        """The method: ``grid``, ``random`` or ``bayes``."""
        self._set(method=search, **options)

    def configure_stopping(self, stopping: str, **options: Any) -> None:
        """The early termination: ``hyperband`` and its options."""
        self._set(early_terminate={"type": stopping, **options})

    def configure_metric(self, metric: str, goal: str | None = None) -> None:
        """What is to be small, or with the goal ``maximize`` large."""
        self._set(metric={"name": metric, **({"goal": goal} if goal else {})})

    def configure_program(self, program: str) -> None:
        """The script of a run."""
        self._set(program=program)

    def configure_name(self, name: str) -> None:
        """The sweep's name."""
        self._set(name=name)

    def configure_description(self, description: str) -> None:
        """What it is for."""
        self._set(description=description)

    def configure_controller(self, type: str) -> None:
        """``local``, which it is anyway."""
        self._set(controller={"type": type})

    def configure_parameter(self, name: str, **parameter: Any) -> None:
        """One parameter: ``values=``, ``value=``, or ``distribution=`` with ``min=``, ``max=`` and the like."""
        known = {key: value for key, value in parameter.items() if value is not None}
        self._set(parameters={**self._config.get("parameters", {}), name: known})

    def _set(self, **values: Any) -> None:
        if self._sweep_id is not None:
            raise UsageError("the sweep has been created; its configuration stays as it is.")
        self._config.update(values)

    def create(self, from_dict: bool = False) -> str:
        """Make the sweep; its id, for agents. Raises as :func:`wandb.sweep`."""
        self._set(controller={"type": "local"})
        self._sweep_id = _sweep.sweep(self._config, self._entity, self._project)
        return self._sweep_id

    # -- the search -----------------------------------------------------------------------------------------------

    def _created(self) -> str:
        if self._sweep_id is None:
            raise UsageError("the sweep has not been created; call create() first.")
        return self._sweep_id

    def search(self) -> Trial | None:
        """What the method would try next; None when it is through."""
        return _sweep.suggested(_sweep_store.read(self._created()))

    def schedule(self, run: Trial | None) -> None:
        """Let an agent run a trial; None ends the sweep once those that are scheduled have been run."""
        with _sweep_store.changing(self._created()) as found:
            if run is None:
                found.state = "FINISHED"
            else:
                run.state = "pending"
                found.trials.append(run)

    def stopping(self) -> list[Trial]:
        """None: a run ends by itself when ``early_terminate`` finds it hopeless."""
        return []

    def stop_runs(self, runs: Sequence[Trial]) -> None:
        """End runs from outside, which is not supported. Raises :class:`NotImplementedError` for any run."""
        if runs:
            raise NotImplementedError("stop_runs is not supported by rundial.compat.wandb; see docs/wandb-compat.md.")

    def step(self) -> None:
        """Schedule the next trial, unless one is waiting for an agent."""
        known = _sweep_store.read(self._created())
        if known.state == "RUNNING" and not any(trial.state == "pending" for trial in known.trials):
            self.schedule(_sweep.suggested(known))

    def done(self) -> bool:
        """Whether nothing is left to schedule or to run."""
        known = _sweep_store.read(self._created())
        return known.state != "RUNNING" and all(trial.state not in ("pending", "running") for trial in known.trials)

    def run(self, verbose: bool | None = None, print_status: bool = True, **printing: Any) -> None:
        """Make the sweep if it is not there, and schedule until it is done."""
        if self._sweep_id is None:
            self.create()
        said = ""
        while not self.done():
            self.step()
            if print_status and said != self._status():
                said = self._status()
                termlog(said)
            time.sleep(POLL_SECONDS)

    def _status(self) -> str:
        trials = _sweep_store.read(self._created()).trials
        counts = {state: sum(trial.state == state for trial in trials) for state in sorted({t.state for t in trials})}
        return f"Sweep: {self._sweep_id} ({self._config.get('method')}) | Runs: {len(trials)} {counts or ''}".rstrip()

    def print_status(self) -> None:
        """Say how many trials there are, by state."""
        termlog(self._status())


def controller(
    sweep_id_or_config: str | Mapping[str, Any] | None = None,
    entity: str | None = None,
    project: str | None = None,
) -> Controller:
    """A controller of a sweep; see :class:`Controller`."""
    return Controller(sweep_id_or_config, entity, project)
