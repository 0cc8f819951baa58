"""A callback for XGBoost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import xgboost

from rundial.compat import wandb
from rundial.compat.wandb import plot
from rundial.compat.wandb._table import Table

_SMALLER_IS_BETTER = ("rmse", "mae", "logloss", "mlogloss", "error", "merror", "mape", "mphe", "rmsle", "nloglik")


def wandb_callback() -> NoReturn:
    """The old form, for XGBoost before 1.3."""
    raise NotImplementedError("wandb.xgboost.wandb_callback is not supported; use WandbCallback().")


class WandbCallback(xgboost.callback.TrainingCallback):
    """Logs the scores of each round, and at the end what the training came to.

    Args:
        log_model: keep the model as an artifact.
        log_feature_importance: plot how much each feature counts.
        importance_type: which kind of it, as XGBoost calls them.
        define_metric: keep the best score in the summary, not the last.

    Raises:
        Error: there is no run.
    """

    def __init__(
        self,
        log_model: bool = False,
        log_feature_importance: bool = True,
        importance_type: str = "gain",
        define_metric: bool = True,
    ) -> None:
        if wandb.run is None:
            raise wandb.Error("You must call wandb.init() before WandbCallback()")
        self.log_model = log_model
        self.log_feature_importance = log_feature_importance
        self.importance_type = importance_type
        self.define_metric = define_metric

    def before_training(self, model: Any) -> Any:
        """Keep the parameters as configuration."""
        wandb.config.update(json.loads(model.save_config()), allow_val_change=True)
        return model

    def after_training(self, model: Any) -> Any:
        """Keep the model, the importances and the best round."""
        run = wandb.run
        if run is None:
            return model
        if self.log_model:
            path = Path(run.dir) / f"{run.id}_model.json"
            model.save_model(str(path))
            run.log_artifact(str(path), name=f"model_{run.id}", type="model")
        if self.log_feature_importance:
            scores = model.get_score(importance_type=self.importance_type)
            rows = [[name, value] for name, value in sorted(scores.items(), key=lambda item: -item[1])]
            table = Table(columns=["Feature", "Importance"], data=rows)
            run.log({"Feature Importance": plot.bar(table, "Feature", "Importance", "Feature Importance")})
        if model.attr("best_score") is not None:
            best = {"best_score": float(model.attr("best_score")), "best_iteration": int(model.attr("best_iteration"))}
            run.log(best)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, Any]) -> bool:
        """Log the scores of one round."""
        run = wandb.run
        if run is None:
            return False
        values: dict[str, float] = {}
        for data, metrics in evals_log.items():
            for name, scores in metrics.items():
                key = f"{data}-{name}"
                if self.define_metric and epoch == 0:
                    best = "min" if name.partition("@")[0] in _SMALLER_IS_BETTER else "max"
                    run.define_metric(key, summary=best)
                values[key] = float(scores[-1][0] if isinstance(scores[-1], tuple) else scores[-1])
        run.log({**values, "epoch": epoch})
        return False
