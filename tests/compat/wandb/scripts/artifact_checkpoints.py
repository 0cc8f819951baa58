"""A checkpoint for each epoch, the best one marked."""

import pickle

import wandb

best = 0.0
with wandb.init(project="checkpoints") as run:
    for epoch, score in enumerate([0.3, 0.7, 0.5]):
        with open("model.pkl", "wb") as file:
            pickle.dump({"epoch": epoch}, file)
        aliases = ["latest", f"epoch-{epoch}"] + (["best"] if score > best else [])
        best = max(best, score)
        artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata={"score": score})
        artifact.add_file("model.pkl")
        run.log_artifact(artifact, aliases=aliases)
        run.log({"score": score})
    path = run.log_artifact("model.pkl", name="final", type="model")
    print(best, path.type)
