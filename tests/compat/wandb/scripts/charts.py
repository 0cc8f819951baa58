"""Charts of wandb.plot."""

import numpy as np
import wandb

rng = np.random.default_rng(0)
truth, scores = rng.integers(0, 3, 60), rng.dirichlet([1, 1, 1], 60)
labels = ["a", "b", "c"]
with wandb.init(project="charts") as run:
    table = wandb.Table(columns=["x", "y", "label"], data=[[n, n**2, str(n)] for n in range(5)])
    run.log(
        {
            "line": wandb.plot.line(table, "x", "y", title="line"),
            "scatter": wandb.plot.scatter(table, "x", "y"),
            "bar": wandb.plot.bar(table, "label", "y", title="bar"),
            "histogram": wandb.plot.histogram(table, "y"),
            "series": wandb.plot.line_series(xs=[0, 1, 2], ys=[[1, 2, 3], [3, 2, 1]], keys=["up", "down"]),
            "confusion": wandb.plot.confusion_matrix(
                y_true=truth.tolist(), preds=scores.argmax(1).tolist(), class_names=labels
            ),
            "roc": wandb.plot.roc_curve(truth, scores, labels=labels),
            "pr": wandb.plot.pr_curve(truth, scores, labels=labels),
        }
    )
    print(run.step)
