"""A search with Ray Tune, a run for each trial: `python examples/more/ray_search.py`."""

from __future__ import annotations

import tempfile
from typing import Any

from ray import tune

from rundial.integrations.ray import RundialRayCallback


def train(config: dict[str, Any]) -> None:
    for step in range(10):
        tune.report({"loss": (config["lr"] - 0.1) ** 2 + 1 / (step + 1)})


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            train,
            param_space={"lr": tune.grid_search([0.01, 0.1, 1.0])},
            run_config=tune.RunConfig(
                name="search", storage_path=folder, callbacks=[RundialRayCallback(project="search")]
            ),
        )
        best = tuner.fit().get_best_result("loss", "min")
    print(f"best lr {best.config['lr']}")


if __name__ == "__main__":
    main()
