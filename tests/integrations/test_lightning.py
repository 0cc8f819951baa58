"""RundialLogger in real Trainers of both Lightning packages, beside Lightning's own record of the same run."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")

import numpy as np
import torch
from torch.utils.data import DataLoader

import rundial as rd
from rundial.integrations import RundialLogger
from rundial.testing import capture_run
from tests.flows.conftest import ServerProcess
from tests.integrations.conftest import History, history, succeed, use_server
from tests.unit.store_server import StoreServer

# Lightning warns of few workers, of missing loaders and of files it finds: about its own matters.
pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

PACKAGES = ["lightning.pytorch", "pytorch_lightning"]
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}

MODEL = """
import csv, os, sys, time, warnings
from importlib import import_module
warnings.simplefilter("ignore")
import torch
from torch.utils.data import DataLoader

pl = import_module("lightning.pytorch")
callbacks = import_module("lightning.pytorch.callbacks")
loggers = import_module("lightning.pytorch.loggers")
from rundial.integrations import RundialLogger

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}

class Tiny(pl.LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, batch_idx):
        loss = (self.layer(batch) ** 2).mean()
        self.log("loss", loss)
        return loss
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", (self.layer(batch) ** 2).mean())
    def test_step(self, batch, batch_idx):
        self.log("test_loss", (self.layer(batch) ** 2).mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

def data(rows=8):
    return DataLoader(torch.randn(rows, 4, generator=torch.Generator().manual_seed(0)), batch_size=1)
"""


def program_of(package: str, code: str, before: str = "") -> str:
    """A program with a tiny model and data, in one of Lightning's packages."""
    return (MODEL + before + "\nif __name__ == '__main__':\n" + code).replace("lightning.pytorch", package)


def tiny(package: str, **hparams: Any) -> Any:
    """A model of one layer that logs its losses, as a module of ``package``."""
    base: Any = import_module(package).LightningModule

    class Tiny(base):  # type: ignore[misc]
        def __init__(self, lr: float = 0.1, **kwargs: Any) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = (self.layer(batch) ** 2).mean()
            self.log("loss", loss)
            self.log("epoch_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", (self.layer(batch) ** 2).mean())

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("test_loss", (self.layer(batch) ** 2).mean())

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]

    return Tiny(**hparams)


def data(rows: int = 8) -> Any:
    return DataLoader(torch.randn(rows, 4), batch_size=1)


def rows_of(path: Path, also: History | None = None) -> History:
    """What Lightning's CSVLogger wrote: the values by step and key."""
    found: History = also or {}
    with path.open() as file:
        for row in csv.DictReader(file):
            values = {key: float(value) for key, value in row.items() if value and key != "step"}
            found.setdefault(int(row["step"]), {}).update(values)
    return found


def trainer(package: str, **options: Any) -> Any:
    return import_module(package).Trainer(**{**QUIET, "max_epochs": 2, "log_every_n_steps": 1, **options})


