"""The code of a run."""

import os

import wandb

os.makedirs("src", exist_ok=True)
with open("src/model.py", "w") as file:
    file.write("x = 1")
with wandb.init(project="code", settings=wandb.Settings(_disable_stats=True)) as run:
    artifact = run.log_code("src")
    print(artifact.type, sorted(artifact.manifest.entries))
    print(run.log_code("src", include_fn=lambda path: path.endswith(".ipynb")))
