"""Ray Tune: a callback for a ``Tuner``, which logs each trial into a run of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune.logger import LoggerCallback

from rundial.integrations._adapter import Checkpoints, LazyRun, prefixed
from rundial.integrations._guarded import guarded
from rundial.runs import Run
from rundial.sweeps import join

_OF_RAY = frozenset(
    {
        "checkpoint_dir_name",
        "config",
        "date",
        "done",
        "experiment_tag",
        "hostname",
        "iterations_since_restore",
        "node_ip",
        "pid",
        "should_checkpoint",
        "time_since_restore",
        "timestamp",
        "training_iteration",
        "trial_id",
    }
)
"""What a result says of Ray and the machine, and the step itself."""


class RundialRayCallback(LoggerCallback):  # type: ignore[misc]  # Ray is not there when types are checked
    """Logs what trials report, from the process of the Tuner; the step is ``training_iteration``.

    Each trial is a run named after it, in a group with the experiment's name, with the trial's parameters as its
    configuration; it ends with the trial, failed if that failed. ``Tuner.restore`` goes on with the same runs. Nothing
    raises into the search.

    Args:
        run: your own run; all trials are logged to it, each under ``<trial id>/``, and it is never ended here. Without
            it and without settings the run that ``rundial.init`` made last is used so, if it is open.
        metric_prefix: put before every name, with ``/``.
        log_model: store the checkpoints that trials report as artifacts, if they lie on this machine.
        settings: arguments of :func:`rundial.init` for each trial, such as ``project``, ``group`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    def __init__(
        self, run: Run | None = None, *, metric_prefix: str = "", log_model: bool = False, **settings: Any
    ) -> None:
        self._lazy = LazyRun(run, settings)
        self._settings = dict(settings)
        self._prefix = metric_prefix
        self._log_model = log_model
        self._trials: dict[str, LazyRun] = {}
        self._known: dict[str, dict[str, str]] = {}
        """Which run each trial has had, also in an earlier process."""
        self._checkpoints = Checkpoints()

    def run_of(self, trial_id: str) -> Run | None:
        """The run of a trial that has begun in this process, None for others. It may have ended."""
        return self._lazy.given or (self._trials[trial_id].run if trial_id in self._trials else None)

    @guarded
    def log_trial_start(self, trial: Any) -> None:
        """Make the trial's run, with its parameters; the experiment is a sweep."""
        if self._lazy.given is not None:
            self._lazy.configure({"trials": {trial.trial_id: trial.config}})
            return
        lazy = self._run_of(trial)
        lazy.configure(trial.config)
        experiment = str(trial.experiment_dir_name)
        join(lazy.writable, experiment.replace("/", "-")[:128], {"method": "Ray Tune"}, name=experiment)

    @guarded
    def log_trial_result(self, iteration: int, trial: Any, result: Mapping[str, Any]) -> None:
        """Log a result."""
        values = {name: value for name, value in result.items() if name not in _OF_RAY and value is not None}
        if self._lazy.given is not None:
            values = {trial.trial_id: values}
        self._run_of(trial).writable.log(prefixed(values, self._prefix, "/"), step=result["training_iteration"])

    @guarded
    def log_trial_save(self, trial: Any) -> None:
        """Store the trial's newest checkpoint, if asked for."""
        path = str(trial.checkpoint.path) if self._log_model and trial.checkpoint else ""
        if path and Path(path).is_dir():
            step = trial.last_result.get("training_iteration")
            self._checkpoints.store(self._run_of(trial).writable, path, name=f"model-{trial.trial_id}", step=step)

    @guarded
    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End the trial's run."""
        if self._lazy.given is not None:
            self._lazy.given.event("trial failed" if failed else "trial ended", kind="phase", trial=trial.trial_id)
        else:
            self._run_of(trial).run.finish(status="failed" if failed else "completed")

    def get_state(self) -> dict[str, Any]:
        """Which run each trial has, for the experiment's checkpoint."""
        return {"runs": {**self._known, **{name: lazy.state() for name, lazy in self._trials.items()}}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on with the runs of an experiment's checkpoint."""
        self._known = dict(state.get("runs", {}))

    def _run_of(self, trial: Any) -> LazyRun:
        if self._lazy.given is not None:
            return self._lazy
        name = trial.trial_id
        if name not in self._trials:
            lazy = LazyRun(None, {"group": trial.experiment_dir_name, "name": str(trial), **self._settings})
            lazy.restore(self._known.get(name))
            self._trials[name] = lazy
        return self._trials[name]
