"""A dataset as an artifact."""

import json
import os

import wandb

os.makedirs("raw/train", exist_ok=True)
for number in range(3):
    with open(f"raw/train/{number}.json", "w") as file:
        json.dump({"n": number}, file)
with wandb.init(project="artifacts", job_type="upload") as run:
    artifact = wandb.Artifact("numbers", type="dataset", description="three numbers", metadata={"count": 3})
    artifact.add_dir("raw", name="data")
    artifact.add_file("raw/train/0.json", name="first.json")
    with artifact.new_file("readme.txt") as file:
        file.write("hello")
    artifact.add_reference("https://example.com/more.zip", name="more.zip", checksum=False)
    print(sorted(artifact.manifest.entries), artifact.type, artifact.metadata)
    run.log_artifact(artifact, aliases=["raw"])
