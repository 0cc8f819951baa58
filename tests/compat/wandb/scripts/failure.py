"""An exception ends the run and goes on to the caller."""

import wandb

try:
    with wandb.init(project="failure") as run:
        run.log({"loss": float("nan")})
        run.log({"loss": float("inf")})
        raise RuntimeError("out of memory")
except RuntimeError as error:
    print("caught", error, wandb.run)
try:
    run.log({"after": 1})
except wandb.errors.UsageError:
    print("a finished run takes nothing")
