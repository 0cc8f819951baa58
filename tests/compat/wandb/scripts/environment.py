"""Everything from environment variables."""

import os

os.environ.update(
    WANDB_PROJECT="from-env", WANDB_NAME="named", WANDB_TAGS="a,b", WANDB_NOTES="note", WANDB_RUN_GROUP="g"
)
import wandb

run = wandb.init()
print(run.name, run.tags, run.notes, run.group, run.project)
run.log({"x": 1})
run.finish()
