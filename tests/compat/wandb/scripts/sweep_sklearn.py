"""A grid search over a tree."""

import wandb
from sklearn.datasets import make_classification
from sklearn.tree import DecisionTreeClassifier

X, y = make_classification(100, 5, random_state=0)


def train(config=None):
    with wandb.init(config=config):
        config = wandb.config
        model = DecisionTreeClassifier(max_depth=config.max_depth, criterion=config.criterion, random_state=0)
        wandb.log({"accuracy": model.fit(X[:70], y[:70]).score(X[70:], y[70:])})


parameters = {"max_depth": {"values": [1, 2, 3]}, "criterion": {"values": ["gini", "entropy"]}, "seed": {"value": 0}}
sweep_id = wandb.sweep({"method": "grid", "parameters": parameters}, project="sweep-sklearn")
wandb.agent(sweep_id, train)
runs = wandb.Api().runs("sweep-sklearn", filters={"config.criterion": "gini"}, order="+config.max_depth")
print([run.config["max_depth"] for run in runs], wandb.Api().sweep(sweep_id).state)
