"""Runs as a data frame."""

import pandas as pd
import wandb

for number in range(3):
    with wandb.init(project="export", name=f"r{number}", config={"n": number}) as run:
        for step in range(4):
            run.log({"loss": number + 1 / (step + 1)})
runs = wandb.Api().runs("export")
frame = pd.DataFrame(
    [
        {"name": run.name, **{k: v for k, v in run.summary._json_dict.items() if not k.startswith("_")}, **run.config}
        for run in runs
    ]
)
print(frame.sort_values("n").to_csv(index=False))
run = next(iter(runs))
print([row["loss"] for row in run.scan_history()], run.history(keys=["loss"])["loss"].min())
