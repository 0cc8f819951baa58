"""scikit-learn: what an estimator is and how well it does, as configuration, summary, tables and plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import metrics
from sklearn.base import is_classifier, is_regressor
from sklearn.model_selection import learning_curve

from rundial.diagnostics import warn
from rundial.integrations._adapter import is_rank_zero, last_step
from rundial.runs import Run

if TYPE_CHECKING:
    from rundial.media import Plotly, Table

MAX_POINTS = 1000
"""Of a longer curve every n-th point is kept, and its last."""


def log_estimator(
    run: Run,
    estimator: Any,
    X: Any = None,
    y: Any = None,
    *,
    prefix: str = "",
    step: int | None = None,
    labels: Sequence[Any] | None = None,
) -> dict[str, float]:
    """Log an estimator: its parameters as configuration, and, with data, its scores, tables and plots.

    A classifier has ``accuracy``, ``balanced_accuracy``, ``f1``, ``precision`` and ``recall`` (averaged over the
    classes), ``log_loss`` and ``roc_auc`` where it gives probabilities, a confusion matrix, and ROC and
    precision-recall curves, one for each class. A regressor has ``r2``, ``mae``, ``mse`` and ``rmse``, and its
    residuals. Both have the importance of their features, if they know it. Each plot comes with a table of its numbers.

    Args:
        run: where it goes.
        estimator: fitted, if there is data; a pipeline or a search, too.
        X, y: (n, features) and (n,), such as the test data.
        prefix: put before every name, with ``/``, to tell several estimators or data apart.
        step: of all of it; left out, the highest step logged so far.
        labels: names of the classes in the order of ``estimator.classes_``.

    Returns:
        The scores. Nothing raises: what cannot be computed is a warning.
    """
    if not is_rank_zero():
        return {}
    at = last_step(run) if step is None else step
    found: dict[str, float] = {}
    before = f"{prefix}/" if prefix else ""

    def attempt(what: str, make: Callable[[], Mapping[str, Any]]) -> None:
        try:
            values = make()
        except Exception as error:  # noqa: BLE001 - an estimator of somebody else's, data of another shape
            warn(f"{what} of {type(estimator).__name__} not logged: {type(error).__name__}: {error}")
            return
        found.update({name: value for name, value in values.items() if isinstance(value, float)})
        if values:
            run.log({before + name: value for name, value in values.items()}, step=at)

    _configure(run, estimator, prefix)
    attempt("feature importance", lambda: _importance(estimator))
    if X is None or y is None:
        return {}
    truth = np.asarray(y)
    if is_classifier(estimator):
        names = [str(name) for name in (labels if labels is not None else estimator.classes_)]
        attempt("scores", lambda: _class_scores(truth, estimator.predict(X)))
        attempt("confusion matrix", lambda: _confusion(truth, estimator.predict(X), estimator.classes_, names))
        if hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function"):
            attempt("curves", lambda: _curves(truth, _class_confidence(estimator, X), estimator.classes_, names))
        if hasattr(estimator, "predict_proba"):
            attempt("probabilities", lambda: _probability_scores(truth, estimator.predict_proba(X), estimator.classes_))
    elif is_regressor(estimator):
        attempt("scores", lambda: _regression(truth, np.asarray(estimator.predict(X))))
    run.summary.update({before + name: value for name, value in found.items()})
    return found


def log_search(run: Run, search: Any, *, prefix: str = "") -> None:
    """Log a fitted ``GridSearchCV`` or the like: each candidate at a step of its own, the best in the summary.

    Candidates have ``search/mean_test_score`` and what else ``cv_results_`` says in numbers, and the table
    ``search/candidates`` has them all.

    Args:
        run: where it goes.
        search: fitted.
        prefix: put before every name, with ``/``.
    """
    if not is_rank_zero():
        return
    try:
        from rundial.media import Table

        before = f"{prefix}/search" if prefix else "search"
        results = {name: np.ma.getdata(values) for name, values in search.cv_results_.items() if name != "params"}
        numbers = {name: values for name, values in results.items() if values.dtype.kind in "fiu"}
        candidates = search.cv_results_["params"]
        for index, params in enumerate(candidates):
            row = {name: values[index].item() for name, values in numbers.items()}
            run.log({before: {**row, "params": {name: _logged(value) for name, value in params.items()}}}, step=index)
        names = [name for name in numbers if not name.startswith("param_")]
        rows = [[str(params), *(numbers[name][i].item() for name in names)] for i, params in enumerate(candidates)]
        run.log({f"{before}/candidates": Table(columns=["params", *names], data=rows)}, step=len(candidates) - 1)
        best = int(search.best_index_)
        about: dict[str, Any] = {
            "best_index": best,
            "best_params": {k: _logged(v) for k, v in candidates[best].items()},
        }
        if hasattr(search, "best_score_"):
            about["best_score"] = float(search.best_score_)
        run.summary.update({f"{before}/{name}": value for name, value in about.items()})
    except Exception as error:  # noqa: BLE001 - a script that has searched for hours must not end here
        warn(f"the search was not logged: {type(error).__name__}: {error}")


def log_learning_curve(run: Run, estimator: Any, X: Any, y: Any, *, prefix: str = "", **kwargs: Any) -> None:
    """Fit an estimator on growing parts of the data, and log its scores with their size as the step.

    Takes as long as the fits take.

    Args:
        run: where it goes.
        estimator: need not be fitted, and is not changed.
        X, y: (n, features) and (n,).
        prefix: put before every name, with ``/``.
        kwargs: of ``sklearn.model_selection.learning_curve``, such as ``cv``, ``train_sizes`` and ``scoring``.
    """
    if not is_rank_zero():
        return
    try:
        sizes, train, test = learning_curve(estimator, X, y, **kwargs)[:3]
        before = f"{prefix}/learning_curve" if prefix else "learning_curve"
        for size, of_train, of_test in zip(sizes.tolist(), train, test):
            scores = {"train": of_train.mean(), "test": of_test.mean(), "test_std": of_test.std()}
            run.log({before: {name: float(score) for name, score in scores.items()}}, step=size)
    except Exception as error:  # noqa: BLE001 - as above
        warn(f"the learning curve was not logged: {type(error).__name__}: {error}")


# -- the parts of it ---------------------------------------------------------------------------------------------------


def _configure(run: Run, estimator: Any, prefix: str) -> None:
    try:
        params = {name: _logged(value) for name, value in estimator.get_params().items()}
        about = {"class": type(estimator).__name__, "params": params}
        run.update_config({prefix or "estimator": about})
    except Exception as error:  # noqa: BLE001 - an estimator of somebody else's
        warn(f"parameters of {type(estimator).__name__} not logged: {type(error).__name__}: {error}")


def _logged(value: Any) -> Any:
    """A parameter as it is if it is plain; an estimator or function as text."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)) and len(value) < 100:
        return [_logged(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)[:500]


def _final(estimator: Any) -> Any:
    """What predicts in a search or at the end of a pipeline."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _feature_names(estimator: Any, count: int) -> list[str]:
    whole = getattr(estimator, "best_estimator_", estimator)
    names: Any = getattr(_final(estimator), "feature_names_in_", None)
    if names is None and hasattr(whole, "steps") and len(whole.steps) > 1:
        try:
            names = whole[:-1].get_feature_names_out()
        except (AttributeError, ValueError):  # a step that does not know what it makes
            names = None
    return (
        [str(name) for name in names] if names is not None and len(names) == count else [f"x{i}" for i in range(count)]
    )


def _importance(estimator: Any) -> dict[str, Any]:
    final = _final(estimator)
    values = getattr(final, "feature_importances_", None)
    if values is None:
        values = getattr(final, "coef_", None)
        if values is None:
            return {}
        values = np.abs(np.atleast_2d(values)).mean(0)
    values = np.asarray(values, float)
    names = _feature_names(estimator, len(values))
    rows = [[names[index], float(values[index])] for index in np.argsort(-values)]
    top = rows[:50]
    bars = [{"type": "bar", "x": [name for name, _ in top], "y": [value for _, value in top]}]
    return _both("feature_importance", ["feature", "importance"], rows, bars, "feature", "importance")


def _class_scores(truth: Any, predicted: Any) -> dict[str, Any]:
    averaged = {"average": "macro", "zero_division": 0.0}
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(truth, predicted)),
        "f1": float(metrics.f1_score(truth, predicted, **averaged)),
        "precision": float(metrics.precision_score(truth, predicted, **averaged)),
        "recall": float(metrics.recall_score(truth, predicted, **averaged)),
    }


def _probability_scores(truth: Any, probabilities: Any, classes: Any) -> dict[str, Any]:
    scores = {"log_loss": float(metrics.log_loss(truth, probabilities, labels=classes))}
    if len(np.unique(truth)) == len(classes):
        shown = probabilities[:, 1] if len(classes) == 2 else probabilities
        several: dict[str, Any] = {} if len(classes) == 2 else {"multi_class": "ovr", "labels": classes}
        scores["roc_auc"] = float(metrics.roc_auc_score(truth, shown, **several))
    return scores


def _confusion(truth: Any, predicted: Any, classes: Any, names: list[str]) -> dict[str, Any]:
    counts = metrics.confusion_matrix(truth, predicted, labels=classes).tolist()
    rows = [[name, *row] for name, row in zip(names, counts)]
    heat = [{"type": "heatmap", "x": names, "y": names, "z": counts}]
    return _both("confusion_matrix", ["actual", *names], rows, heat, "predicted", "actual")


def _class_confidence(estimator: Any, X: Any) -> Any:
    """(n, classes): how much each class is believed in."""
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(X))
    decided = np.asarray(estimator.decision_function(X))
    return np.stack([-decided, decided], 1) if decided.ndim == 1 else decided


def _curves(truth: Any, confidence: Any, classes: Any, names: list[str]) -> dict[str, Any]:
    roc: list[list[Any]] = []
    recall: list[list[Any]] = []
    roc_lines: list[dict[str, Any]] = []
    recall_lines: list[dict[str, Any]] = []
    for index, name in enumerate(names):
        is_one = truth == classes[index]
        if (len(classes) == 2 and index == 0) or is_one.all() or not is_one.any():
            continue  # of two classes one curve says it all
        x, y, _ = metrics.roc_curve(is_one, confidence[:, index])
        r_y, r_x, _ = metrics.precision_recall_curve(is_one, confidence[:, index])
        for rows, lines, first, second in ((roc, roc_lines, x, y), (recall, recall_lines, r_x, r_y)):
            first, second = _thinned(first), _thinned(second)
            rows += [[name, a, b] for a, b in zip(first, second)]
            lines.append({"type": "scatter", "mode": "lines", "name": name, "x": first, "y": second})
    return {
        **_both("roc", ["class", "fpr", "tpr"], roc, roc_lines, "false positive rate", "true positive rate"),
        **_both("precision_recall", ["class", "recall", "precision"], recall, recall_lines, "recall", "precision"),
    }


def _thinned(values: Any) -> list[float]:
    stride = -(-len(values) // MAX_POINTS)
    kept = values[::stride].tolist()
    return [*kept, float(values[-1])] if (len(values) - 1) % stride else list(kept)


def _regression(truth: Any, predicted: Any) -> dict[str, Any]:
    error = float(metrics.mean_squared_error(truth, predicted))
    scores: dict[str, Any] = {
        "r2": float(metrics.r2_score(truth, predicted)),
        "mae": float(metrics.mean_absolute_error(truth, predicted)),
        "mse": error,
        "rmse": error**0.5,
    }
    if truth.ndim == 1:
        x, y = _thinned(predicted.astype(float)), _thinned((truth - predicted).astype(float))
        points = [{"type": "scatter", "mode": "markers", "x": x, "y": y}]
        rows = [[a, b] for a, b in zip(x, y)]
        scores |= _both("residuals", ["predicted", "residual"], rows, points, "predicted", "actual - predicted")
    return scores


def _both(
    name: str, columns: list[str], rows: list[list[Any]], traces: list[dict[str, Any]], x: str, y: str
) -> dict[str, Table | Plotly]:
    """A table, and a plot of the same."""
    from rundial.media import Plotly, Table

    if not rows:
        return {}
    layout = {
        "title": {"text": name.replace("_", " ")},
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y}},
    }
    return {name: Table(columns=columns, data=rows), f"{name}_plot": Plotly({"data": traces, "layout": layout})}
