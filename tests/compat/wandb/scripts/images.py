"""Pictures with captions, masks and boxes."""

import numpy as np
import wandb
from PIL import Image

rng = np.random.default_rng(0)
names = {0: "road", 1: "car"}
with wandb.init(project="images") as run:
    for step in range(2):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        mask = wandb.Image(
            pixels, masks={"prediction": {"mask_data": (pixels[:, :, 0] > 99).astype(np.uint8), "class_labels": names}}
        )
        corners = {"minX": 0.1, "maxX": 0.4, "minY": 0.2, "maxY": 0.5}
        boxes = {
            "prediction": {
                "box_data": [{"position": corners, "class_id": 1, "scores": {"p": 0.9}}],
                "class_labels": names,
            }
        }
        run.log(
            {
                "array": wandb.Image(pixels, caption=f"step {step}"),
                "several": [wandb.Image(Image.fromarray(pixels)), wandb.Image(pixels[:, :, 0])],
                "mask": mask,
                "boxes": wandb.Image(pixels, boxes=boxes),
            }
        )
    print(run.step)
