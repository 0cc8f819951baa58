"""LightGBM with its callback and summary."""

import lightgbm as lgb
import numpy as np
import wandb
from wandb.integration.lightgbm import log_summary, wandb_callback

rng = np.random.default_rng(0)
data = lgb.Dataset(rng.random((100, 4)), rng.integers(0, 2, 100))
with wandb.init(project="lightgbm") as run:
    parameters = {"objective": "binary", "metric": "binary_logloss", "num_threads": 1, "verbose": -1}
    booster = lgb.train(parameters, data, 5, valid_sets=[data], valid_names=["valid"], callbacks=[wandb_callback()])
    log_summary(booster, save_model_checkpoint=True)
    print(round(run.summary["valid_binary_logloss"]["min"], 5))
