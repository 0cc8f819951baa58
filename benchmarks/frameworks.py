"""What a logger costs a whole fit, in each framework, beside the framework's other loggers, in one run.

::

    python benchmarks/frameworks.py --setup             # W&B, once, into benchmarks/.venvs/frameworks
    python benchmarks/frameworks.py [--framework lightning] [--steps 2000] [--rounds 3] [--only none,rundial]

Each fit runs in a process of its own, which first fits once without a logger to be warm; the loggers take turns. The
model is as small as models get and every step is logged, so that the difference to ``none`` is the logger's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from report import Column, Figures, table
from rundial_server import REPOSITORY, environment, server

PEERS_FOLDER = Path(__file__).resolve().parent / ".venvs" / "frameworks"
WARM_STEPS = 200
FIT_SECONDS = 600
COLUMNS = (
    Column("step_us", "fit us/step", ratio=False),
    Column("over_us", "over none us/step"),
    Column("cpu_us", "CPU us/step over none"),
    Column("finish_ms", "finish ms", ratio=False),
)


class Fit(NamedTuple):
    """A prepared fit: what is timed, and what the logger's user calls at its end."""

    train: Callable[[], Any]
    finish: Callable[[], Any]


class Framework(NamedTuple):
    """One framework: ``prepare(logger, folder, steps)`` for each of ``loggers``, of which ``none`` is the first."""

    prepare: Callable[[str, Path, int], Fit]
    loggers: tuple[str, ...]


def prepare_lightning(logger: str, folder: Path, steps: int) -> Fit:
    """A Lightning Trainer with one layer, one row a batch, every step logged."""
    torch = import_module("torch")
    pl = import_module("lightning.pytorch")
    base: Any = pl.LightningModule

    class Tiny(base):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = (self.layer(batch) ** 2).mean()
            self.log_dict({"loss": loss, "twice": loss * 2, "half": loss / 2})
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    made, finish = _lightning_logger(logger, folder)
    trainer = pl.Trainer(
        logger=made,
        max_steps=steps,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    )
    model, data = Tiny(), torch.utils.data.DataLoader(torch.randn(steps, 4))
    return Fit(lambda: trainer.fit(model, data), finish)


def _lightning_logger(name: str, folder: Path) -> tuple[Any, Callable[[], Any]]:
    """A logger with its default settings, and what its user calls at the end."""
    loggers = import_module("lightning.pytorch.loggers")
    if name.startswith("rundial"):
        made = import_module("rundial.integrations").RundialLogger(project="benchmark")
        return made, lambda: made.run.finish()
    if name == "csv":
        return loggers.CSVLogger(folder), lambda: None
    if name == "tensorboard":
        return loggers.TensorBoardLogger(folder), lambda: None
    if name == "wandb":
        os.environ["WANDB_SILENT"] = "true"
        return loggers.WandbLogger(save_dir=folder, offline=True), lambda: import_module("wandb").finish()
    return False, lambda: None


def prepare_transformers(logger: str, folder: Path, steps: int) -> Fit:
    """A Transformers Trainer with one layer, one row a batch, every step logged."""
    torch = import_module("torch")
    transformers = import_module("transformers")
    base: Any = torch.nn.Module

    class Tiny(base):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def forward(self, x: Any) -> dict[str, Any]:
            return {"loss": (self.layer(x) ** 2).mean()}

    report, callbacks, finish = _transformers_logger(logger, folder)
    arguments = transformers.TrainingArguments(
        str(folder / "out"),
        max_steps=steps,
        logging_steps=1,
        per_device_train_batch_size=1,
        save_strategy="no",
        report_to=report,
        use_cpu=True,
        disable_tqdm=True,
    )
    rows = [{"x": row} for row in torch.randn(steps, 4)]
    trainer = transformers.Trainer(Tiny(), arguments, train_dataset=rows, callbacks=callbacks)
    trainer.remove_callback(transformers.PrinterCallback)
    return Fit(trainer.train, finish)


def _transformers_logger(name: str, folder: Path) -> tuple[str, list[Any], Callable[[], Any]]:
    """What to report to, further callbacks, and what the logger's user calls at the end."""
    if name.startswith("rundial"):
        made = import_module("rundial.integrations").RundialCallback(project="benchmark")
        return "none", [made], lambda: made.run.finish()
    if name == "tensorboard":
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder)
        return name, [], lambda: None
    if name == "wandb":
        os.environ.update(WANDB_SILENT="true", WANDB_MODE="offline", WANDB_DIR=str(folder))
        return name, [], lambda: import_module("wandb").finish()
    return "none", [], lambda: None


