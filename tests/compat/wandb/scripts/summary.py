"""Results that are no series."""

import wandb

with wandb.init(project="summary") as run:
    for step in range(5):
        run.log({"acc": step / 10})
    run.summary["best_acc"] = 0.9
    run.summary.update({"verdict": "good", "matrix": [[1, 2], [3, 4]]})
    run.summary.extra = {"a": 1}
    print(run.summary["best_acc"], run.summary.get("nothing"), run.summary["acc"], run.summary["extra"]["a"])
print(wandb.run)
