"""Hyper-parameters from the command line."""

import argparse

import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--lr", type=float, default=0.01)
parser.add_argument("--name", default="baseline")
args = parser.parse_args()
run = wandb.init(project="argparse", name=args.name, config=vars(args), tags=["cli", "small"], notes="from a shell")
print(run.name, run.tags, run.notes, dict(run.config))
run.config.update(argparse.Namespace(lr=0.5), allow_val_change=True)
for step in range(3):
    run.log({"loss": run.config["lr"] / (step + 1)})
print(run.config.lr, run.summary["loss"])
run.finish()
