"""A fit of Keras that goes on where it was stopped: `KERAS_BACKEND=torch python examples/keras_fit.py`."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

from rundial.integrations import RundialKerasCallback


def main() -> None:
    keras.utils.set_random_seed(7)
    points = np.random.default_rng(7).uniform(-1, 1, size=(512, 2)).astype("float32")
    inside = (np.square(points).sum(axis=1) < 0.5).astype("float32")
    layers = [keras.Input((2,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential(layers)
    schedule = keras.optimizers.schedules.CosineDecay(0.02, 30 * 10)
    model.compile(keras.optimizers.Adam(schedule), "binary_crossentropy", metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as folder:
        callbacks = [
            # in a folder that outlives the process, this is all it takes to go on with the same run
            keras.callbacks.BackupAndRestore(f"{folder}/backup"),
            keras.callbacks.ModelCheckpoint(f"{folder}/best.keras", monitor="val_loss", save_best_only=True),
            RundialKerasCallback(project="circle", tags=["keras"], log_batch_metrics=4, log_model=True),
        ]
        model.fit(points[:384], inside[:384], validation_split=0.2, epochs=30, callbacks=callbacks, verbose=0)
        found = model.evaluate(points[384:], inside[384:], callbacks=callbacks[-1:], verbose=0, return_dict=True)
    print(f"accuracy on points held back: {found['accuracy']:.2f}")


if __name__ == "__main__":
    main()
