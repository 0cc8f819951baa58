"""A classifier with all its charts."""

import warnings

warnings.simplefilter("ignore")
import wandb
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

X, y = make_classification(120, 6, n_classes=3, n_informative=4, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = RandomForestClassifier(10, random_state=0).fit(X_train, y_train)
labels = ["a", "b", "c"]
with wandb.init(project="sklearn", config=model.get_params()) as run:
    wandb.sklearn.plot_confusion_matrix(y_test, model.predict(X_test), labels)
    wandb.sklearn.plot_feature_importances(model, list("uvwxyz"))
    wandb.sklearn.plot_roc(y_test, model.predict_proba(X_test), labels)
    wandb.sklearn.plot_precision_recall(y_test, model.predict_proba(X_test), labels)
    wandb.sklearn.plot_class_proportions(y_train, y_test, labels)
    run.summary["accuracy"] = model.score(X_test, y_test)
    print(run.config["n_estimators"], round(run.summary["accuracy"], 3))