FRAMEWORKS: dict[str, Framework] = {
    "lightning": Framework(prepare_lightning, ("none", "rundial", "rundial-online", "csv", "tensorboard", "wandb")),
    "transformers": Framework(prepare_transformers, ("none", "rundial", "rundial-online", "tensorboard", "wandb")),
}


def measure(framework: str, logger: str, folder: Path, steps: int) -> dict[str, float]:
    """One fit in this process: microseconds of wall clock and CPU for a step, milliseconds of the end."""
    warnings.simplefilter("ignore")
    prepare = FRAMEWORKS[framework].prepare
    prepare("none", folder / "warm", WARM_STEPS).train()
    fit = prepare(logger, folder, steps)
    cpu, began = _cpu_seconds(), time.perf_counter()
    fit.train()
    ended = time.perf_counter()
    fit.finish()
    finished = time.perf_counter()
    return {
        "step_us": (ended - began) / steps * 1e6,
        "cpu_us": (_cpu_seconds() - cpu) / steps * 1e6,
        "finish_ms": (finished - ended) * 1e3,
    }


def _cpu_seconds() -> float:
    """Of this process and of the children that have ended."""
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in usage)


def run_one(framework: str, logger: str, steps: int) -> Figures | None:
    """One fit in a process of its own; None when it fails, with its last words on standard error."""
    with tempfile.TemporaryDirectory(prefix="rundial-bench-") as name:
        folder = Path(name)
        with _server_for(logger, folder) as extra:
            path = [str(REPOSITORY)] + ([str(PEERS_FOLDER)] if logger == "wandb" else [])
            done = subprocess.run(
                [sys.executable, __file__, "--framework", framework, "--child", logger, "--steps", str(steps)],
                cwd=folder,
                env=environment(folder / "home", {"BENCHMARK_PATH": os.pathsep.join(path), **extra}),
                capture_output=True,
                text=True,
                timeout=FIT_SECONDS,
            )
    if done.returncode:
        print(f"{framework} with {logger} failed: {done.stderr.strip()[-400:]}", file=sys.stderr)
        return None
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def _server_for(logger: str, folder: Path) -> Iterator[dict[str, str]]:
    if logger != "rundial-online":
        yield {}
        return
    with server(folder / "data", folder / "server") as running:
        yield {"RUNDIAL_ENDPOINT": running.url, "RUNDIAL_API_KEY": running.key}


def compare(framework: str, loggers: list[str], steps: int, rounds: int) -> dict[str, dict[str, float]]:
    """The least of all rounds for each logger, and what that is over ``none``: a busy machine only ever adds."""
    taken: dict[str, list[Figures]] = {logger: [] for logger in loggers}
    for turn in range(rounds):
        for logger in loggers:
            print(f"{framework}: round {turn + 1} of {rounds}, {logger}", file=sys.stderr)
            figures = run_one(framework, logger, steps)
            if figures is not None:
                taken[logger].append(figures)
    least = {
        logger: {name: min(figures[name] for figures in each) for name in each[0]}
        for logger, each in taken.items()
        if each
    }
    bare = least.get("none", {"step_us": 0.0, "cpu_us": 0.0})
    return {
        logger: {
            **figures,
            "over_us": figures["step_us"] - bare["step_us"],
            "cpu_us": figures["cpu_us"] - bare["cpu_us"],
        }
        for logger, figures in least.items()
    }


def set_up() -> None:
    """Install W&B beside, not into, the environment of the frameworks."""
    if not (PEERS_FOLDER / "wandb").is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(PEERS_FOLDER), "wandb"]
        subprocess.run(install, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what loggers cost the fits of frameworks.")
    parser.add_argument("--setup", action="store_true", help="install W&B for the comparison and end")
    parser.add_argument("--framework", choices=sorted(FRAMEWORKS), help="only this one")
    parser.add_argument("--only", help="loggers, separated by commas")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.setup:
        set_up()
        return
    if given.child:
        sys.path += os.environ["BENCHMARK_PATH"].split(os.pathsep)
        print(json.dumps(measure(given.framework, given.child, Path.cwd(), given.steps)))
        return
    for name in [given.framework] if given.framework else sorted(FRAMEWORKS):
        loggers = given.only.split(",") if given.only else list(FRAMEWORKS[name].loggers)
        if not (PEERS_FOLDER / "wandb").is_dir() and find_spec("wandb") is None and "wandb" in loggers:
            loggers.remove("wandb")
            print("wandb is not installed and is left out; see --setup", file=sys.stderr)
        rows = compare(name, loggers, given.steps, given.rounds)
        print(table(f"{name}: a fit of {given.steps:,} steps, every step logged", rows, COLUMNS))


if __name__ == "__main__":
    main()
