"""Tables inside an artifact."""

import wandb

with wandb.init(project="artifact-tables") as run:
    artifact = wandb.Artifact("predictions", type="predictions")
    table = wandb.Table(columns=["x", "y"], data=[[1, 2], [3, 4]])
    entry = artifact.add(table, "results")
    print(entry.path)
    run.log_artifact(artifact)
    run.log({"results": table})
