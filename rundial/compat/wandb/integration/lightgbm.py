"""A callback for LightGBM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rundial.compat import wandb
from rundial.compat.wandb import plot
from rundial.compat.wandb._table import Table


def wandb_callback(log_params: bool = True, define_metric: bool = True) -> Callable[[Any], None]:
    """A callback that logs the scores of each round.

    Args:
        log_params: keep the parameters as configuration.
        define_metric: keep the best score in the summary, not the last.

    Raises:
        Error: there is no run.
    """
    if wandb.run is None:
        raise wandb.Error("You must call wandb.init() before wandb_callback()")

    def callback(env: Any) -> None:
        run = wandb.run
        if run is None:
            return
        first = env.iteration == env.begin_iteration
        if first and log_params:
            run.config.update(env.params, allow_val_change=True)
        values: dict[str, float] = {}
        for entry in env.evaluation_result_list or ():
            data, name, score, higher = entry[:4]
            if len(entry) == 5:  # cross-validation: mean and deviation of the folds
                values[f"{data}_{name}-stdv"] = float(entry[4])
            key = f"{data}_{name}" if len(entry) == 4 else f"{data}_{name}-mean"
            if first and define_metric:
                run.define_metric(key, summary="max" if higher else "min")
            values[key] = float(score)
        run.log({"iteration": env.iteration, **values})

    callback.order = 11  # type: ignore[attr-defined]
    return callback


def log_summary(model: Any, feature_importance: bool = True, save_model_checkpoint: bool = False) -> None:
    """Keep the best round and score, plot the features' importance, keep the model as an artifact.

    Raises:
        Error: there is no run.
    """
    run = wandb.run
    if run is None:
        raise wandb.Error("You must call wandb.init() before log_summary()")
    run.summary["best_iteration"] = model.best_iteration
    best = getattr(model, "best_score", None)
    if isinstance(best, dict):
        run.summary["best_score"] = {str(data): dict(scores) for data, scores in best.items()}
    if feature_importance:
        pairs = sorted(zip(model.feature_name(), model.feature_importance().tolist()), key=lambda pair: -pair[1])
        table = Table(columns=["Feature", "Importance"], data=[list(pair) for pair in pairs])
        run.log({"Feature Importance": plot.bar(table, "Feature", "Importance", "Feature Importance")})
    if save_model_checkpoint:
        path = Path(run.dir) / f"model_{run.id}.txt"
        model.save_model(str(path), num_iteration=model.best_iteration)
        run.log_artifact(str(path), name=f"model_{run.id}", type="model")
