"""A regression, and a search over its regularisation by hand."""

import warnings

warnings.simplefilter("ignore")
import wandb
from sklearn.datasets import make_regression
from sklearn.linear_model import Ridge

X, y = make_regression(80, 4, noise=5, random_state=0)
for alpha in (0.1, 1.0):
    with wandb.init(project="ridge", config={"alpha": alpha}, reinit=True) as run:
        model = Ridge(alpha=alpha).fit(X[:60], y[:60])
        run.log({"r2": model.score(X[60:], y[60:])})
        wandb.sklearn.plot_residuals(model, X, y)
        wandb.sklearn.plot_outlier_candidates(model, X, y)
        print(alpha, round(run.summary["r2"], 4))
