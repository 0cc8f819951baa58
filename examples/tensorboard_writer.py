"""A script that was written for TensorBoard, with another import: `python examples/tensorboard_writer.py`."""

from __future__ import annotations

import math

import numpy as np

from rundial.integrations.tensorboard import SummaryWriter  # was: from torch.utils.tensorboard import SummaryWriter


def main() -> None:
    generator = np.random.default_rng(7)
    with SummaryWriter("runs/waves", project="tensorboard") as writer:
        writer.add_text("about", "A wave that **settles**.")
        for step in range(100):
            swing = math.exp(-step / 30) * math.cos(step / 4)
            writer.add_scalar("swing", swing, step)
            writer.add_scalars("bounds", {"upper": math.exp(-step / 30), "lower": -math.exp(-step / 30)}, step)
            if step % 25 == 0:
                writer.add_histogram("noise", generator.normal(scale=abs(swing) + 0.1, size=1000), step)
                writer.add_image("field", np.clip(generator.random((1, 32, 32)) * abs(swing), 0, 1), step)
        writer.add_hparams({"decay": 30, "frequency": 0.25}, {"last_swing": swing})
    print(f"the last swing: {swing:.4f}")


if __name__ == "__main__":
    main()
