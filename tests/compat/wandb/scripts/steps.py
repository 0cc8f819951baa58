"""Own steps, rows in parts, nested values."""

import wandb

run = wandb.init(project="steps")
run.log({"a": 1})
run.log({"b": 2}, commit=False)
run.log({"c": 3})
print(run.step)
run.log({"loss": 0.5, "parts": {"x": 1, "y": 2}}, step=10)
run.log({"lr": 0.1}, step=10)
run.log({"late": 1})
print(run.step, run.summary["parts"]["x"], run.summary["lr"], run.summary["c"])
run.finish()
