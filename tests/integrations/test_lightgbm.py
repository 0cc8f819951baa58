"""RundialLightGBMCallback in real trainings, beside LightGBM's own record of them."""

from __future__ import annotations

import pytest

pytest.importorskip("lightgbm")

import lightgbm
import numpy as np

import rundial as rd
from rundial.errors import ConfigError
from rundial.integrations.lightgbm import RundialLightGBMCallback

# LightGBM's interface for scikit-learn warns of names of features that nobody gave, and of the older name of eval_X.
pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::lightgbm.basic.LGBMDeprecationWarning"),
]

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 4))
Y = (X[:, 0] + 0.5 * X[:, 1] + 0.3 * rng.normal(size=200) > 0).astype(int)
PARAMS = {
    "objective": "binary",
    "metric": ["auc", "binary_logloss"],
    "num_leaves": 4,
    "num_threads": 1,
    "verbosity": -1,
    "seed": 1,
}


def sets():
    train = lightgbm.Dataset(X[:140], Y[:140], free_raw_data=False)
    return train, lightgbm.Dataset(X[140:], Y[140:], reference=train, free_raw_data=False)


def test_train_with_early_stopping(server):
    """Each round is LightGBM's own, the last one included; the best one is in the summary; the model is kept."""
    train, test = sets()
    record = {}
    callback = RundialLightGBMCallback(project="lgb", config={"api_key": "k-123"})
    booster = lightgbm.train(
        PARAMS,
        train,
        100,
        valid_sets=[train, test],
        valid_names=["train", "test"],
        callbacks=[
            lightgbm.early_stopping(3, first_metric_only=True, verbose=False),
            lightgbm.record_evaluation(record),
            callback,
        ],
    )
    callback.log_model(booster)
    assert callback.run.finish()
    assert booster.best_iteration < len(record["test"]["auc"]) < 100
    for data, metrics in record.items():
        for name, values in metrics.items():
            assert server.points(callback.run.id, f"{data}/{name}") == list(enumerate(values))
    run = server.get(f"/api/v1/runs/{callback.run.id}")
    assert run["summary"]["best_iteration"] == booster.best_iteration
    assert run["summary"]["best_score"] == booster.best_score["test"]["auc"]
    assert run["config"]["lightgbm"]["num_leaves"] == 4
    assert run["config"]["api_key"] == "[redacted]"
    (artifact,) = server.get(f"/api/v1/runs/{callback.run.id}/artifacts")["artifacts"]
    assert artifact["type"] == "model"
    (key,) = server.get(f"/api/v1/runs/{callback.run.id}/media")["keys"]
    assert (key["key"], key["mediaType"]) == ("feature_importance", "table")


def test_the_best_round_is_known_without_log_model(server):
    """Also when training ends early."""
    train, test = sets()
    run = rd.init(project="lgb")
    booster = lightgbm.train(
        PARAMS | {"early_stopping_round": 3, "first_metric_only": True},
        train,
        100,
        valid_sets=[test],
        callbacks=[RundialLightGBMCallback()],
    )
    assert run.finish()
    summary = server.get(f"/api/v1/runs/{run.id}")["summary"]
    assert summary["best_iteration"] == booster.best_iteration


def test_cross_validation(server):
    """Mean and deviation of the folds."""
    train, _ = sets()
    callback = RundialLightGBMCallback(project="lgb")
    found = lightgbm.cv(PARAMS, train, 6, nfold=3, callbacks=[callback])
    assert callback.run.finish()
    for kind, own in (("mean", "valid auc-mean"), ("std", "valid auc-stdv")):
        assert server.points(callback.run.id, f"valid/auc-{kind}") == list(enumerate(found[own]))


def test_estimator_and_going_on(server):
    """Through scikit-learn's interface; a training that goes on with a model goes on with its curve."""
    callback = RundialLightGBMCallback(project="lgb")
    first = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbosity=-1)
    first.fit(X[:140], Y[:140], eval_set=[(X[140:], Y[140:])], callbacks=[callback])
    second = lightgbm.LGBMClassifier(n_estimators=4, n_jobs=1, verbosity=-1)
    second.fit(X[:140], Y[:140], eval_set=[(X[140:], Y[140:])], callbacks=[callback], init_model=first)
    callback.log_model(second)
    assert callback.run.finish()
    expected = [value for model in (first, second) for value in model.evals_result_["valid_0"]["binary_logloss"]]
    assert server.points(callback.run.id, "valid_0/binary_logloss") == list(enumerate(expected))


def test_nothing_raises(monkeypatch):
    """Whatever happens while logging is a warning; a mistake in the settings is not."""
    with pytest.raises(ConfigError):
        RundialLightGBMCallback(projekt="x")
    train, test = sets()
    callback = RundialLightGBMCallback(project="lgb", mode="disabled")
    monkeypatch.setattr(type(callback._lazy), "writable", property(lambda self: 1 / 0))
    with pytest.warns(RuntimeWarning, match="was not logged"):
        booster = lightgbm.train(PARAMS, train, 3, valid_sets=[test], callbacks=[callback])
    assert booster.current_iteration() == 3
