"""A sweep as ``Api`` gives it."""

from __future__ import annotations

from typing import Any

from rundial.compat.wandb import _server, _sweep_store
from rundial.compat.wandb._sweep import sign_of
from rundial.compat.wandb._sweep_space import parameters_of
from rundial.compat.wandb._sweep_store import Sweep
from rundial.compat.wandb.errors import CommError
from rundial.http import route


def _told(api: Any, sweep_id: str, project: str) -> Sweep:
    """What the server knows of a sweep. Raises :class:`CommError`."""
    place = ("workspaces", _server.workspace(), "projects", api._project(project), "sweeps", sweep_id)
    found = _server.ask(api.client, "sweep", "GET", route(*place))
    return Sweep(sweep_id, api._project(project), "", found["config"], state=str(found["state"]).upper())


class ApiSweep:
    """A sweep as ``Api`` gives it: this machine's own, else one that the server knows.

    Raises:
        CommError: neither knows it.
    """

    def __init__(self, api: Any, sweep_id: str, project: str = "") -> None:
        self._api = api
        try:
            self._found = _sweep_store.read(sweep_id)
        except CommError:
            self._found = _told(api, sweep_id, project)
        self.id = sweep_id
        self.config = self._found.config
        self.name = str(self.config.get("name") or sweep_id)
        self.project = self._found.project
        self.entity = self._found.entity

    @property
    def state(self) -> str:
        """``RUNNING`` or ``FINISHED``; where the server knows it also ``PAUSED`` or ``STOPPED``."""
        try:
            return _told(self._api, self.id, self.project).state
        except CommError:
            return _sweep_store.read(self.id).state

    @property
    def runs(self) -> list[Any]:
        """Its runs, as far as the server has them."""
        return [run for run in self._api.runs(self.project or None) if run.sweep_name == self.id]

    @property
    def order(self) -> str:
        """By which its runs are ordered, the best first."""
        metric = self.config.get("metric") or {}
        return f"{'-' if sign_of(self._found) < 0 else '+'}summary_metrics.{metric.get('name', '_step')}"

    def best_run(self, order: str | None = None) -> Any:
        """The first of its runs by ``order``; None without one."""
        from rundial.compat.wandb._api_filters import ordered

        documents = ordered([run._document for run in self.runs], order or self.order)
        return self._api._run_by_id(documents[0]["runId"]) if documents else None

    @property
    def expected_run_count(self) -> int | None:
        """How many runs a grid has; None for other methods."""
        from rundial.compat.wandb._sweep_space import grid

        if self.config.get("method") != "grid":
            return None
        return sum(1 for _ in grid(parameters_of(self.config["parameters"])))

    def __repr__(self) -> str:
        return f"<Sweep {'/'.join(part for part in (self.entity, self.project, self.id) if part)} ({self.state})>"
