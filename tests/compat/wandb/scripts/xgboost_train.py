"""XGBoost with its callback."""

import numpy as np
import wandb
import xgboost as xgb
from wandb.integration.xgboost import WandbCallback

rng = np.random.default_rng(0)
X, y = rng.random((100, 4)), rng.integers(0, 2, 100)
data = xgb.DMatrix(X, y, feature_names=list("abcd"))
with wandb.init(project="xgboost", config={"max_depth": 2}) as run:
    xgb.train(
        {"objective": "binary:logistic", "max_depth": run.config.max_depth, "nthread": 1},
        data,
        5,
        evals=[(data, "train")],
        verbose_eval=False,
        callbacks=[WandbCallback(log_model=True)],
    )
    print(round(run.summary["train-logloss"]["min"], 5), run.summary["epoch"])
