"""LightGBM with early stopping: `python examples/lightgbm_train.py`."""

from __future__ import annotations

import lightgbm
import numpy as np

from rundial.integrations.lightgbm import RundialLightGBMCallback


def main() -> None:
    generator = np.random.default_rng(7)
    features = generator.normal(size=(600, 5))
    wanted = features[:, 0] * features[:, 1] + features[:, 2] + generator.normal(scale=0.2, size=600)
    train = lightgbm.Dataset(features[:400], wanted[:400])
    test = lightgbm.Dataset(features[400:], wanted[400:], reference=train)
    callback = RundialLightGBMCallback(project="boosting", tags=["lightgbm"])
    booster = lightgbm.train(
        {"objective": "regression", "num_leaves": 8, "num_threads": 1, "verbosity": -1},
        train,
        num_boost_round=200,
        valid_sets=[train, test],
        valid_names=["train", "test"],
        callbacks=[callback, lightgbm.early_stopping(10, verbose=False)],
    )
    callback.log_model(booster)
    print(f"best after {booster.best_iteration} rounds: {booster.best_score['test']['l2']:.3f}")


if __name__ == "__main__":
    main()
