"""``wandb.sklearn``: the usual plots of a model of scikit-learn, in the active run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rundial.compat import wandb
from rundial.compat.wandb import plot
from rundial.compat.wandb._table import Table
from rundial.compat.wandb.errors.term import termwarn

ELBOW_RANGE = range(1, 10)


def _log(name: str, make: Callable[[], Any]) -> None:
    """Log one plot. One that cannot be made costs only itself, as in W&B."""
    if wandb.run is None:
        raise wandb.Error(f"You must call wandb.init() before wandb.sklearn.plot_{name}()")
    try:
        chart = make()
    except Exception as error:  # noqa: BLE001 - a model may lack what a plot needs in its own ways
        termwarn(f"could not plot {name}: {type(error).__name__}: {error}", repeat=False)
        return
    wandb.run.log({name: chart})


def plot_classifier(
    model: Any,
    X_train: Any,
    X_test: Any,
    y_train: Any,
    y_test: Any,
    y_pred: Any,
    y_probas: Any,
    labels: Sequence[str] | None,
    is_binary: bool = False,
    model_name: str = "Classifier",
    feature_names: Sequence[str] | None = None,
    log_learning_curve: bool = False,
) -> None:
    """All plots of a classifier."""
    plot_feature_importances(model, feature_names)
    if log_learning_curve:
        plot_learning_curve(model, X_train, y_train)
    plot_confusion_matrix(y_test, y_pred, labels)
    plot_summary_metrics(model, X=X_train, y=y_train, X_test=X_test, y_test=y_test)
    plot_class_proportions(y_train, y_test, labels)
    if is_binary:
        plot_calibration_curve(model, X_train, y_train, model_name)
    plot_roc(y_test, y_probas, labels)
    plot_precision_recall(y_test, y_probas, labels)


def plot_regressor(
    model: Any, X_train: Any, X_test: Any, y_train: Any, y_test: Any, model_name: str = "Regressor"
) -> None:
    """All plots of a regressor."""
    plot_summary_metrics(model, X_train, y_train, X_test, y_test)
    plot_learning_curve(model, X_train, y_train)
    plot_outlier_candidates(model, X_train, y_train)
    plot_residuals(model, X_train, y_train)


def plot_clusterer(
    model: Any, X_train: Any, cluster_labels: Any, labels: Sequence[str] | None = None, model_name: str = "Clusterer"
) -> None:
    """All plots of a clusterer."""
    plot_elbow_curve(model, X_train)
    plot_silhouette(model, X_train, cluster_labels, labels)


def plot_roc(y_true: Any = None, y_probas: Any = None, labels: Any = None, *others: Any, **more: Any) -> None:
    """The ROC curves."""
    _log("roc", lambda: plot.roc_curve(y_true, y_probas, labels))


def plot_precision_recall(
    y_true: Any = None, y_probas: Any = None, labels: Any = None, *others: Any, **more: Any
) -> None:
    """The precision-recall curves."""
    _log("precision_recall", lambda: plot.pr_curve(y_true, y_probas, labels))


def plot_confusion_matrix(
    y_true: Any = None, y_pred: Any = None, labels: Any = None, true_labels: Any = None, pred_labels: Any = None,
    normalize: bool = False,
) -> None:  # fmt: skip
    """The confusion matrix."""
    _log("confusion_matrix", lambda: plot.confusion_matrix(y_true=y_true, preds=y_pred, class_names=labels))


def plot_feature_importances(
    model: Any = None, feature_names: Sequence[str] | None = None, title: str = "Feature Importance",
    max_num_features: int = 50,
) -> None:  # fmt: skip
    """How much each feature counts, the greatest first."""

    def make() -> Any:
        import numpy as np

        values = getattr(model, "feature_importances_", None)
        if values is None:
            values = model.coef_
        weights = np.abs(np.atleast_2d(values)).mean(axis=0) if np.ndim(values) > 1 else np.asarray(values)
        names = [str(n) for n in feature_names] if feature_names is not None else [str(n) for n in range(len(weights))]
        order = np.argsort(weights)[::-1][:max_num_features]
        table = Table(columns=["feature_names", "importances"], data=[[names[i], float(weights[i])] for i in order])
        return plot.bar(table, "feature_names", "importances", title)

    _log("feature_importances", make)


def plot_learning_curve(
    model: Any = None, X: Any = None, y: Any = None, cv: Any = None, shuffle: bool = False, random_state: Any = None,
    train_sizes: Any = None, n_jobs: int = 1, scoring: Any = None,
) -> None:  # fmt: skip
    """The score over the number of samples, on them and on others."""

    def make() -> Any:
        import numpy as np
        from sklearn.model_selection import learning_curve

        sizes = np.linspace(0.1, 1.0, 5) if train_sizes is None else train_sizes
        amounts, train, test = learning_curve(
            model, X, y, cv=cv, train_sizes=sizes, n_jobs=n_jobs, scoring=scoring, shuffle=shuffle,
            random_state=random_state,
        )[:3]  # fmt: skip
        lines = [train.mean(axis=1), test.mean(axis=1)]
        return plot.line_series(amounts, lines, ["train", "test"], "Learning Curve", "train_size")

    _log("learning_curve", make)


def plot_summary_metrics(
    model: Any = None, X: Any = None, y: Any = None, X_test: Any = None, y_test: Any = None
) -> None:
    """The usual scores on the test data, as bars and in the summary."""

    def make() -> Any:
        from sklearn import metrics
        from sklearn.base import clone, is_classifier

        fitted = clone(model).fit(X, y)
        guesses = fitted.predict(X_test)
        if is_classifier(model):
            average = "weighted"
            found = {
                "accuracy_score": metrics.accuracy_score(y_test, guesses),
                "precision": metrics.precision_score(y_test, guesses, average=average, zero_division=0),
                "recall": metrics.recall_score(y_test, guesses, average=average, zero_division=0),
                "f1_score": metrics.f1_score(y_test, guesses, average=average, zero_division=0),
            }
        else:
            found = {
                "mae": metrics.mean_absolute_error(y_test, guesses),
                "mse": metrics.mean_squared_error(y_test, guesses),
                "r2_score": metrics.r2_score(y_test, guesses),
            }
        rows = [[name, float(value)] for name, value in found.items()]
        assert wandb.run is not None
        wandb.run.summary.update({name: float(value) for name, value in found.items()})
        return plot.bar(Table(columns=["metric_name", "metric_value"], data=rows), "metric_name", "metric_value")

    _log("summary_metrics", make)


def plot_class_proportions(y_train: Any = None, y_test: Any = None, labels: Any = None) -> None:
    """How often each class occurs in either part of the data."""

    def make() -> Any:
        import numpy as np

        rows = []
        for part, values in (("train", y_train), ("test", y_test)):
            classes, counts = np.unique(np.asarray(values), return_counts=True)
            for at, (label, count) in enumerate(zip(classes, counts)):
                rows.append(
                    [f"{labels[at] if labels is not None and at < len(labels) else label} ({part})", int(count)]
                )
        return plot.bar(Table(columns=["class", "count"], data=rows), "class", "count", "Class Proportions")

    _log("class_proportions", make)


def plot_calibration_curve(clf: Any = None, X: Any = None, y: Any = None, clf_name: str = "Classifier") -> None:
    """How often a prediction with some probability comes true."""

    def make() -> Any:
        from sklearn.base import clone
        from sklearn.calibration import calibration_curve
        from sklearn.model_selection import train_test_split

        train, test, truth_train, truth = train_test_split(X, y, test_size=0.1, random_state=42)
        scores = clone(clf).fit(train, truth_train).predict_proba(test)[:, 1]
        true, predicted = calibration_curve(truth, scores, n_bins=10)
        return plot.line_series(predicted, [true, predicted], [clf_name, "perfect"], "Calibration Curve", "predicted")

    _log("calibration_curve", make)


def plot_outlier_candidates(regressor: Any = None, X: Any = None, y: Any = None) -> None:
    """Cook's distance of each sample."""

    def make() -> Any:
        import numpy as np
        from sklearn.base import clone

        samples, truth = np.asarray(X, float), np.asarray(y, float)
        residuals = truth - clone(regressor).fit(X, y).predict(X)
        leverage = np.clip((samples * np.linalg.pinv(samples).T).sum(axis=1), 0, 1 - 1e-9)
        error = residuals @ residuals / max(1, len(truth) - samples.shape[1])
        distance = residuals**2 / (samples.shape[1] * error) * (leverage / (1 - leverage) ** 2)
        rows = [[number, float(value)] for number, value in enumerate(distance)]
        return plot.scatter(Table(columns=["instance", "distance"], data=rows), "instance", "distance", "Outliers")

    _log("outlier_candidates", make)


