"""The smallest run: no account, no server, no network. Look at it with `rundial ui`."""

import math

import rundial as rd

run = rd.init(project="quickstart", config={"lr": 0.1, "steps": 100})
for step in range(100):
    loss = math.exp(-0.05 * step)
    run.log({"train/loss": loss, "train/accuracy": 1 - loss}, step=step)
run.summary["best_loss"] = loss
run.finish()
