"""LightGBM: a callback for ``train``, ``cv`` and the estimators."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rundial.diagnostics import warn
from rundial.integrations._adapter import LazyRun, is_rank_zero, number, prefixed
from rundial.runs import Run


class RundialLightGBMCallback:
    """Logs the evaluations of each boosting round, as ``<data>/<metric>``; of ``cv`` their means and deviations.

    The run is made when training begins, and ends with the process. Nothing raises into the training. The summary has
    ``best_iteration``, counted from 1 as LightGBM does, and ``best_score`` of the first metric of the first data that
    is not the training's own.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        metric_prefix: put before every name, with ``/``.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    before_iteration = False
    order = 20
    """Before early stopping, which ends the round by an exception."""

    def __init__(self, run: Run | None = None, *, metric_prefix: str = "", **settings: Any) -> None:
        self.order = 20  # LightGBM looks for it among the attributes of the object itself
        self._lazy = LazyRun(run, settings)
        self._prefix = metric_prefix
        self._best: float | None = None
        self._warned = False

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    def __call__(self, env: Any) -> None:
        """Log the round that ``env`` is about."""
        if not is_rank_zero():
            return
        try:
            if env.iteration == env.begin_iteration:
                self._best = None
                self._lazy.configure({"lightgbm": dict(env.params)})
                self._lazy.writable  # noqa: B018 - makes it
            if env.evaluation_result_list:
                self._log(env)
        except Exception as error:  # noqa: BLE001 - LightGBM ends its training when a callback raises
            if not self._warned:
                self._warned = True
                warn(f"LightGBM's training was not logged: {type(error).__name__}: {error}")

    def _log(self, env: Any) -> None:
        run, step = self._lazy.writable, int(env.iteration)
        found: dict[str, Any] = {}
        watched: tuple[float, bool] | None = None
        own = str(getattr(env.model, "_train_data_name", "training"))
        for data, name, value, higher_is_better, *deviation in env.evaluation_result_list:
            if deviation:
                found |= {f"{data}/{name}-mean": number(value), f"{data}/{name}-std": number(deviation[0])}
            else:
                found[f"{data}/{name}"] = number(value)
            if watched is None and data not in (own, "train", "training"):
                watched = float(value), bool(higher_is_better)
        run.log(prefixed(found, self._prefix, "/"), step=step)
        if watched is not None and _is_better(*watched, self._best):
            self._best = watched[0]
            run.summary.update({"best_iteration": step + 1, "best_score": self._best})

    def log_model(self, model: Any, *, importance: str | None = "gain", artifact: bool = True) -> None:
        """Log the table ``feature_importance`` of a trained model, its best round, and the model as an artifact.

        Args:
            model: a Booster or an estimator.
            importance: ``gain`` or ``split``; None for no table.
            artifact: whether the model is stored, as text.
        """
        if not is_rank_zero():
            return
        try:
            self._log_model(getattr(model, "booster_", model), importance, artifact)
        except Exception as error:  # noqa: BLE001 - a script that has trained for hours must not end here
            warn(f"the model was not logged: {type(error).__name__}: {error}")

    def _log_model(self, booster: Any, importance: str | None, artifact: bool) -> None:
        run, step = self._lazy.writable, max(int(booster.current_iteration()) - 1, 0)
        if booster.best_iteration > 0:
            run.summary["best_iteration"] = int(booster.best_iteration)
        if importance:
            from rundial.media import Table

            names: Sequence[str] = booster.feature_name()
            values = booster.feature_importance(importance).tolist()
            rows = sorted(zip(names, values), key=lambda row: -row[1])
            table = Table(columns=["feature", importance], data=rows)
            run.log({f"{self._prefix}/feature_importance".strip("/"): table}, step=step)
        if artifact:
            with tempfile.TemporaryDirectory(prefix="rundial-") as folder:
                path = Path(folder) / "model.txt"
                booster.save_model(str(path))
                about = {"best_iteration": int(booster.best_iteration)} if booster.best_iteration > 0 else None
                run.log_artifact(path, f"model-{run.id}", "model", metadata=about, step=step)


def _is_better(value: float, higher: bool, best: float | None) -> bool:
    return value == value and (best is None or (value > best if higher else value < best))
