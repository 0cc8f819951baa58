"""Cross validation: a run for each fold, in one group."""

import wandb

scores = []
for fold in range(3):
    run = wandb.init(project="folds", group="cv", job_type="train", name=f"fold-{fold}", reinit=True)
    for epoch in range(4):
        run.log({"score": fold + epoch / 10})
    scores.append(run.summary["score"])
    print(run.group, run.job_type, run.name)
    run.finish()
print(scores, wandb.run)
