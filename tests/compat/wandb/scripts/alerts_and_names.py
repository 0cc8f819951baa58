"""Alerts, and a run that is renamed on its way."""

import wandb
from wandb import AlertLevel

run = wandb.init(project="alerts", tags=["one"])
run.name = "renamed"
run.tags = run.tags + ("two",)
run.notes = "a longer text"
loss = 1.0
for step in range(3):
    loss *= 4
    if loss > 10:
        wandb.alert(title="High loss", text=f"loss is {loss}", level=AlertLevel.WARN, wait_duration=300)
    wandb.log({"loss": loss})
print(run.name, run.tags, run.notes)
wandb.finish(exit_code=0)
