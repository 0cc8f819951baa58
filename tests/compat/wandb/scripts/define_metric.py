"""Metrics over their own axis, with the best value in the summary."""

import wandb

run = wandb.init(project="define-metric")
run.define_metric("epoch")
run.define_metric("val/*", step_metric="epoch")
run.define_metric("val/acc", summary="max")
run.define_metric("val/loss", summary="min")
for epoch, (acc, loss) in enumerate([(0.2, 2.0), (0.8, 0.4), (0.5, 0.9)]):
    run.log({"epoch": epoch, "val/acc": acc, "val/loss": loss})
print(run.summary["val/acc"]["max"], run.summary["val/loss"]["min"], run.summary["epoch"])
run.finish()
