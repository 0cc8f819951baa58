"""RundialFastaiCallback in real fits, beside the Recorder of fastai."""

from __future__ import annotations

import json
from typing import Any

import fastai.callback.progress
import fastai.callback.schedule  # noqa: F401 - give a Learner no_bar, fit_one_cycle and lr_find
import pytest
import torch
from fastai.data.core import DataLoaders, Datasets
from fastai.data.load import DataLoader
from fastai.learner import Learner, load_learner
from fastai.metrics import accuracy

import rundial as rd
from rundial.errors import ConfigError
from rundial.integrations.fastai import RundialFastaiCallback
from tests.integrations.conftest import history, succeed

torch.set_num_threads(1)
X = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
ROWS = list(zip(X, (X[:, 0] > 0).long()))


def features(index: int) -> torch.Tensor:
    return X[index]


def label(index: int) -> torch.Tensor:
    return ROWS[index][1]


def learner(*callbacks: Any) -> Any:
    torch.manual_seed(0)
    loaders = DataLoaders(DataLoader(ROWS[:32], bs=8, num_workers=0), DataLoader(ROWS[32:], bs=8, num_workers=0))
    model = torch.nn.Sequential(torch.nn.Linear(4, 2))
    return Learner(loaders, model, torch.nn.CrossEntropyLoss(), metrics=accuracy, cbs=list(callbacks), lr=0.1)


def test_two_fits(server, tmp_path):
    """Each batch and each epoch is the Recorder's; the second fit goes on; searching for a rate stays outside."""
    callback = RundialFastaiCallback(project="fastai", log_model=True, config={"api_key": "k-123"})
    learn = learner(callback)
    learn.path = tmp_path
    losses: list[float] = []
    rates: list[float] = []
    rows: list[list[Any]] = []
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(num_it=4, show_plot=False)
        for fit in (learn.fit_one_cycle, learn.fit):
            fit(2)
            losses += [float(loss) for loss in learn.recorder.losses]
            rates += learn.recorder.lrs
            rows += [list(row) for row in learn.recorder.values]
        learn.get_preds()
        validated = list(learn.validate())
    run = callback.rundial_run
    assert run.finish()
    assert len(losses) == 16 and len(rows) == 4
    assert server.points(run.id, "batch/train_loss") == list(enumerate(losses, 1))
    assert server.points(run.id, "opt/lr_0") == list(enumerate(rates, 1))
    for index, name in enumerate(["train_loss", "valid_loss", "accuracy"]):
        assert server.points(run.id, name) == [(4 * (i + 1), row[index]) for i, row in enumerate(rows)]
    assert server.points(run.id, "validate/valid_loss") == [(16, validated[0])]
    assert server.points(run.id, "validate/accuracy") == [(16, validated[1])]
    assert [value for _, value in server.points(run.id, "epoch")] == [(i % 8 + 1) / 4 for i in range(16)]
    about = server.get(f"/api/v1/runs/{run.id}")["config"]
    assert (about["fastai"]["n_epoch"], about["fastai"]["num_parameters"]) == (2, 10)
    assert about["api_key"] == "[redacted]"
    artifacts = server.get(f"/api/v1/runs/{run.id}/artifacts")["artifacts"]
    assert [artifact["type"] for artifact in artifacts] == ["model", "model"]  # one for each fit


def test_an_exported_learner_is_loaded(tmp_path):
    """The callback is pickled with the learner, and predicting with it logs nothing."""
    callback = RundialFastaiCallback(project="fastai", mode="disabled")
    learn = learner(callback)
    learn.path = tmp_path
    learn.dls = Datasets(list(range(48)), tfms=[[features], [label]]).dataloaders(bs=8, num_workers=0)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    learn.export()
    assert load_learner(tmp_path / "export.pkl").model[0].weight.equal(learn.model[0].weight)


def test_the_users_run_stays_open(server):
    """Without run= and settings the current run is used, and a prefix is put before every name."""
    run = rd.init(project="fastai")
    learn = learner(RundialFastaiCallback(metric_prefix="a"))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert run.status == "running" and run.finish()
    assert set(history(server, run.id)) == {1, 2, 3, 4}
    assert all(key.startswith("a/") for values in history(server, run.id).values() for key in values)


def test_nothing_raises(monkeypatch):
    """Whatever happens while logging is a warning; a mistake in the settings is not."""
    with pytest.raises(ConfigError):
        RundialFastaiCallback(projekt="x")
    callback = RundialFastaiCallback(project="fastai", mode="disabled")
    monkeypatch.setattr(type(callback._lazy), "writable", property(lambda self: 1 / 0))
    learn = learner(callback)
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError"), learn.no_bar(), learn.no_logging():
        learn.fit(2)
    assert len(learn.recorder.values) == 2


def test_server_killed_in_the_middle(start_server, script, monkeypatch):
    """The training ends as if nothing had been, and everything arrives when the server is back."""
    server = start_server()
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    training = script("""
        import json, sys
        import torch
        from fastai.data.core import DataLoaders
        from fastai.data.load import DataLoader
        from fastai.learner import Callback, Learner
        from rundial.integrations.fastai import RundialFastaiCallback
        class Wait(Callback):
            def after_batch(self):
                if self.training and self.train_iter == 3:
                    print(callback.rundial_run.id, flush=True)
                    sys.stdin.readline()
        callback = RundialFastaiCallback(project="fastai")
        rows = list(zip(torch.randn(16, 4), torch.randn(16, 1)))
        loaders = DataLoaders(DataLoader(rows, bs=4, num_workers=0), DataLoader(rows, bs=4, num_workers=0))
        learn = Learner(loaders, torch.nn.Sequential(torch.nn.Linear(4, 1)), torch.nn.MSELoss(), cbs=[callback, Wait()])
        with learn.no_logging():
            learn.fit(5, lr=0.1)
        print(json.dumps([list(row) for row in learn.recorder.values]))
    """)
    run_id = training.stdout.readline().decode().strip()
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    training.stdin.write(b"\n")
    training.stdin.flush()
    rows = json.loads(succeed(training))
    again = start_server(port=server.port)
    script("import subprocess, sys; subprocess.run([sys.executable, '-m', 'rundial', 'sync'], check=True)").output()
    project = again.get(f"/api/v1/runs/{run_id}")["projectId"]
    again.wait_for(project, lambda run: len(history(again, run["runId"])) == 20)
    assert again.points(run_id, "valid_loss") == [(4 * (i + 1), row[1]) for i, row in enumerate(rows)]
