"""RundialXGBoostCallback in real trainings, beside XGBoost's own record of them."""

from __future__ import annotations

import pytest

pytest.importorskip("xgboost")
pytest.importorskip("sklearn")

import numpy as np
import xgboost

import rundial as rd
from rundial.errors import ConfigError
from rundial.integrations.xgboost import RundialXGBoostCallback

pytestmark = pytest.mark.frameworks

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 4))
Y = (X[:, 0] + 0.5 * X[:, 1] + 0.3 * rng.normal(size=120) > 0).astype(int)
PARAMS = {"objective": "binary:logistic", "eval_metric": ["logloss", "auc"], "max_depth": 2, "eta": 0.5, "nthread": 1}


def matrices():
    return xgboost.DMatrix(X[:80], Y[:80]), xgboost.DMatrix(X[80:], Y[80:])


def curves(record):
    """XGBoost's own record by data and metric."""
    return {f"{data}/{name}": values for data, metrics in record.items() for name, values in metrics.items()}


def test_train_with_early_stopping(server):
    """Each round is XGBoost's own, the best one is in the summary, and parameters, importance and model are kept."""
    train, test = matrices()
    record = {}
    callback = RundialXGBoostCallback(project="xgb", log_model=True, config={"api_key": "k-123"})
    booster = xgboost.train(
        PARAMS,
        train,
        60,
        evals=[(train, "train"), (test, "test")],
        evals_result=record,
        early_stopping_rounds=3,
        callbacks=[callback],
        verbose_eval=False,
    )
    assert callback.run.finish()
    for key, values in curves(record).items():
        assert server.points(callback.run.id, key) == list(enumerate(values))
    run = server.get(f"/api/v1/runs/{callback.run.id}")
    assert run["summary"]["best_iteration"] == booster.best_iteration
    assert run["summary"]["best_score"] == pytest.approx(booster.best_score)
    assert run["config"]["xgboost"]["objective"] == "binary:logistic"
    assert run["config"]["xgboost"]["max_depth"] == 2
    assert run["config"]["xgboost"]["eta"] == 0.5
    assert run["config"]["api_key"] == "[redacted]"
    (artifact,) = server.get(f"/api/v1/runs/{callback.run.id}/artifacts")["artifacts"]
    assert artifact["type"] == "model"
    (key,) = server.get(f"/api/v1/runs/{callback.run.id}/media")["keys"]
    assert (key["key"], key["mediaType"]) == ("feature_importance", "table")


def test_going_on_with_a_model_goes_on_with_the_curve(server):
    """XGBoost counts from zero again, the trees do not."""
    train, test = matrices()
    run = rd.init(project="xgb")
    booster, records = None, []
    for _ in range(2):
        records.append({})
        booster = xgboost.train(
            PARAMS,
            train,
            5,
            evals=[(test, "test")],
            evals_result=records[-1],
            xgb_model=booster,
            callbacks=[RundialXGBoostCallback()],
            verbose_eval=False,
        )
    assert run.finish()
    expected = [value for record in records for value in record["test"]["auc"]]
    assert server.points(run.id, "test/auc") == list(enumerate(expected))


def test_cross_validation(server):
    """Mean and deviation of the folds."""
    train, _ = matrices()
    callback = RundialXGBoostCallback(project="xgb", metric_prefix="cv")
    frame = xgboost.cv(PARAMS, train, 6, nfold=3, callbacks=[callback], as_pandas=False, seed=0)
    assert callback.run.finish()
    for data in ("train", "test"):
        for kind in ("mean", "std"):
            expected = list(enumerate(frame[f"{data}-auc-{kind}"]))
            assert server.points(callback.run.id, f"cv/{data}/auc-{kind}") == expected


def test_estimator(server):
    """The same through scikit-learn's interface, cloned as a search would."""
    from sklearn.base import clone

    callback = RundialXGBoostCallback(project="xgb")
    model = clone(xgboost.XGBClassifier(n_estimators=6, n_jobs=1, callbacks=[callback], early_stopping_rounds=2))
    model.fit(X[:80], Y[:80], eval_set=[(X[80:], Y[80:])], verbose=False)
    run = rd.run
    assert run.id == callback.run.id
    assert run.finish()
    assert server.points(run.id, "validation_0/logloss") == list(
        enumerate(model.evals_result()["validation_0"]["logloss"])
    )


def test_nothing_raises(monkeypatch):
    """Whatever happens while logging is a warning; a mistake in the settings is not."""
    with pytest.raises(ConfigError):
        RundialXGBoostCallback(projekt="x")
    train, test = matrices()
    callback = RundialXGBoostCallback(project="xgb", mode="disabled")
    monkeypatch.setattr(type(callback._lazy), "writable", property(lambda self: 1 / 0))
    with pytest.warns(RuntimeWarning, match="was not logged"):
        booster = xgboost.train(PARAMS, train, 3, evals=[(test, "test")], callbacks=[callback], verbose_eval=False)
    assert booster.num_boosted_rounds() == 3
