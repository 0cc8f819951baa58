"""XGBoost with early stopping: `python examples/xgboost_train.py`."""

from __future__ import annotations

import numpy as np
import xgboost

from rundial.integrations.xgboost import RundialXGBoostCallback


def main() -> None:
    generator = np.random.default_rng(7)
    features = generator.normal(size=(600, 5))
    wanted = features[:, 0] * features[:, 1] + features[:, 2] + generator.normal(scale=0.2, size=600)
    train = xgboost.DMatrix(features[:400], wanted[:400])
    test = xgboost.DMatrix(features[400:], wanted[400:])
    booster = xgboost.train(
        {"max_depth": 4, "eta": 0.2, "nthread": 1},
        train,
        num_boost_round=200,
        evals=[(train, "train"), (test, "test")],
        early_stopping_rounds=10,
        callbacks=[RundialXGBoostCallback(project="boosting", tags=["xgboost"], log_model=True)],
        verbose_eval=False,
    )
    print(f"best after {booster.best_iteration + 1} rounds: {booster.best_score:.3f}")


if __name__ == "__main__":
    main()
