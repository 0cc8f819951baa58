"""A run that goes on where it was."""

import wandb

run_id = wandb.sdk.lib.runid.generate_id()
with wandb.init(project="resume", id=run_id, resume="allow", config={"lr": 0.1}) as run:
    for step in range(3):
        run.log({"loss": 1 / (step + 1)})
    print(run.id == run_id, run.resumed)
with wandb.init(project="resume", id=run_id, resume="allow") as run:
    run.log({"loss": 0.1})
    print(run.id == run_id)