@pytest.mark.parametrize("package", PACKAGES)
def test_the_history_is_that_of_lightnings_own_logger(server: ServerProcess, package: str) -> None:
    """Fit, validate, test and a second fit on one logger are one run, value for value what CSVLogger wrote."""
    logger = RundialLogger(project="history", name=package, run_id=f"run_{package}")
    beside = import_module(package).loggers.CSVLogger("csv", flush_logs_every_n_steps=1)
    monitor = import_module(package).callbacks.LearningRateMonitor("step")
    model = tiny(package, lr=0.1, hub_token="hf_secret", layers=[3, {"wide": 2}])
    options: dict[str, Any] = {"logger": [logger, beside], "callbacks": [monitor], "accumulate_grad_batches": 2}
    first = trainer(package, **options)
    first.fit(model, data(), data(3))
    first.validate(model, data(3), verbose=False)
    first.test(model, data(3), verbose=False)
    trainer(package, **{**options, "max_epochs": 3, "callbacks": [type(monitor)("step")]}).fit(model, data(), data(3))

    assert logger.run.status == "running", "the end of a fit is not the end of the run"
    logger.run.finish(20)
    assert history(server, logger.run.id) == rows_of(Path(beside.log_dir) / "metrics.csv")
    (run,) = [run for run in server.runs("history") if run["runName"] == package]
    assert run["status"] == "completed"
    assert run["config"] == {"lr": 0.1, "hub_token": "[redacted]", "layers": [3, {"wide": 2}]}
    assert run["summary"]["epoch"] >= 1 and "test_loss" in run["summary"]
    markers = server.get(f"/api/v1/runs/{run['runId']}/markers")["markers"]
    assert [m["name"] for m in markers if m["kind"] == "phase"] == [
        "fit ended",
        "validate ended",
        "test ended",
        "fit ended",
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_both_packages_take_it_for_theirs(package: str) -> None:
    """Whatever was imported first, both isinstance checks hold, Fabric's too, and a subclass is one as well."""
    logger = RundialLogger(mode="disabled")
    fabric = "lightning.fabric" if package == "lightning.pytorch" else "lightning_fabric"
    assert isinstance(logger, import_module(f"{package}.loggers.logger").Logger)
    assert isinstance(logger, import_module(f"{fabric}.loggers.logger").Logger)
    assert issubclass(type("Mine", (RundialLogger,), {}), import_module(f"{package}.loggers.logger").Logger)


# -- Lightning's own tests of all loggers, told again (tests/tests_pytorch/loggers/test_all.py) -----------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_generic_fit_and_test(server: ServerProcess, package: str) -> None:
    """The logger is called with exactly these steps and keys."""
    boring = import_module(f"{package}.demos.boring_classes").BoringModel

    class Model(boring):  # type: ignore[misc,valid-type]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.step(batch)
            self.log("train_some_val", loss)
            return {"loss": loss}

        def on_validation_epoch_end(self) -> None:
            self.log_dict({"early_stop_on": torch.tensor(1), "val_loss": torch.tensor(0.5)})

        def on_test_epoch_end(self) -> None:
            self.log("test_loss", torch.tensor(2))

    class Remembering(RundialLogger):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.history: list[tuple[Any, list[str]]] = []

        def log_metrics(self, metrics: Any, step: Any) -> None:
            super().log_metrics(metrics, step)
            self.history.append((step, sorted(metrics)))

    logger = Remembering(save_dir="here", project="generic")
    one = trainer(package, logger=logger, max_epochs=1, limit_train_batches=1, limit_val_batches=1)
    one.fit(Model())
    one.test(verbose=False)
    assert logger.history == [
        (0, ["epoch", "train_some_val"]),
        (0, ["early_stop_on", "epoch", "val_loss"]),
        (1, ["epoch", "test_loss"]),
    ]
    logger.run.finish(20)
    assert {step: sorted(values) for step, values in history(server, logger.run.id).items()} == {
        0: ["early_stop_on", "epoch", "train_some_val", "val_loss"],
        1: ["epoch", "test_loss"],
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_generic_pickling(server: ServerProcess, package: str) -> None:
    """The logger, and a Trainer with it, can be pickled in the midst of its use and go on as the same."""
    logger = RundialLogger(save_dir="here", project="pickled", group=package)
    assert logger.experiment is logger.experiment
    logger.log_metrics({"a": 1.0})
    logger.save()
    pickle.loads(pickle.dumps(logger)).log_metrics({"b": 2.0})
    copied = pickle.loads(pickle.dumps(trainer(package, logger=logger)))
    copied.logger.log_metrics({"acc": 1.0})
    assert (copied.logger.name, copied.logger.save_dir) == (logger.name, logger.save_dir)
    assert copied.logger.version == logger.version
    logger.run.finish(20)
    assert len([run for run in server.runs("pickled") if run["group"] == package]) == 1
    assert sorted({key for values in history(server, logger.run.id).values() for key in values}) == ["a", "acc", "b"]


@pytest.mark.parametrize("package", PACKAGES)
def test_generic_ddp_spawn(server: ServerProcess, package: str, program: Callable[..., Any]) -> None:
    """Two spawned processes: an experiment in setup on rank zero, a dummy on the other, one run for fit and test."""
    code = """
    logger = RundialLogger("here", project="spawned", run_id=sys.argv[1])
    trainer = pl.Trainer(**QUIET, logger=logger, strategy="ddp_spawn", devices=2, max_steps=3, log_every_n_steps=1,
                         callbacks=[Check()], limit_val_batches=1)
    model = Tiny()
    trainer.fit(model, data(), data())
    trainer.test(model, data(), verbose=False)
    print(logger.run.status, logger.run.id)
    """
    check = """
class Check(callbacks.Callback):
    def setup(self, trainer, pl_module, stage=None):
        if trainer.global_rank == 0:
            assert trainer.logger._experiment
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        dummy = import_module("lightning.pytorch.loggers.logger").DummyExperiment
        assert isinstance(trainer.logger.experiment, dummy) == (not trainer.is_global_zero)
        if not trainer.is_global_zero:
            assert pl_module.logger.experiment.something(foo="bar") is None
            trainer.logger.log_metrics({"from_rank_1": 1.0}, 0)
"""
    run_id = f"run_spawned_{package}"
    out = succeed(program(program_of(package, code, check), run_id), 150)
    assert out.splitlines()[-1] == f"running {run_id}"
    (run,) = [run for run in server.runs("spawned") if run["runId"] == run_id]
    assert run["status"] == "completed"
    found = history(server, run_id)
    assert sorted(found) == [0, 1, 2] and set(found[2]) == {"loss", "epoch"}
    assert "test_loss" in found[0], "Lightning's parent process does not learn how many steps its children made"
    assert len(server.runs("spawned")) == 1 + PACKAGES.index(package)


def test_generic_prefix_and_names(server: ServerProcess) -> None:
    """The prefix is joined with "-"; folders are safe and begin with lightning_logs."""
    with capture_run() as (run, memory):
        RundialLogger(run=run, prefix="tmp").log_metrics({"test": 1.0}, step=0)
        RundialLogger(run=run, metric_prefix="older").log_metrics({"test": 1.0}, step=0)
    assert memory.series("tmp-test") == memory.series("older/test") == [1.0]
    logger = RundialLogger(save_dir="here", mode="disabled")
    assert logger.name == "lightning_logs" and logger.version == logger.run.id
    assert logger.log_dir == f"here/lightning_logs/{logger.version}"
    odd = RundialLogger(Path("here"), name="../a b/c", version=3, mode="disabled")
    assert (odd.name, odd.version, odd.log_dir) == ("-a b-c", 3, "here/-a b-c/version_3")


def test_a_tuner_leaves_the_logger_alone(server: ServerProcess) -> None:
    """Looking for a learning rate neither logs nor puts another logger in its place."""
    package = PACKAGES[0]
    logger = RundialLogger(project="tuned")
    model = tiny(package)
    model.lr = 0.1
    one = trainer(package, logger=logger, max_epochs=1)
    import_module(f"{package}.tuner").Tuner(one).lr_find(model, data(32), num_training=5)
    assert one.logger is logger and model.logger is logger
    one.fit(model, data(2))
    logger.run.finish(20)
    assert sorted(history(server, logger.run.id)) == [0, 1]


# -- endings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_a_fit_that_fails(server: ServerProcess, package: str) -> None:
    """The run is failed, with the traceback; the exception reaches the user; a new fit goes on with the run."""
    logger = RundialLogger(project="failing")
    model = tiny(package)
    good = model.training_step

    def bad(batch: Any, batch_idx: int) -> Any:
        if batch_idx == 3:
            raise ValueError("bad luck")
        return good(batch, batch_idx)

    model.training_step = bad
    with pytest.raises(ValueError, match="bad luck"):
        trainer(package, logger=logger).fit(model, data())
    run = server.get(f"/api/v1/runs/{logger.version}")
    assert (run["status"], run["reason"]) == ("failed", "ValueError: bad luck")
    assert "training_step" in run["traceback"]
    model.training_step = good
    trainer(package, logger=logger, max_epochs=1).fit(model, data())
    logger.run.finish(20)
    run = server.get(f"/api/v1/runs/{logger.version}")
    assert run["status"] == "completed" and run["lastStep"] == 7


def test_ctrl_c_in_a_fit(server: ServerProcess) -> None:
    """The Trainer ends the process; the run is aborted."""
    logger = RundialLogger(project="interrupted")
    model = tiny(PACKAGES[0])

    def interrupt(batch: Any, batch_idx: int) -> Any:
        raise KeyboardInterrupt

    model.training_step = interrupt
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        trainer(PACKAGES[0], logger=logger).fit(model, data())
    signal.signal(signal.SIGINT, before)
    run = server.get(f"/api/v1/runs/{logger.version}")
    assert (run["status"], run["reason"]) == ("aborted", "KeyboardInterrupt")


@pytest.mark.parametrize("package", PACKAGES)
def test_killed_and_resumed(server: ServerProcess, package: str, program: Callable[..., Any]) -> None:
    """kill -9 in the middle of fit, then ckpt_path: one run, one curve, every step there and right."""
    code = """
    checkpoint = callbacks.ModelCheckpoint("ckpt", every_n_train_steps=10, save_last=True, save_top_k=1)
    class Slow(callbacks.Callback):
        def on_train_batch_end(self, trainer, *args):
            if sys.argv[1] == "kill" and trainer.global_step >= 25:
                print("here", flush=True)
                time.sleep(60)
    logger = RundialLogger(project="killed", name="lightning.pytorch")
    logger.log_hyperparams({"attempt": sys.argv[1]})
    beside = loggers.CSVLogger("csv", version=sys.argv[1], flush_logs_every_n_steps=1)
    trainer = pl.Trainer(**QUIET, logger=[logger, beside], max_steps=40, log_every_n_steps=1,
                         callbacks=[checkpoint, Slow()])
    trainer.fit(Tiny(), data(100), ckpt_path="ckpt/last.ckpt" if sys.argv[1] == "resume" else None)
    print(logger.run.id)
    """
    killed = program(program_of(package, code), "kill")
    assert killed.stdout.readline() == b"here\n", killed.stderr.read().decode()
    killed.kill()
    killed.wait()
    succeed(program(program_of(package, code), "resume"))
    (run,) = [run for run in server.runs("killed") if run["runName"] == package]
    assert run["status"] == "completed" and run["config"]["attempt"] == "resume"
    written = rows_of(Path("csv/lightning_logs/kill/metrics.csv"))
    assert max(written) == 23
    written = rows_of(Path("csv/lightning_logs/resume/metrics.csv"), written)
    assert history(server, run["runId"]) == written and sorted(written) == list(range(40))


def test_the_server_dies_in_the_middle_of_fit(
    start_server: Callable[..., ServerProcess], monkeypatch: pytest.MonkeyPatch, program: Callable[..., Any]
) -> None:
    """Training ends as if nothing had happened; everything arrives when the server is back."""
    server = start_server(watched=False)
    use_server(server, monkeypatch)
    code = """
    class Wait(callbacks.Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 20:
                print("here", flush=True)
                sys.stdin.readline()
    logger = RundialLogger(project="outage", finish_timeout=1)
    beside = loggers.CSVLogger("csv", flush_logs_every_n_steps=1)
    trainer = pl.Trainer(**QUIET, logger=[logger, beside], max_steps=60, log_every_n_steps=1, callbacks=[Wait()])
    trainer.fit(Tiny(), data(100), data(3))
    trainer.test(Tiny(), data(3), verbose=False)
    print(logger.run.id)
    """
    monkeypatch.setattr(subprocess, "Popen", _with_stdin(subprocess.Popen))
    training = program(program_of(PACKAGES[0], code))
    assert training.stdout.readline() == b"here\n", training.stderr.read().decode()
    server.process.kill()
    server.process.wait()
    out, err = training.communicate(b"go on\n", timeout=90)
    assert training.returncode == 0, err.decode()
    assert b"Traceback" not in err
    again = start_server(watched=False, port=server.port)
    assert os.system(f"{sys.executable} -m rundial sync > /dev/null") == 0
    run_id = out.decode().split()[-1]
    assert history(again, run_id) == rows_of(Path("csv/lightning_logs/version_0/metrics.csv"))
    assert again.get(f"/api/v1/runs/{run_id}")["status"] == "completed"


def _with_stdin(popen: Any) -> Any:
    def start(*args: Any, **options: Any) -> Any:
        return popen(*args, **{"stdin": subprocess.PIPE, **options})

    return start


def test_without_any_server(program: Callable[..., Any], start_server: Callable[..., ServerProcess]) -> None:
    """With nothing configured a fit needs no server; the run is there when one is started."""
    code = """
    logger = RundialLogger(project="alone", quiet=True)
    pl.Trainer(**QUIET, logger=logger, max_epochs=1, log_every_n_steps=1).fit(Tiny(), data(4))
    """
    succeed(program(program_of(PACKAGES[0], code)))
    server = start_server()
    run = server.wait_for("alone", lambda run: run["status"] == "completed")
    assert sorted(history(server, run["runId"])) == [0, 1, 2, 3]


# -- Fabric and what users call ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["lightning.fabric", "lightning_fabric"])
def test_fabric(server: ServerProcess, package: str) -> None:
    """The same logger in Fabric: what fabric.log and log_dict are given, at its steps."""
    logger = RundialLogger(project="fabric")
    fabric = import_module(package).Fabric(accelerator="cpu", devices=1, loggers=[logger])
    fabric.launch()
    fabric.log("loss", torch.tensor(0.5), step=1)
    fabric.log_dict({"a": 1, "b": 2.5}, step=3)
    assert fabric.logger is logger
    fabric.logger.finalize("success")
    logger.run.finish(20)
    assert history(server, logger.run.id) == {1: {"loss": 0.5}, 3: {"a": 1, "b": 2.5}}


def test_the_experiment_is_the_run_and_a_summary_writer() -> None:
    """What users of a Run and what users of TensorBoard's writer call, both work on ``experiment``."""
    with capture_run() as (run, server):
        experiment = RundialLogger(run=run).experiment
        experiment.log({"plain": 1.0}, step=1)
        experiment.add_scalar("scalar", torch.tensor(2.0), 2)
        experiment.add_scalars("group", {"a": 3.0, "b": 4.0}, global_step=3)
        experiment.add_hparams({"lr": 0.1}, {"accuracy": 0.9})
        experiment.add_scalar("late", 5.0, 4, walltime=1_700_000_000.5)
        experiment.flush()
        assert experiment.id == run.id and experiment.config["lr"] == 0.1
        with pytest.raises(AttributeError):
            experiment.nonsense()
        with pytest.warns(RuntimeWarning, match="add_graph"):
            experiment.add_graph(torch.nn.Linear(1, 1))
        assert run.status == "running"
    assert server.series("plain") == [1.0] and server.steps("scalar") == [2]
    assert server.series("group/a") == [3.0] and server.steps("group/b") == [3]
    assert [event.time_ns for event in server.events if getattr(event, "step", None) == 4] == [
        1_700_000_000_500_000_000
    ]


def test_a_run_of_the_users_own() -> None:
    """run= logs to it and leaves its end to the user; so does a run that rd.init() began."""
    package = PACKAGES[0]
    with capture_run() as (run, server):
        trainer(package, logger=RundialLogger(run=run), max_epochs=1).fit(tiny(package), data(3))
        assert run.status == "running"
    assert server.steps("loss") == [0, 1, 2]
    mine = rd.init(mode="disabled")
    assert RundialLogger().run is mine
    mine.finish()


# -- checkpoints and media, into a server of records and uploads ------------------------------------------------------


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreServer]:
    with StoreServer() as server:
        monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
        monkeypatch.setenv("RUNDIAL_API_KEY", "rdk_x")
        monkeypatch.setenv("RUNDIAL_QUIET", "1")
        yield server


def fit_with_checkpoints(package: str, log_model: Any, seconds: float = 30, **options: Any) -> Any:
    """Twenty steps, saved every five by the loss of that step; the last one besides, always under the same name."""
    logger = RundialLogger(save_dir="here", project="models", log_model=log_model, **options)
    saver = import_module(package).callbacks.ModelCheckpoint(
        monitor="loss", mode="min", every_n_train_steps=5, save_top_k=2, save_last=True, filename="{step}"
    )
    one = trainer(package, logger=logger, callbacks=[saver], max_steps=20, max_epochs=-1)
    one.fit(tiny(package), data(20))
    logger.run.finish(seconds)
    return logger, saver


@pytest.mark.parametrize("package", PACKAGES)
def test_all_checkpoints(store: StoreServer, package: str) -> None:
    """log_model="all": each file as it was saved, with its own step and score; last.ckpt each time it was rewritten."""
    logger, saver = fit_with_checkpoints(package, "all")
    last = [version for version in store.versions if "last.ckpt" in version["content"]]
    assert [version["step"] for version in last] == [4, 9, 14, 19], "where the step's loss stands"
    assert len({version["content"]["last.ckpt"] for version in last}) == 4
    for version in store.versions:
        assert (version["name"], version["artifactType"]) == (f"model-{logger.version}", "model")
        assert "latest" in version["aliases"]
        metadata = version["metadata"]
        assert metadata["monitor"] == "loss" and isinstance(metadata["score"], float)
        (content,) = version["content"].values()
        assert torch.load(io.BytesIO(content), weights_only=False)["global_step"] == metadata["global_step"]
    best = [version for version in store.versions if "best" in version["aliases"]]
    assert best[-1]["metadata"]["original_filename"] == Path(saver.best_model_path).name
    assert best[-1]["metadata"]["score"] == pytest.approx(float(saver.best_model_score))
    assert store.versions[-1]["metadata"]["global_step"] == 20


@pytest.mark.parametrize("package", PACKAGES)
def test_the_last_and_the_best_checkpoint(store: StoreServer, package: str) -> None:
    """log_model=True: when the fit has ended, what is left of the checkpoints; False: none at all."""
    logger, saver = fit_with_checkpoints(package, True, checkpoint_name="mine", keep_last=3)
    names = {name: version for version in store.versions for name in version["content"]}
    assert set(names) == {Path(path).name for path in [*saver.best_k_models, saver.last_model_path]}
    assert "best" in names[Path(saver.best_model_path).name]["aliases"]
    assert names["last.ckpt"]["step"] == 19 and names["last.ckpt"]["name"] == "mine"
    assert names["last.ckpt"]["retentionPolicy"] == {"strategy": "keep_last", "keepLast": 3}
    assert logger.run.summary["best_model_score"] == pytest.approx(float(saver.best_model_score))
    before = len(store.versions)
    fit_with_checkpoints(package, False)
    assert len(store.versions) == before


def test_checkpoints_in_a_real_server(server: ServerProcess) -> None:
    """The versions of one artifact, with their steps; ``best`` and ``latest`` where they belong."""
    logger, saver = fit_with_checkpoints(PACKAGES[0], "all")
    (artifact,) = {item["name"] for item in server.get(f"/api/v1/runs/{logger.version}/artifacts")["artifacts"]}
    assert artifact == f"model-{logger.version}"
    versions = server.get(f"/api/v1/runs/{logger.version}/artifacts")["artifacts"]
    (best,) = [version for version in versions if "best" in version["aliases"]]
    (latest,) = [version for version in versions if "latest" in version["aliases"]]
    assert best["metadata"]["original_filename"] == Path(saver.best_model_path).name
    assert (latest["step"], latest["metadata"]["original_filename"]) == (19, "last.ckpt")


def test_checkpoints_while_the_server_is_away(store: StoreServer) -> None:
    """Nothing about uploads reaches the training: with a server that answers 503 the fit ends well."""
    store.fault = lambda method, path: 503 if "artifacts" in path else None
    fit_with_checkpoints(PACKAGES[0], "all", seconds=1)
    assert store.versions == [] and store.records.steps("loss") == list(range(20))


def test_media(store: StoreServer) -> None:
    """Images, sounds, videos, tables, texts and a model's layers reach the server with their steps and captions."""
    logger = RundialLogger(project="media", log_graph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.log_image("images", [torch.zeros(3, 4, 5), np.ones((4, 5))], step=1, caption=["one", "two"])
        logger.log_audio("sounds", [np.zeros(100)], step=2, sample_rate=[8000])
        logger.log_video("videos", [np.zeros((2, 3, 4, 5), np.uint8)], step=3, fps=[2])
        logger.log_table("table", columns=["a", "b"], data=[[1, "x"], [2, "y"]], step=4)
        logger.log_text("texts", columns=["text"], data=[["hello"]], step=5)
    with pytest.warns(RuntimeWarning, match="images of 'uneven' were not logged"):
        logger.log_image("uneven", [np.zeros((2, 2))] * 2, step=1, caption=["one"])
    trainer(PACKAGES[0], logger=logger, max_epochs=1).fit(tiny(PACKAGES[0]), data(2))
    logger.run.finish(30)
    found = [version["media"] for version in store.versions]
    kinds = {(item["key"], item["step"], item["mediaType"], item["index"], item.get("caption")) for item in found}
    assert kinds == {
        ("images", 1, "image", 0, "one"),
        ("images", 1, "image", 1, "two"),
        ("sounds", 2, "audio", 0, None),
        ("videos", 3, "video", 0, None),
        ("table", 4, "table", 0, None),
        ("texts", 5, "table", 0, None),
        ("model/layers", 0, "table", 0, None),
    }
    assert store.records.steps("loss") == [0, 1]


def test_the_summary_writers_media(store: StoreServer) -> None:
    """add_image and its like take TensorBoard's shapes and store them as media at the given step."""
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    logger = RundialLogger(project="media")
    writer = logger.experiment
    logger.log_metrics({"loss": 1.0}, step=6)
    writer.add_image("chw", torch.rand(3, 4, 5), 1)
    writer.add_image("hw", np.zeros((4, 5)), 1, dataformats="HW")
    writer.add_images("batch", torch.rand(2, 1, 4, 5), 2)
    writer.add_image_with_boxes("boxes", torch.rand(3, 10, 10), torch.tensor([[0.0, 0, 5, 5]]), 2, labels=["cat"])
    figure = pyplot.figure()
    writer.add_figure("figure", figure, 3)
    assert pyplot.get_fignums() == []
    writer.add_histogram("histogram", torch.randn(100), 4, bins=10)
    writer.add_text("text", "*hello*", 5)
    writer.add_audio("sound", torch.zeros(1, 100), 5, sample_rate=8000)
    writer.add_video("video", torch.zeros(1, 2, 3, 4, 5, dtype=torch.uint8), 5)
    writer.add_pr_curve("curve", np.array([0, 1, 1]), np.array([0.1, 0.8, 0.4]), num_thresholds=3)
    with pytest.warns(RuntimeWarning, match="no axes 'CHW'"):
        writer.add_image("wrong", np.zeros((4, 5)), 1)
    logger.run.finish(30)
    items = {(v["media"]["key"], v["media"]["index"]): (v["media"], v["content"]) for v in store.versions}
    assert {key: (item["mediaType"], item["step"]) for key, (item, _) in items.items()} == {
        ("chw", 0): ("image", 1),
        ("hw", 0): ("image", 1),
        ("batch", 0): ("image", 2),
        ("batch", 1): ("image", 2),
        ("boxes", 0): ("image", 2),
        ("figure", 0): ("image", 3),
        ("histogram", 0): ("histogram", 4),
        ("text", 0): ("text", 5),
        ("sound", 0): ("audio", 5),
        ("video", 0): ("video", 5),
        ("curve", 0): ("table", 6),
    }
    assert (items["chw", 0][0]["width"], items["chw", 0][0]["height"]) == (5, 4)
    assert items["boxes", 0][0]["metadata"]["boxes"] == {"boxes": [{"box": [0, 0, 0.5, 0.5], "label": "cat"}]}
    (table,) = items["curve", 0][1].values()
    assert json.loads(table)["rows"] == [[0.0, 2 / 3, 1.0], [0.5, 1.0, 0.5], [1.0, 1.0, 0.0]]


@pytest.mark.parametrize("package", PACKAGES)
def test_watch(store: StoreServer, package: str) -> None:
    """Histograms at the Trainer's steps, also for a module whose forward() is never called; gone after unwatch."""
    logger = RundialLogger(project="watched")
    model = tiny(package)
    logger.watch(model, "all", log_freq=3)
    trainer(package, logger=logger, max_epochs=1).fit(model, data(7))
    logger.unwatch(model)
    trainer(package, logger=logger, max_epochs=1).fit(model, data(7))
    logger.run.finish(30)
    found = [(v["media"]["key"], v["media"]["step"]) for v in store.versions if v["media"]["mediaType"] == "histogram"]
    kinds, names = ("gradients", "parameters"), ("layer.weight", "layer.bias")
    assert sorted(found) == sorted((f"{kind}/{name}", step) for kind in kinds for name in names for step in (0, 3, 6))
    assert [v["media"]["key"] for v in store.versions if v["media"]["mediaType"] == "table"] == ["model/layers"]
