"""The same sweep in Rundial, Trackio and MLflow, to look at their pages beside each other.

::

    python benchmarks/side_by_side.py log rundial    # in the environment of each, with its own settings
    .venvs/trackio/bin/python benchmarks/side_by_side.py log trackio
    .venvs/mlflow/bin/python benchmarks/side_by_side.py log mlflow

Twelve runs, one of them failed, with curves, a spike, configs, images over steps, a table, console lines and a file.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PROJECT = "digits-sweep"
RUNS = 12
STEPS = 200
SPIKE = (4, 120)
"""The run and the step at which the gradient explodes, once."""
FAILED = 7
IMAGE_EVERY = 50
CLASSES = 4


class Trial(NamedTuple):
    """One run of the sweep."""

    number: int
    config: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.config['model']}-lr{self.config['lr']:.0e}-{self.number:02}"

    @property
    def steps(self) -> int:
        return STEPS // 2 if self.number == FAILED else STEPS

    def metrics(self, step: int) -> dict[str, float]:
        """Curves whose end depends on the learning rate; one spike in one run."""
        noise = random.Random(self.number * 1_000 + step)
        off = abs(math.log10(self.config["lr"]) + 2.5)
        loss = 0.2 * off + 2 * math.exp(-step / 40) + 0.04 * noise.random()
        norm = 1 + noise.random() + (80 if (self.number, step) == SPIKE else 0)
        return {
            "train/loss": loss,
            "train/grad_norm": norm,
            "val/loss": loss * 1.1 + 0.02,
            "val/acc": max(0.1, 0.98 - 0.15 * off - 0.8 * math.exp(-step / 30)) + 0.01 * noise.random(),
        }

    def image(self, step: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """A disc that becomes sharper with the step; 96 x 96, grey."""
        y, x = np.mgrid[-1:1:96j, -1:1:96j]
        edge = 1 / (1 + np.exp((np.hypot(x, y) - 0.6) * (2 + step / 8)))
        return np.asarray(255 * edge, dtype=np.uint8)

    def rows(self) -> list[list[Any]]:
        return [[f"q{n}", n % CLASSES, (n * self.number) % CLASSES, round(n / 20, 2)] for n in range(20)]

    def lines(self, step: int) -> str:
        return f"step {step}: loss {self.metrics(step)['train/loss']:.4f}"


COLUMNS = ["id", "label", "predicted", "score"]


def trials() -> Iterator[Trial]:
    chance = random.Random(1)
    for number in range(RUNS):
        config = {
            "lr": round(10 ** chance.uniform(-4, -1), 6),
            "weight_decay": chance.choice([0.0, 0.01, 0.1]),
            "model": chance.choice(["vit", "cnn"]),
            "batch_size": 64,
            "seed": number,
        }
        yield Trial(number, config)


def log_rundial(trial: Trial, weights: Path) -> None:
    rd = import_module("rundial")
    run = rd.init(project=PROJECT, name=trial.name, config=trial.config, tags=["sweep"], capture_console=True)
    run.set_primary_metric("val/acc", "max")
    for step in range(trial.steps):
        run.log(trial.metrics(step), step=step)
        if step % IMAGE_EVERY == 0:
            run.log({"sample": rd.Image(trial.image(step), caption=f"step {step}")}, step=step)
        if step % 10 == 0:
            print(trial.lines(step))
    run.log({"predictions": rd.Table(columns=COLUMNS, data=trial.rows())}, step=trial.steps - 1)
    run.log_artifact(str(weights), name="model", type="model")
    if trial.number == FAILED:
        run.fail("CUDA out of memory")
    else:
        run.finish()


def log_trackio(trial: Trial, weights: Path) -> None:
    trackio = import_module("trackio")
    trackio.init(project=PROJECT, name=trial.name, config=trial.config, auto_log_cpu=True)
    for step in range(trial.steps):
        trackio.log(trial.metrics(step), step=step)
        if step % IMAGE_EVERY == 0:
            trackio.log({"sample": trackio.Image(trial.image(step), caption=f"step {step}")}, step=step)
    trackio.log({"predictions": trackio.Table(columns=COLUMNS, data=trial.rows())}, step=trial.steps - 1)
    trackio.log_artifact(str(weights), name="model", type="model")
    if trial.number == FAILED:
        trackio.alert("CUDA out of memory", level=trackio.AlertLevel.ERROR)
    trackio.finish()


def log_mlflow(trial: Trial, weights: Path) -> None:
    mlflow = import_module("mlflow")
    mlflow.set_experiment(PROJECT)
    mlflow.start_run(run_name=trial.name, tags={"kind": "sweep"}, log_system_metrics=True)
    mlflow.log_params(trial.config)
    said = []
    for step in range(trial.steps):
        mlflow.log_metrics(trial.metrics(step), step=step, synchronous=False)
        if step % IMAGE_EVERY == 0:
            mlflow.log_image(trial.image(step), key="sample", step=step)
        said.append(trial.lines(step))
    mlflow.log_text("\n".join(said), "console.txt")
    table = {name: [row[place] for row in trial.rows()] for place, name in enumerate(COLUMNS)}
    mlflow.log_table(table, "predictions.json")
    mlflow.log_artifact(str(weights), "model")
    mlflow.flush_async_logging()
    mlflow.end_run("FAILED" if trial.number == FAILED else "FINISHED")


LOGGERS = {"rundial": log_rundial, "trackio": log_trackio, "mlflow": log_mlflow}


def main() -> int:
    """Log the sweep into the logger that is named; where it goes, its own environment variables say."""
    if len(sys.argv) != 3 or sys.argv[1] != "log" or sys.argv[2] not in LOGGERS:
        print(__doc__)
        return 2
    with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        weights = Path(folder) / "weights.bin"
        for trial in trials():
            weights.write_bytes(bytes([trial.number]) * 100_000)
            LOGGERS[sys.argv[2]](trial, weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
