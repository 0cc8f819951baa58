"""CatBoost: a callback for ``fit`` and ``train``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rundial.integrations._adapter import LazyRun, last_step, number, prefixed
from rundial.integrations._guarded import guarded
from rundial.runs import Run


class RundialCatBoostCallback:
    """Logs the metrics of each iteration, as ``<data>/<metric>``, such as ``learn/Logloss`` and ``validation/AUC``.

    The run is made when training begins, and ends with the process. Nothing raises into the training. Steps count
    iterations from 0, as CatBoost prints them; a further fit with the same callback goes on with the curves.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        metric_prefix: put before every name, with ``/``.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    def __init__(self, run: Run | None = None, *, metric_prefix: str = "", **settings: Any) -> None:
        self._lazy = LazyRun(run, settings)
        self._prefix = metric_prefix
        self._offset = 0
        self._next = 0
        self._lengths: dict[str, int] = {}

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    def after_iteration(self, info: Any) -> bool:
        """Log the iteration that ``info`` is about; never asks to stop."""
        self._log(info)
        return True

    @guarded
    def _log(self, info: Any) -> None:
        if info.iteration == 1:
            self._offset, self._lengths = self._next, {}
        self._next = self._offset + info.iteration
        found: dict[str, Any] = {}
        for data, metrics in info.metrics.items():
            for name, values in metrics.items():
                key = f"{data}/{name}"
                # With metric_period= there is not a value for each iteration.
                if len(values) > self._lengths.get(key, 0):
                    self._lengths[key] = len(values)
                    found[key] = number(values[-1])
        if found:
            self._lazy.writable.log(prefixed(found, self._prefix, "/"), step=self._next - 1)

    @guarded
    def log_model(self, model: Any, *, importance: bool = True, artifact: bool = True) -> None:
        """Log what a callback is not told: parameters, best iteration and score, importance, and the model.

        Args:
            model: a trained ``CatBoost``, ``CatBoostClassifier``, ``CatBoostRegressor`` or ``CatBoostRanker``.
            importance: log the table ``feature_importance``.
            artifact: whether the model is stored as an artifact, in CatBoost's own format.
        """
        run = self._lazy.writable
        step = last_step(run)
        run.update_config({"catboost": {**model.get_all_params(), **model.get_params()}})
        best = {"best_iteration": model.get_best_iteration(), "best_score": model.get_best_score()}
        about = {name: value for name, value in best.items() if value is not None}
        run.summary.update(about)
        if importance:
            from rundial.media import Table

            rows = sorted(zip(model.feature_names_, map(float, model.get_feature_importance())), key=lambda r: -r[1])
            table = Table(columns=["feature", "importance"], data=[list(row) for row in rows])
            run.log(prefixed({"feature_importance": table}, self._prefix, "/"), step=step)
        if artifact:
            with tempfile.TemporaryDirectory(prefix="rundial-") as folder:
                path = Path(folder) / "model.cbm"
                model.save_model(str(path))
                run.log_artifact(path, f"model-{run.id}", "model", metadata=about, step=step)
