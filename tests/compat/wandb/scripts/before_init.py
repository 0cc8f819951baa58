"""What there is before a run."""

import wandb

print(wandb.run)
for action in (lambda: wandb.log({"a": 1}), lambda: wandb.config.lr, lambda: wandb.summary["a"]):
    try:
        action()
    except wandb.Error:
        print("needs a run")
print(hasattr(wandb, "init"), hasattr(wandb, "no_such_thing"), isinstance(wandb.__version__, str))
