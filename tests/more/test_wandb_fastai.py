"""W&B's callback for fastai, in a real fit: ours, and fastai's own under ``install()``."""

from __future__ import annotations

import json
from typing import Any

import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb.fastai import WandbCallback
from tests.integrations.conftest import succeed
from tests.more.test_fastai import learner


def test_callback(server: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Each batch's loss and rate and each epoch's metrics are the Recorder's."""
    monkeypatch.chdir(tmp_path)
    run = wandb.init(project="fastai")
    learn = learner(WandbCallback(log="gradients", log_model=True))
    learn.path = tmp_path
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(2)
    run.finish()
    assert [value for _, value in server.points(run.id, "train_loss")] == pytest.approx(
        [float(loss) for loss in learn.recorder.losses]
    )
    assert [value for _, value in server.points(run.id, "lr_0")] == pytest.approx(learn.recorder.lrs)
    rows = [list(row) for row in learn.recorder.values]
    assert [value for _, value in server.points(run.id, "accuracy")] == pytest.approx([row[2] for row in rows])
    assert [value for _, value in server.points(run.id, "valid_loss")] == pytest.approx([row[1] for row in rows])
    names = {row["name"] for row in server.get(f"/api/v1/runs/{run.id}/artifacts")["artifacts"]}
    assert f"run-{run.id}-model" in names


def test_fastais_own_callback(server: Any, program: Any) -> None:
    """``fastai.callback.wandb`` logs the Recorder's values, the configuration and the model that it saved.

    Its ``init_args`` is replaced: with fastcore 2.2 it raises for every number, whatever ``wandb`` is.
    """
    code = """
    import json, sys
    import rundial.compat.wandb
    rundial.compat.wandb.install()
    import wandb
    import fastai.callback.wandb
    from fastai.callback.wandb import WandbCallback
    fastai.callback.wandb.init_args = lambda value: {}
    from tests.more.test_fastai import learner
    run = wandb.init(project="fastai-own")
    learn = learner(WandbCallback(log_preds=False, log_model=True))
    learn.path = __import__("pathlib").Path(".").resolve()
    with learn.no_bar(), learn.no_logging():
        learn.fit(2)
    run.finish()
    print(json.dumps([run.id, [float(x) for x in learn.recorder.losses], [list(row) for row in learn.recorder.values]]))
    """
    run_id, losses, rows = json.loads(succeed(program(code), 200).splitlines()[-1])
    assert [step for step, _ in server.points(run_id, "raw_loss")] == list(range(len(losses)))
    assert [value for _, value in server.points(run_id, "train_loss")] == pytest.approx(losses)
    assert [value for _, value in server.points(run_id, "accuracy")] == pytest.approx([row[2] for row in rows])
    stored = server.get(f"/api/v1/runs/{run_id}")
    assert stored["config"]["batch size"] == 8 and stored["status"] == "completed"
