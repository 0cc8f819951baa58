"""Optuna: a callback that logs the trials of a study, all into one run or each into its own."""

from __future__ import annotations

import threading
from typing import Any

from rundial.diagnostics import say, warn
from rundial.errors import ConfigError
from rundial.integrations._adapter import LazyRun
from rundial.runs import Run
from rundial.sweeps import FIELD, Link, join

_END = {"COMPLETE": "completed", "PRUNED": "aborted", "FAIL": "failed"}
"""What the state of a trial means to its run."""


class RundialOptunaCallback:
    """Logs each trial of ``study.optimize(objective, callbacks=[...])`` when it has ended.

    Into one run: the trial's number is the step, and the values, the parameters, the state and the seconds it took are
    logged; the summary has the best trial. With ``run_per_trial=True`` each trial is a run of its own in a group, whose
    configuration are the parameters and whose curves are what ``trial.report`` was given, and the study is a sweep:
    whoever pauses or stops it at the page does so with the study, which then waits or ends after the trial. Threads of
    ``n_jobs`` may share one callback. Nothing raises into the study.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        metric_name: the name of the value, or the names of the values; what ``study.set_metric_names`` has set
            when left out, else ``value``, or ``value_0``, ``value_1`` and so on.
        run_per_trial: make a run for each trial. The objective may log to it: ``callback.run_of(trial).log(...)``.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``group`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, both a run and settings, or a run or a run's id for each trial.
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        metric_name: str | list[str] | None = None,
        run_per_trial: bool = False,
        **settings: Any,
    ) -> None:
        if run_per_trial and (run is not None or settings.get("run_id") or settings.get("resume")):
            raise ConfigError("run_per_trial=True makes a run for each trial; run=, run_id= and resume= name one.")
        self._lazy = LazyRun(run, settings)
        self._settings = dict(settings)
        self._names = [metric_name] if isinstance(metric_name, str) else metric_name
        self._each = run_per_trial
        self._trials: dict[str, LazyRun] = {}
        self._spaces: dict[str, dict[str, Any]] = {}
        self._links: dict[str, Link] = {}
        self._configured = False
        self._warned = False
        self._lock = threading.Lock()

    @property
    def run(self) -> Run:
        """The run of the study, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    def run_of(self, trial: Any) -> Run:
        """The run that a trial's objective may log to: its own with ``run_per_trial=True``, else the study's."""
        return self._run_of(trial, trial.study.study_name).writable if self._each else self._lazy.writable

    def __call__(self, study: Any, trial: Any) -> None:
        """Log a trial that has ended."""
        try:
            (self._log_run if self._each else self._log_step)(study, trial)
            if self._each and not self._link(study.study_name).wait(say):
                study.stop()
        except Exception as error:  # noqa: BLE001 - Optuna ends the study when a callback raises
            if not self._warned:
                self._warned = True
                warn(f"trial {trial.number} was not logged: {type(error).__name__}: {error}")

    def _link(self, study_name: str) -> Link:
        with self._lock:
            if study_name not in self._links:
                chosen = ("project", "workspace", "endpoint", "api_key", "mode")
                known = {name: self._settings[name] for name in chosen if name in self._settings}
                self._links[study_name] = Link(_sweep_id(study_name), **known)
            return self._links[study_name]

    def _log_step(self, study: Any, trial: Any) -> None:
        with self._lock:
            run = self._lazy.writable
            if not self._configured:
                self._configured = True
                run.update_config({"optuna": _configuration(study)})
        params = {name: _logged(value) for name, value in trial.params.items()}
        row = {**self._values(study, trial), "params": params, "state": trial.state.name}
        if trial.duration is not None:
            row["seconds"] = trial.duration.total_seconds()
        run.log(row, step=trial.number)
        best = self._best(study)
        if best is not None and best.number == trial.number:
            run.summary.update({"best_trial": best.number, "best_value": best.value, "best_params": best.params})

    def _log_run(self, study: Any, trial: Any) -> None:
        lazy = self._run_of(trial, study.study_name)
        run = lazy.writable
        run.update_config({"params": trial.params, **trial.user_attrs})
        values = self._values(study, trial)
        name = next(iter(self._keys(study)))
        for step, value in sorted(trial.intermediate_values.items()):
            run.log({f"{name}/reported": value}, step=step)
        if values:
            run.log(values, step=max(trial.intermediate_values, default=0))
            run.summary.update(values)
        run.summary["trial"] = trial.number
        with self._lock:
            space = self._spaces.setdefault(study.study_name, {})
            space |= {name: _range(distribution) for name, distribution in trial.distributions.items()}
            config = _sweep(study, name, space)
        join(run, _sweep_id(study.study_name), config, name=study.study_name)
        with self._lock:
            self._trials.pop(f"{study.study_name}/{trial.number}", None)
        state = trial.state.name
        run.finish(status=_END.get(state, "completed"), reason=None if state == "COMPLETE" else state.lower())  # type: ignore[arg-type]

    def _run_of(self, trial: Any, study_name: str) -> LazyRun:
        key = f"{study_name}/{trial.number}"
        with self._lock:
            if key not in self._trials:
                base = self._settings.get("name") or study_name
                named = {"group": study_name, **self._settings, "name": f"{base}-{trial.number}"}
                self._trials[key] = LazyRun(None, named)
                self._trials[key].configure({FIELD: _sweep_id(study_name)})
            return self._trials[key]

    def _keys(self, study: Any) -> list[str]:
        count = len(study.directions)
        names = self._names or study.metric_names
        if names is not None and len(names) == count:
            return list(names)
        return ["value"] if count == 1 else [f"value_{index}" for index in range(count)]

    def _values(self, study: Any, trial: Any) -> dict[str, Any]:
        return dict(zip(self._keys(study), trial.values or ()))

    @staticmethod
    def _best(study: Any) -> Any:
        """The best trial, None before one is complete and for a study of several values."""
        if len(study.directions) > 1:
            return None
        try:
            return study.best_trial
        except ValueError:
            return None


