"""scikit-learn: scores, tables and plots of real estimators, beside what scikit-learn computes itself."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn")

import numpy as np
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score
from sklearn.model_selection import GridSearchCV, learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import rundial as rd
from rundial.integrations.sklearn import log_estimator, log_learning_curve, log_search
from rundial.testing import capture_run
from tests.integrations.conftest import history

X, Y = make_classification(200, 6, n_classes=3, n_informative=4, random_state=0)
PLOTS = {"confusion_matrix", "roc", "precision_recall"}


def media(server, run):
    return {key["key"]: key["mediaType"] for key in server.get(f"/api/v1/runs/{run.id}/media")["keys"]}


def content(server, run, key):
    """What a media item says, as the page reads it."""
    (item,) = server.get(f"/api/v1/runs/{run.id}/media?key={key}")["items"]
    return server.get(f"/api/v1/runs/{run.id}/media/{item['mediaId']}")


def test_a_classifier(server):
    """Scores are scikit-learn's own, and each plot has its table."""
    run = rd.init(project="sklearn")
    model = RandomForestClassifier(10, random_state=0).fit(X[:150], Y[:150])
    scores = log_estimator(run, model, X[150:], Y[150:], prefix="forest", labels=["a", "b", "c"], step=3)
    assert run.finish()
    predicted = model.predict(X[150:])
    assert scores["accuracy"] == accuracy_score(Y[150:], predicted)
    assert scores["roc_auc"] == roc_auc_score(Y[150:], model.predict_proba(X[150:]), multi_class="ovr")
    assert history(server, run.id)[3] == {f"forest/{name}": value for name, value in scores.items()}
    whole = server.get(f"/api/v1/runs/{run.id}")
    assert whole["summary"]["forest/accuracy"] == scores["accuracy"]
    assert whole["config"]["forest"]["class"] == "RandomForestClassifier"
    assert whole["config"]["forest"]["params"]["n_estimators"] == 10
    found = media(server, run)
    assert {name for name, kind in found.items() if kind == "table"} == {
        f"forest/{name}" for name in PLOTS | {"feature_importance"}
    }
    assert {name for name, kind in found.items() if kind == "plotly"} == {
        f"forest/{name}_plot" for name in PLOTS | {"feature_importance"}
    }
    table = content(server, run, "forest/confusion_matrix")
    assert table["columns"] == ["actual", "a", "b", "c"]
    assert [row[1:] for row in table["rows"]] == confusion_matrix(Y[150:], predicted).tolist()


def test_without_probabilities_and_in_a_pipeline():
    """Curves come from the decision function, and names and importance from inside the pipeline."""
    with capture_run() as (run, memory):
        two = (Y > 0).astype(int)
        scores = log_estimator(run, SVC().fit(X, two), X, two)
        assert "roc_auc" not in scores
        pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, two)
        log_estimator(run, pipeline, X, two, prefix="pipe")
    assert memory.series("accuracy") == [scores["accuracy"]]
    assert len(memory.series("pipe/roc_auc")) == 1


def test_a_regressor():
    """Its own scores."""
    x, y = make_regression(100, 3, noise=1.0, random_state=0)
    with capture_run() as (run, memory):
        model = Ridge().fit(x, y)
        scores = log_estimator(run, model, x, y)
    assert scores["r2"] == model.score(x, y)
    assert memory.series("rmse") == [scores["rmse"]]
    assert scores["rmse"] ** 2 == pytest.approx(scores["mse"])


def test_a_search_and_a_learning_curve(server):
    """Candidates are steps, sizes are steps, and the best is in the summary."""
    run = rd.init(project="sklearn")
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=3).fit(X, Y)
    log_search(run, search)
    log_learning_curve(run, LogisticRegression(), X, Y, cv=3)
    assert run.finish()
    expected = list(enumerate(search.cv_results_["mean_test_score"].tolist()))
    assert server.points(run.id, "search/mean_test_score") == expected
    assert server.points(run.id, "search/params/C") == [(0, 0.1), (1, 1.0), (2, 10.0)]
    summary = server.get(f"/api/v1/runs/{run.id}")["summary"]
    assert summary["search/best_params"] == search.best_params_
    assert summary["search/best_score"] == search.best_score_
    sizes, _, test = learning_curve(LogisticRegression(), X, Y, cv=3)
    assert server.points(run.id, "learning_curve/test") == list(zip(sizes.tolist(), test.mean(1).tolist()))
    assert media(server, run)["search/candidates"] == "table"


def test_nothing_raises():
    """An estimator that cannot predict costs a warning for what could not be computed."""

    class Broken(LogisticRegression):
        def predict(self, X):
            raise RuntimeError("no")

    with capture_run() as (run, memory):
        model = Broken().fit(X, Y)
        with pytest.warns(RuntimeWarning, match="not logged"):
            scores = log_estimator(run, model, X, Y)
            log_search(run, model)
            log_learning_curve(run, object(), np.zeros(3), np.zeros(3))
    assert set(scores) == {"log_loss", "roc_auc"}
    assert memory.series("log_loss") == [scores["log_loss"]]
