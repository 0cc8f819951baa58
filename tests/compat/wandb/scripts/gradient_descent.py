"""NumPy alone: scalars of all kinds are numbers."""

import numpy as np
import wandb

rng = np.random.default_rng(0)
x, noise = rng.normal(size=(100, 3)), rng.normal(size=100)
y = x @ np.array([1.0, -2.0, 0.5]) + 0.1 * noise
w = np.zeros(3)
with wandb.init(project="numpy") as run:
    for step in range(20):
        gradient = 2 * x.T @ (x @ w - y) / len(y)
        w -= 0.1 * gradient
        run.log(
            {"mse": np.mean((x @ w - y) ** 2), "norm": np.float32(np.linalg.norm(gradient)), "step": np.int64(step)}
        )
        run.log({f"w/{i}": value for i, value in enumerate(w)}, commit=False)
    print(round(float(run.summary["mse"]), 4), run.summary["step"])
