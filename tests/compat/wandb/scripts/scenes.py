"""Point clouds and molecules."""

import numpy as np
import wandb

points = np.random.default_rng(0).random((50, 3))
with wandb.init(project="scenes") as run:
    run.log({"cloud": wandb.Object3D(points)})
    run.log({"coloured": wandb.Object3D(np.hstack([points, np.full((50, 3), 128)]))})
    print(run.step)
