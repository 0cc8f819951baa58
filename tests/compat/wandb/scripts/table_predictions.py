"""A table of predictions, row by row."""

import numpy as np
import wandb

rng = np.random.default_rng(0)
with wandb.init(project="tables") as run:
    table = wandb.Table(columns=["id", "image", "guess", "truth"])
    for number in range(4):
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        table.add_data(number, wandb.Image(pixels), int(rng.integers(10)), int(rng.integers(10)))
    try:
        table.add_data(1, 2)
    except ValueError:
        print("a row has as many cells as there are columns")
    print(table.columns, len(table.data))
    run.log({"predictions": table})
