"""Histograms of values, counted here or there."""

import numpy as np
import wandb

values = np.random.default_rng(0).normal(size=1000)
with wandb.init(project="histograms") as run:
    for step in range(3):
        run.log(
            {
                "weights": wandb.Histogram(values * step),
                "counted": wandb.Histogram(np_histogram=np.histogram(values, 10)),
            }
        )
    histogram = wandb.Histogram(values, num_bins=4)
    print(sum(histogram.histogram), len(histogram.bins))
