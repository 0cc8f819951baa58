"""RundialCatBoostCallback in real trainings, beside CatBoost's own record of them."""

from __future__ import annotations

import json

import catboost
import numpy as np
import pytest

from rundial.errors import ConfigError
from rundial.integrations.catboost import RundialCatBoostCallback
from tests.integrations.conftest import history, succeed

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 4))
Y = (X[:, 0] + 0.5 * X[:, 1] + 0.3 * rng.normal(size=120) > 0).astype(int)
OPTIONS = {"thread_count": 1, "verbose": False, "allow_writing_files": False, "random_seed": 1}


def fit(callback, **options):
    model = catboost.CatBoostClassifier(**{**OPTIONS, **options})
    return model.fit(X[:80], Y[:80], eval_set=(X[80:], Y[80:]), callbacks=[callback])


def test_fit_with_early_stopping(server):
    """Each iteration is CatBoost's own; the best one, the parameters, the importance and the model are kept."""
    callback = RundialCatBoostCallback(project="cat", config={"api_key": "k-123"})
    model = fit(callback, iterations=60, learning_rate=0.9, custom_metric=["AUC"], early_stopping_rounds=3, depth=3)
    callback.log_model(model)
    assert callback.run.finish()
    assert len(model.evals_result_["validation"]["Logloss"]) < 60
    for data, metrics in model.evals_result_.items():
        for name, values in metrics.items():
            assert server.points(callback.run.id, f"{data}/{name}") == list(enumerate(values))
    run = server.get(f"/api/v1/runs/{callback.run.id}")
    assert run["summary"]["best_iteration"] == model.best_iteration_
    assert run["summary"]["best_score"] == model.best_score_
    assert run["config"]["catboost"]["depth"] == 3
    assert run["config"]["api_key"] == "[redacted]"
    (artifact,) = server.get(f"/api/v1/runs/{callback.run.id}/artifacts")["artifacts"]
    assert artifact["type"] == "model"
    (key,) = server.get(f"/api/v1/runs/{callback.run.id}/media")["keys"]
    assert (key["key"], key["mediaType"]) == ("feature_importance", "table")


def test_metrics_of_every_third_iteration(server):
    """With metric_period the values stand at the iterations they are of."""
    callback = RundialCatBoostCallback(project="cat", metric_prefix="sparse")
    model = fit(callback, iterations=8, metric_period=3)
    assert callback.run.finish()
    expected = list(zip([0, 3, 6, 7], model.evals_result_["validation"]["Logloss"]))
    assert server.points(callback.run.id, "sparse/validation/Logloss") == expected


def test_going_on_with_a_model_goes_on_with_the_curve(server):
    """CatBoost counts from one again; the curve does not."""
    callback = RundialCatBoostCallback(project="cat")
    first = fit(callback, iterations=4)
    second = catboost.CatBoostClassifier(iterations=3, **OPTIONS)
    second.fit(X[:80], Y[:80], eval_set=(X[80:], Y[80:]), callbacks=[callback], init_model=first)
    assert callback.run.finish()
    expected = [value for model in (first, second) for value in model.evals_result_["validation"]["Logloss"]]
    assert server.points(callback.run.id, "validation/Logloss") == list(enumerate(expected))


def test_nothing_raises(monkeypatch):
    """Whatever happens while logging is a warning; a mistake in the settings is not."""
    with pytest.raises(ConfigError):
        RundialCatBoostCallback(projekt="x")
    callback = RundialCatBoostCallback(project="cat", mode="disabled")
    monkeypatch.setattr(type(callback._lazy), "writable", property(lambda self: 1 / 0))
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
        model = fit(callback, iterations=3)
    assert model.tree_count_ == 3


def test_server_killed_in_the_middle(start_server, script, monkeypatch):
    """The training ends as if nothing had been, and everything arrives when the server is back."""
    server = start_server()
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    training = script("""
        import json, sys
        import catboost, numpy as np
        from rundial.integrations.catboost import RundialCatBoostCallback
        class Wait:
            def after_iteration(self, info):
                if info.iteration == 5:
                    print(callback.run.id, flush=True)
                    sys.stdin.readline()
                return True
        callback = RundialCatBoostCallback(project="cat")
        model = catboost.CatBoostRegressor(iterations=20, thread_count=1, verbose=False, allow_writing_files=False)
        model.fit(np.arange(40.0).reshape(20, 2), np.arange(20.0), callbacks=[callback, Wait()])
        print(json.dumps(model.evals_result_["learn"]["RMSE"]))
    """)
    run_id = training.stdout.readline().decode().strip()
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    training.stdin.write(b"\n")
    training.stdin.flush()
    out = succeed(training)
    again = start_server(port=server.port)
    script("import subprocess, sys; subprocess.run([sys.executable, '-m', 'rundial', 'sync'], check=True)").output()
    project = again.get(f"/api/v1/runs/{run_id}")["projectId"]
    again.wait_for(project, lambda run: len(history(again, run["runId"])) == 20)
    assert again.points(run_id, "learn/RMSE") == list(enumerate(json.loads(out)))
