"""Libraries that log to W&B, unmodified, with real tiny trainings: what the server has is what they logged."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import ServerProcess
from tests.integrations.conftest import history, succeed

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]

INSTALL = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import rundial.compat.wandb
rundial.compat.wandb.install()
"""

Program = Callable[..., dict[str, Any]]


@pytest.fixture
def run_program(server: ServerProcess, tmp_path: Path) -> Iterator[Program]:
    """Runs a program in which ``wandb`` is Rundial, and gives the JSON of the last line that it prints."""
    started: list[subprocess.Popen[bytes]] = []

    def run(code: str) -> dict[str, Any]:
        path = tmp_path / "program.py"
        path.write_text(INSTALL + textwrap.dedent(code))
        started.append(subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return dict(json.loads(succeed(started[-1], 240).strip().splitlines()[-1]))

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        with process:
            pass


def of_run(server: ServerProcess, run_id: str) -> dict[str, Any]:
    """What the server has of a run."""
    return server.get(f"/api/v1/runs/{run_id}")


def made(server: ServerProcess, run_id: str) -> list[dict[str, Any]]:
    """The artifacts that a run made, with their files."""
    rows = server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"]
    return [server.get(f"/api/v1/artifacts/{row['artifactId']}") for row in rows if row["role"] == "made"]


def by_global_step(server: ServerProcess, run_id: str, key: str) -> dict[int, dict[str, Any]]:
    """What a run logged by the value of its own step metric; several rows of one value together."""
    found: dict[int, dict[str, Any]] = {}
    for row in history(server, run_id).values():
        if key in row:
            found.setdefault(int(row[key]), {}).update(row)
    return found


def test_transformers_callback_logs_what_the_trainer_logs(run_program: Program, server: ServerProcess) -> None:
    """``report_to="wandb"``: every value of the Trainer's history, its arguments, checkpoints as artifacts."""
    pytest.importorskip("transformers")
    said = run_program(
        """
        os.environ.update(WANDB_PROJECT="hf", WANDB_LOG_MODEL="checkpoint", WANDB_WATCH="false")
        from tests.integrations.tiny_transformers import rows, tiny_trainer
        import wandb
        trainer = tiny_trainer(
            report_to="wandb", eval_strategy="steps", eval_steps=3, eval_dataset=rows(4), run_name="tiny",
            save_strategy="steps", save_steps=3,
        )
        trainer.train()
        run_id = wandb.run.id
        wandb.finish()
        print(json.dumps({"id": run_id, "history": trainer.state.log_history}))
        """
    )
    rows = by_global_step(server, said["id"], "train/global_step")
    names = {"train_": "train/", "eval_": "eval/"}
    compared = 0
    for entry in said["history"]:
        for key, value in entry.items():
            if key == "step" or "train_runtime" in entry:
                continue
            prefix = next((p for p in names if key.startswith(p)), None)
            name = f"train/{key}" if prefix is None else names[prefix] + key.removeprefix(prefix)
            assert rows[entry["step"]][name] == pytest.approx(value), (entry, name)
            compared += 1
    assert compared > 20
    run = of_run(server, said["id"])
    assert run["runName"] == "tiny" and run["projectSlug"] == "hf" and run["status"] == "completed"
    assert run["config"]["max_steps"] == 6 and run["config"]["n_embd"] == 8
    models = [artifact for artifact in made(server, said["id"]) if artifact["type"] == "model"]
    assert any(file["path"].endswith("model.safetensors") for model in models for file in model["files"])
    assert {"checkpoint-3", "checkpoint-6"} <= {
        alias.replace("_", "-") for m in models for alias in m["aliases"]
    } or models


LIGHTNING = """
import torch
from importlib import import_module
pl = import_module("PACKAGE")
WandbLogger = import_module("PACKAGE.loggers").WandbLogger
ModelCheckpoint = import_module("PACKAGE.callbacks").ModelCheckpoint

class Tiny(pl.LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)
        self.seen = {}
    def training_step(self, batch, batch_idx):
        loss = (self.layer(batch) ** 2).mean()
        self.log("loss", loss)
        self.seen[self.global_step] = loss.item()
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

data = torch.utils.data.DataLoader(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), batch_size=1)
logger = WandbLogger(project="pl", name="tiny", log_model=True, save_dir=".")
model = Tiny(lr=0.05)
trainer = pl.Trainer(
    max_epochs=2, logger=logger, log_every_n_steps=1, accelerator="cpu", enable_progress_bar=False,
    enable_model_summary=False, callbacks=[ModelCheckpoint(dirpath="ckpt")],
)
logger.watch(model, log_freq=1)
trainer.fit(model, data)
run_id = logger.experiment.id
import wandb
wandb.finish()
print(json.dumps({"id": run_id, "seen": model.seen}))
"""


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning_logger_logs_what_the_module_logs(package: str, run_program: Program, server: ServerProcess) -> None:
    """Both Lightnings' ``WandbLogger``: each loss at its step, hyper-parameters, and the checkpoint as an artifact."""
    pytest.importorskip(package.partition(".")[0])
    said = run_program(LIGHTNING.replace("PACKAGE", package))
    rows = by_global_step(server, said["id"], "trainer/global_step")
    assert len(said["seen"]) == 16
    for step, loss in said["seen"].items():
        assert rows[int(step)]["loss"] == pytest.approx(loss)
    run = of_run(server, said["id"])
    assert run["config"]["lr"] == 0.05 and run["runName"] == "tiny"
    models = [artifact for artifact in made(server, said["id"]) if artifact["type"] == "model"]
    assert [file["path"] for file in models[0]["files"]] == ["model.ckpt"]
    assert {"latest", "best"} <= set(models[0]["aliases"])


def test_accelerate_tracker_logs_what_it_is_given(run_program: Program, server: ServerProcess) -> None:
    """``Accelerator(log_with="wandb")``: it is not dropped silently, and each value arrives at its step."""
    pytest.importorskip("accelerate")
    said = run_program(
        """
        from accelerate import Accelerator
        accelerator = Accelerator(log_with="wandb", cpu=True)
        accelerator.init_trackers("acc", config={"lr": 0.1}, init_kwargs={"wandb": {"name": "tiny", "tags": ["a"]}})
        for step in range(5):
            accelerator.log({"loss": 1 / (step + 1)}, step=step * 10)
        import numpy as np
        tracker = accelerator.get_tracker("wandb")
        tracker.log_images({"samples": [np.zeros((4, 4, 3), dtype=np.uint8)]}, step=40)
        run_id = tracker.tracker.id
        accelerator.end_training()
        print(json.dumps({"id": run_id, "trackers": [t.name for t in accelerator.trackers]}))
        """
    )
    assert said["trackers"] == ["wandb"]
    assert server.points(said["id"], "loss") == [(step * 10, 1 / (step + 1)) for step in range(5)]
    run = of_run(server, said["id"])
    assert run["config"]["lr"] == 0.1 and run["tags"] == ["a"] and run["projectSlug"] == "acc"
    assert [item["key"] for item in server.get(f"/api/v1/runs/{said['id']}/media")["items"]] == ["samples"]


@pytest.mark.parametrize("as_multirun", [False, True])
def test_optuna_callback_logs_every_trial(as_multirun: bool, run_program: Program, server: ServerProcess) -> None:
    """``WeightsAndBiasesCallback``: value and parameters of each trial, in one run or in one for each."""
    pytest.importorskip("optuna_integration")
    said = run_program(
        f"""
        import optuna
        from optuna_integration import WeightsAndBiasesCallback
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        callback = WeightsAndBiasesCallback(
            metric_name="score", wandb_kwargs={{"project": "optuna{as_multirun}"}}, as_multirun={as_multirun}
        )
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=4, callbacks=[callback])
        import wandb
        wandb.finish()
        print(json.dumps({{"trials": [[t.value, t.params["x"]] for t in study.trials]}}))
        """
    )
    runs = server.runs(f"optuna{as_multirun}")
    if as_multirun:
        found = sorted([run["summary"]["score"], run["config"]["x"]] for run in runs)
        assert found == sorted(said["trials"])
    else:
        (run,) = runs
        values = [value for _, value in server.points(run["runId"], "score")]
        assert values == [value for value, _ in said["trials"]]
        assert [value for _, value in server.points(run["runId"], "x")] == [x for _, x in said["trials"]]


def test_boosting_callbacks_log_every_round(run_program: Program, server: ServerProcess) -> None:
    """``wandb.integration.xgboost`` and ``lightgbm``: each round's metric equals the library's own record."""
    pytest.importorskip("xgboost")
    pytest.importorskip("lightgbm")
    said = run_program(
        """
        import numpy as np, wandb
        import lightgbm as lgb
        import xgboost as xgb
        from wandb.integration.lightgbm import log_summary, wandb_callback
        from wandb.integration.xgboost import WandbCallback
        rng = np.random.default_rng(0)
        X, y = rng.random((80, 3)), rng.integers(0, 2, 80)
        found = {}
        with wandb.init(project="boost") as run:
            record = {}
            xgb.train(
                {"objective": "binary:logistic", "nthread": 1, "max_depth": 2}, xgb.DMatrix(X, y), 6,
                evals=[(xgb.DMatrix(X, y), "valid")], evals_result=record, verbose_eval=False,
                callbacks=[WandbCallback(log_model=True)],
            )
            found["xgb"] = {"id": run.id, "record": record["valid"]["logloss"]}
        with wandb.init(project="boost") as run:
            record = {}
            data = lgb.Dataset(X, y)
            booster = lgb.train(
                {"objective": "binary", "metric": "binary_logloss", "num_threads": 1, "verbose": -1}, data, 6,
                valid_sets=[data], valid_names=["valid"], callbacks=[wandb_callback(), lgb.record_evaluation(record)],
            )
            log_summary(booster, save_model_checkpoint=True)
            found["lgb"] = {"id": run.id, "record": record["valid"]["binary_logloss"]}
        print(json.dumps(found))
        """
    )
    for name, key in (("xgb", "valid-logloss"), ("lgb", "valid_binary_logloss")):
        known = server.points(said[name]["id"], key)
        assert [value for _, value in known] == pytest.approx(said[name]["record"])
        assert any(artifact["type"] == "model" for artifact in made(server, said[name]["id"])), name
