"""A network behind scikit-learn's interface, with skorch: `python examples/more/skorch_fit.py`."""

from __future__ import annotations

import numpy as np
import torch
from skorch import NeuralNetRegressor

from rundial.integrations.skorch import RundialSkorchCallback


def main() -> None:
    features = np.random.default_rng(7).normal(size=(256, 4)).astype("float32")
    net = NeuralNetRegressor(
        torch.nn.Linear(4, 1), max_epochs=10, lr=0.1, callbacks=[RundialSkorchCallback(project="skorch")], verbose=0
    )
    net.fit(features, features.sum(axis=1, keepdims=True))
    print(f"loss {net.history[-1, 'valid_loss']:.4f}")


if __name__ == "__main__":
    main()
