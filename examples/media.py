"""A training that shows its work: pictures with boxes, a table, histograms and a figure at each epoch.

Look at it with `rundial ui`.
"""

from __future__ import annotations

import numpy as np

import rundial as rd

random = np.random.default_rng(1)
x, y = np.meshgrid(np.arange(96), np.arange(96))

with rd.init(project="media-example", config={"epochs": 5}) as run:
    for epoch in range(5):
        weights = random.normal(0, 1 / (epoch + 1), 10_000)
        table = rd.Table(columns=["picture", "radius", "guess", "error"])
        pictures = []
        for _ in range(6):
            radius, (across, down) = random.integers(8, 24), random.integers(24, 72, 2)
            disc = (x - across) ** 2 + (y - down) ** 2 < radius**2
            picture = np.where(disc, 0.9, 0.2) + random.normal(0, 0.05, disc.shape)
            guess = radius + random.normal(0, 8 / (epoch + 1))
            boxes = {
                "truth": [[across - radius, down - radius, across + radius, down + radius]],
                "guess": [[across - guess, down - guess, across + guess, down + guess]],
            }
            pictures.append(rd.Image(picture, f"radius {radius}", boxes=boxes, masks=disc, value_range=(0, 1)))
            table.add_data(rd.Image(picture, value_range=(0, 1)), int(radius), float(guess), float(abs(guess - radius)))
        error = float(np.mean(table.get_column("error")))
        run.log(
            {"error": error, "val": {"discs": pictures, "table": table}, "weights": rd.Histogram(weights)}, step=epoch
        )
    run.log({"report": rd.Html(f"<h1>Done</h1><p>The radius is {error:.1f} pixels off.</p>")}, step=epoch)
