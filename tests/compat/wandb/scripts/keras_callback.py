"""Keras with the metrics logger."""

import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
import wandb
from wandb.integration.keras import WandbMetricsLogger

keras.utils.set_random_seed(0)
x = np.random.rand(32, 4).astype("float32")
y = x.sum(1, keepdims=True)
with wandb.init(project="keras") as run:
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y, epochs=3, verbose=0, callbacks=[WandbMetricsLogger()])
    print("epoch/loss" in dict(run.summary))
