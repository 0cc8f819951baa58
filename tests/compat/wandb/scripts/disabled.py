"""Switched off, a script runs as if nothing were there."""

import wandb

run = wandb.init(project="disabled", mode="disabled", config={"lr": 0.1})
for step in range(3):
    wandb.log({"loss": step})
run.config.update({"batch": 4})
print(run.disabled, run.config["lr"], run.config.batch)
artifact = wandb.Artifact("data", type="dataset")
run.finish()
