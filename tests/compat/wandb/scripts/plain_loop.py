"""A training loop that logs three numbers an epoch."""

import random

import wandb

random.seed(1)
wandb.init(project="plain-loop", config={"lr": 0.02, "architecture": "CNN", "epochs": 10})
offset = random.random() / 5
for epoch in range(2, wandb.config.epochs):
    accuracy = 1 - 2**-epoch - offset / epoch
    wandb.log({"epoch": epoch, "acc": accuracy, "loss": 2**-epoch + offset / epoch})
print(sorted(key for key in wandb.run.summary.keys() if not key.startswith("_")), round(wandb.run.summary["acc"], 6))
wandb.finish()
