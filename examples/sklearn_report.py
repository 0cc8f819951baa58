"""A report on estimators of scikit-learn: `python examples/sklearn_report.py`."""

from __future__ import annotations

from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split

import rundial as rd
from rundial.integrations.sklearn import log_estimator, log_learning_curve, log_search


def main() -> None:
    features, kinds = make_classification(600, 8, n_informative=5, n_classes=3, random_state=7)
    train_x, test_x, train_y, test_y = train_test_split(features, kinds, random_state=7)
    with rd.init(project="reports", tags=["sklearn"]) as run:
        search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.01, 0.1, 1.0, 10.0]}, cv=3)
        search.fit(train_x, train_y)
        log_search(run, search)
        log_learning_curve(run, search.best_estimator_, train_x, train_y, cv=3)
        for name, estimator in {"linear": search, "forest": RandomForestClassifier(50, random_state=7)}.items():
            estimator.fit(train_x, train_y)
            scores = log_estimator(run, estimator, test_x, test_y, prefix=name, labels=["red", "green", "blue"])
            print(f"{name}: accuracy {scores['accuracy']:.2f}, area under the ROC curve {scores['roc_auc']:.2f}")


if __name__ == "__main__":
    main()
