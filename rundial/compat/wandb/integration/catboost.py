"""A callback for CatBoost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rundial.compat import wandb
from rundial.compat.wandb import plot
from rundial.compat.wandb._table import Table


class WandbCallback:
    """Logs the scores of each iteration.

    Args:
        metric_period: iterations from one logged to the next.

    Raises:
        Error: there is no run.
    """

    def __init__(self, metric_period: int = 1) -> None:
        if wandb.run is None:
            raise wandb.Error("You must call wandb.init() before WandbCallback()")
        self.metric_period = metric_period

    def after_iteration(self, info: Any) -> bool:
        """Log the scores of one iteration; True, which goes on."""
        if info.iteration % self.metric_period == 0 and wandb.run is not None:
            scores = {
                f"{data}-{name}": values[-1]
                for data, metrics in info.metrics.items()
                for name, values in metrics.items()
            }
            wandb.run.log({f"iteration@metric-period-{self.metric_period}": info.iteration, **scores})
        return True


def log_summary(
    model: Any, log_all_params: bool = True, save_model_checkpoint: bool = False, log_feature_importance: bool = True
) -> None:
    """Keep the parameters, the best iteration and score, the features' importance and the model.

    Raises:
        Error: there is no run.
    """
    run = wandb.run
    if run is None:
        raise wandb.Error("You must call wandb.init() before log_summary()")
    run.config.update(model.get_all_params() if log_all_params else model.get_params(), allow_val_change=True)
    run.summary.update({"best_iteration": model.get_best_iteration(), "best_score": model.get_best_score()})
    if save_model_checkpoint:
        path = Path(run.dir) / f"model_{run.id}.cbm"
        model.save_model(str(path))
        run.log_artifact(str(path), name=f"model_{run.id}", type="model")
    if log_feature_importance:
        rows = sorted(
            ([str(n), float(v)] for n, v in model.get_feature_importance(prettified=True).values), key=_weight
        )
        table = Table(columns=["Feature", "Importance"], data=rows)
        run.log({"Feature Importance": plot.bar(table, "Feature", "Importance", "Feature Importance")})


def _weight(row: list[Any]) -> float:
    return -float(row[1])
