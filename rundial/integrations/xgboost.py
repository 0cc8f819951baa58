"""XGBoost: a callback for ``train``, ``cv`` and the estimators."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xgboost

from rundial.diagnostics import warn
from rundial.integrations._adapter import LazyRun, is_rank_zero, number, prefixed
from rundial.runs import Run

if TYPE_CHECKING:
    from rundial.media import Table


class RundialXGBoostCallback(xgboost.callback.TrainingCallback):
    """Logs the evaluations of each boosting round, as ``<data>/<metric>``; of ``cv`` their means and deviations.

    The run is made when training begins, and ends with the process. Nothing raises into the training.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        metric_prefix: put before every name, with ``/``.
        importance: log the table ``feature_importance`` when training ends: ``weight``, ``gain``, ``cover``,
            ``total_gain`` or ``total_cover``; None for none.
        log_model: store the model as an artifact when training ends.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        metric_prefix: str = "",
        importance: str | None = "gain",
        log_model: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        self._lazy = LazyRun(run, settings)
        self._prefix = metric_prefix
        self._importance = importance
        self._log_model = log_model
        self._warned = False

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    def before_training(self, model: Any) -> Any:
        """Make the run, with the model's parameters under ``xgboost``."""
        if is_rank_zero():
            try:
                self._lazy.configure({"xgboost": _configuration(_booster(model))})
                self._lazy.writable  # noqa: B018 - makes it
            except Exception as error:  # noqa: BLE001 - XGBoost ends its training when a callback raises
                self._warn(error)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:
        """Log the last round; never asks to stop."""
        if is_rank_zero() and evals_log:
            try:
                # A training that goes on with an earlier model counts from zero; its trees tell the round.
                step = epoch if hasattr(model, "cvfolds") else model.num_boosted_rounds() - 1
                self._lazy.writable.log(prefixed(_last_values(evals_log), self._prefix, "/"), step=step)
            except Exception as error:  # noqa: BLE001 - as above
                self._warn(error)
        return False

    def after_training(self, model: Any) -> Any:
        """Put the best round into the summary; log the importance of the features, and the model if asked for."""
        if is_rank_zero():
            try:
                self._conclude(model)
            except Exception as error:  # noqa: BLE001 - as above
                self._warn(error)
        return model

    def _conclude(self, model: Any) -> None:
        run, booster = self._lazy.writable, _booster(model)
        best = {name: booster.attr(name) for name in ("best_iteration", "best_score")}
        run.summary.update({name: _parsed(value) for name, value in best.items() if value is not None})
        if hasattr(model, "cvfolds"):
            return
        step = max(booster.num_boosted_rounds() - 1, 0)
        if self._importance:
            table = _importance(booster, self._importance)
            run.log({f"{self._prefix}/feature_importance".strip("/"): table}, step=step)
        if self._log_model:
            with tempfile.TemporaryDirectory(prefix="rundial-") as folder:
                path = Path(folder) / "model.ubj"
                booster.save_model(path)
                run.log_artifact(path, f"model-{run.id}", "model", metadata=best, step=step)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            warn(f"XGBoost's training was not logged: {type(error).__name__}: {error}")


def _booster(model: Any) -> Any:
    """The booster; of a cross-validation that of the first fold."""
    return model.cvfolds[0].bst if hasattr(model, "cvfolds") else model


def _last_values(evals_log: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for data, metrics in evals_log.items():
        for name, values in metrics.items():
            last = values[-1]
            if isinstance(last, tuple):
                found |= {f"{data}/{name}-mean": number(last[0]), f"{data}/{name}-std": number(last[1])}
            else:
                found[f"{data}/{name}"] = number(last)
    return found


def _configuration(booster: Any) -> dict[str, Any]:
    """Objective, booster, and the parameters of its trees, as XGBoost has taken them in."""
    learner = json.loads(booster.save_config())["learner"]
    kind = learner["gradient_booster"]
    found = {
        "objective": learner["objective"]["name"],
        "booster": kind["name"],
        "base_score": learner["learner_model_param"].get("base_score"),
        "num_class": learner["learner_model_param"].get("num_class"),
        "device": learner["generic_param"].get("device"),
        "seed": learner["generic_param"].get("seed"),
        **kind.get("tree_train_param", {}),
    }
    return {name: _parsed(value) for name, value in found.items()}


def _parsed(text: Any) -> Any:
    """The number that a text is, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            continue
    return text


def _importance(booster: Any, kind: str) -> Table:
    from rundial.media import Table

    scores = booster.get_score(importance_type=kind)
    rows = sorted(([name, number(value)] for name, value in scores.items()), key=lambda row: str(row[0]))
    return Table(columns=["feature", kind], data=sorted(rows, key=lambda row: _size(row[1]), reverse=True))


def _size(value: Any) -> float:
    """Of a linear model with several classes there is a value for each."""
    return float(max(value)) if isinstance(value, (list, tuple)) else float(value)
