"""CatBoost with early stopping: `python examples/more/catboost_fit.py`."""

from __future__ import annotations

import numpy as np
from catboost import CatBoostRegressor

from rundial.integrations.catboost import RundialCatBoostCallback


def main() -> None:
    generator = np.random.default_rng(7)
    features = generator.normal(size=(600, 5))
    wanted = features[:, 0] * features[:, 1] + features[:, 2] + generator.normal(scale=0.2, size=600)
    callback = RundialCatBoostCallback(project="boosting", tags=["catboost"])
    model = CatBoostRegressor(iterations=200, early_stopping_rounds=10, verbose=False, allow_writing_files=False)
    model.fit(features[:400], wanted[:400], eval_set=(features[400:], wanted[400:]), callbacks=[callback])
    callback.log_model(model)
    print(f"best after {model.best_iteration_ + 1} rounds: {model.best_score_['validation']['RMSE']:.3f}")


if __name__ == "__main__":
    main()