def plot_residuals(regressor: Any = None, X: Any = None, y: Any = None) -> None:
    """What the prediction is off by, over the prediction."""

    def make() -> Any:
        import numpy as np
        from sklearn.base import clone

        guesses = clone(regressor).fit(X, y).predict(X)
        rows = [[float(guess), float(off)] for guess, off in zip(guesses, np.asarray(y, float) - guesses)]
        return plot.scatter(Table(columns=["predicted", "residual"], data=rows), "predicted", "residual", "Residuals")

    _log("residuals", make)


def plot_elbow_curve(
    clusterer: Any = None, X: Any = None, cluster_ranges: Any = None, n_jobs: int = 1, show_cluster_time: bool = True
) -> None:
    """How well the data is grouped, over the number of groups."""

    def make() -> Any:
        from sklearn.base import clone

        sizes = list(cluster_ranges or ELBOW_RANGE)
        scores = []
        for size in sizes:
            fitted = clone(clusterer).set_params(n_clusters=size).fit(X)
            scores.append(abs(float(fitted.score(X))))
        return plot.line_series(sizes, [scores], ["sum of squared errors"], "Elbow Plot", "clusters")

    _log("elbow_curve", make)


def plot_silhouette(
    clusterer: Any = None, X: Any = None, cluster_labels: Any = None, labels: Any = None, metric: str = "euclidean",
    kmeans: bool = True,
) -> None:  # fmt: skip
    """How much nearer each sample is to its own group than to the next, group by group."""

    def make() -> Any:
        import numpy as np
        from sklearn.base import clone
        from sklearn.metrics import silhouette_samples

        groups = np.asarray(clone(clusterer).fit_predict(X) if cluster_labels is None else cluster_labels)
        values = silhouette_samples(X, groups, metric=metric)
        order = np.lexsort((-values, groups))
        rows = [[int(at), str(groups[number]), float(values[number])] for at, number in enumerate(order)]
        table = Table(columns=["sample", "cluster", "silhouette"], data=rows)
        return plot.line(table, "sample", "silhouette", "cluster", "Silhouette Plot")

    _log("silhouette_curve", make)
