"""A random search, and the best run of it."""

import wandb

config = {
    "method": "random",
    "metric": {"name": "score", "goal": "maximize"},
    "parameters": {"x": {"min": -1.0, "max": 1.0}, "kind": {"values": ["a", "b"]}},
}


def train():
    with wandb.init() as run:
        for step in range(3):
            run.log({"score": -(wandb.config.x**2) - step / 100})


sweep_id = wandb.sweep(config, project="sweep")
wandb.agent(sweep_id, function=train, count=4)
sweep = wandb.Api().sweep(f"sweep/{sweep_id}")
best = sweep.best_run()
print(len(sweep.runs), best.summary["score"] == max(run.summary["score"] for run in sweep.runs))
