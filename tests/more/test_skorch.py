"""RundialSkorchCallback in real fits, beside the net's own history."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, EpochScoring, LRScheduler

import rundial as rd
from rundial.errors import ConfigError
from rundial.finishing import open_runs
from rundial.integrations.skorch import RundialSkorchCallback
from tests.integrations.conftest import History, history, succeed

torch.set_num_threads(1)
rng = np.random.default_rng(0)
X = rng.normal(size=(80, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


class Module(torch.nn.Sequential):
    """A classifier of four features."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(4, 2), torch.nn.Softmax(dim=-1))


def net(*callbacks: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return NeuralNetClassifier(Module, callbacks=list(callbacks), **{"max_epochs": 4, "verbose": 0, **options})


def recorded(model: Any) -> History:
    """The net's history by epoch, without what it notes for itself."""
    names = ("train_loss", "valid_loss", "valid_acc", "dur", "f1")
    return {row["epoch"]: {name: row[name] for name in names if name in row} for row in model.history}


def test_fit(server):
    """Each epoch is the history's row, with the learning rate; parameters and model are kept."""
    callback = RundialSkorchCallback(project="skorch", log_model=True, config={"api_key": "k-123"})
    model = net(
        callback,
        EpochScoring("f1", lower_is_better=False, name="f1"),
        LRScheduler("StepLR", step_size=2, gamma=0.1),
        EarlyStopping(patience=50),
        lr=0.5,
    ).fit(X, Y)
    assert callback.run.finish()
    found = history(server, callback.run.id)
    assert [values.pop("learning_rate") for _, values in sorted(found.items())] == pytest.approx([0.5, 0.5, 0.05, 0.05])
    assert found == recorded(model)
    run = server.get(f"/api/v1/runs/{callback.run.id}")
    about = run["config"]["skorch"]
    assert (about["module"], about["optimizer"], about["lr"], about["num_parameters"]) == ("Module", "SGD", 0.5, 10)
    assert run["config"]["api_key"] == "[redacted]"
    (artifact,) = server.get(f"/api/v1/runs/{callback.run.id}/artifacts")["artifacts"]
    assert artifact["type"] == "model"


def test_further_fits_go_on_with_the_curves(server):
    """partial_fit goes on in the net's history, fit begins a new one; the curve has both."""
    run = rd.init(project="skorch")
    model = net(RundialSkorchCallback(metric_prefix="a"))
    model.fit(X, Y)
    model.partial_fit(X, Y)
    expected = [row["train_loss"] for row in model.history]
    assert len(expected) == 8
    model.fit(X, Y)
    expected += [row["train_loss"] for row in model.history]
    assert run.status == "running" and run.finish()
    assert server.points(run.id, "a/train_loss") == [(i + 1, value) for i, value in enumerate(expected)]


def test_a_search_makes_a_run_for_each_fit(server):
    """scikit-learn clones the net and its callbacks; each clone is a run with its own parameters."""
    callback = RundialSkorchCallback(project="skorch-search", tags=["search"])
    search = GridSearchCV(net(callback, train_split=None), {"lr": [0.1, 0.2]}, cv=2, refit=False, scoring="accuracy")
    search.fit(X, Y)
    for run in list(open_runs):
        assert run.finish()
    runs = server.runs("skorch-search")
    assert len(runs) == 4 and len({run["runId"] for run in runs}) == 4
    rates = [server.get(f"/api/v1/runs/{run['runId']}")["config"]["skorch"]["lr"] for run in runs]
    assert sorted(rates) == [0.1, 0.1, 0.2, 0.2]
    assert all(len(history(server, run["runId"])) == 4 for run in runs)


def test_copies_and_pickles():
    """A net that was fitted is copied and pickled with its callback; settings can be changed by name."""
    callback = RundialSkorchCallback(project="skorch", mode="disabled")
    model = net(("rundial", callback)).fit(X, Y)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert copy.deepcopy(model).partial_fit(X, Y).history[-1]["epoch"] == 8
    model.set_params(callbacks__rundial__metric_prefix="b").initialize()
    assert callback.get_params()["metric_prefix"] == "b"
    assert callback.run.mode == "disabled"


def test_nothing_raises(monkeypatch):
    """Whatever happens while logging is a warning; a mistake in the settings is not."""
    with pytest.raises(ConfigError):
        RundialSkorchCallback(projekt="x")
    callback = RundialSkorchCallback(project="skorch", mode="disabled")
    monkeypatch.setattr(type(callback._lazy), "writable", property(lambda self: 1 / 0))
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
        model = net(callback).fit(X, Y)
    assert len(model.history) == 4


def test_server_killed_in_the_middle(start_server, script, monkeypatch):
    """The training ends as if nothing had been, and everything arrives when the server is back."""
    server = start_server()
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    training = script("""
        import json, sys
        import numpy as np, torch
        from skorch import NeuralNetRegressor
        from skorch.callbacks import Callback
        from rundial.integrations.skorch import RundialSkorchCallback
        class Wait(Callback):
            def on_epoch_end(self, net, **kwargs):
                if net.history[-1]["epoch"] == 5:
                    print(callback.run.id, flush=True)
                    sys.stdin.readline()
        callback = RundialSkorchCallback(project="skorch")
        net = NeuralNetRegressor(torch.nn.Linear(2, 1), max_epochs=20, verbose=0, callbacks=[callback, Wait()])
        net.fit(np.random.rand(20, 2).astype("float32"), np.random.rand(20, 1).astype("float32"))
        print(json.dumps(net.history[:, "train_loss"]))
    """)
    run_id = training.stdout.readline().decode().strip()
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    training.stdin.write(b"\n")
    training.stdin.flush()
    expected = json.loads(succeed(training))
    again = start_server(port=server.port)
    script("import subprocess, sys; subprocess.run([sys.executable, '-m', 'rundial', 'sync'], check=True)").output()
    project = again.get(f"/api/v1/runs/{run_id}")["projectId"]
    again.wait_for(project, lambda run: len(history(again, run["runId"])) == 20)
    assert again.points(run_id, "train_loss") == [(i + 1, value) for i, value in enumerate(expected)]