def _configuration(study: Any) -> dict[str, Any]:
    return {
        "study": study.study_name,
        "directions": [direction.name.lower() for direction in study.directions],
        "sampler": type(study.sampler).__name__,
        "pruner": type(study.pruner).__name__,
        **study.user_attrs,
    }


def _sweep_id(study_name: str) -> str:
    """The id of the sweep that a study is."""
    return "".join(c if c.isprintable() and c != "/" else "-" for c in study_name)[:128] or "study"


def _sweep(study: Any, metric: str, space: dict[str, Any]) -> dict[str, Any]:
    """A study as ``wandb.sweep`` would describe it; the parameters are where the runs have them."""
    document: dict[str, Any] = {
        "method": type(study.sampler).__name__,
        "metric": {"name": metric, "goal": study.directions[0].name.lower()},
        "parameters": {"params": {"parameters": dict(space)}},
    }
    pruner = type(study.pruner).__name__
    if pruner != "NopPruner":
        document["early_terminate"] = {"type": pruner}
    return document


def _range(distribution: Any) -> dict[str, Any]:
    """What a parameter may be, in W&B's words."""
    if hasattr(distribution, "choices"):
        return {"values": [_logged(choice) for choice in distribution.choices]}
    kind = "log_uniform_values" if distribution.log else "uniform"
    if isinstance(distribution.low, int):
        kind = "q_log_uniform_values" if distribution.log else "int_uniform"
    found = {"distribution": kind, "min": distribution.low, "max": distribution.high}
    return found if distribution.step in (None, 1) else {**found, "q": distribution.step}


def _logged(value: Any) -> Any:
    """A parameter as a value of a chart; None and whatever else a choice may be as text."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)
