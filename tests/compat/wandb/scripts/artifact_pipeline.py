"""Three jobs that hand artifacts to one another."""

import pathlib

import wandb

with wandb.init(project="pipeline", job_type="data") as run:
    data = wandb.Artifact("data", type="dataset")
    with data.new_file("numbers.txt") as file:
        file.write("1 2 3")
    run.log_artifact(data)
with wandb.init(project="pipeline", job_type="train") as run:
    folder = run.use_artifact("data:latest", type="dataset").download()
    numbers = [int(word) for word in pathlib.Path(folder, "numbers.txt").read_text().split()]
    model = wandb.Artifact("model", type="model", metadata={"sum": sum(numbers)})
    with model.new_file("weights.txt") as file:
        file.write(str(sum(numbers)))
    run.log_artifact(model, aliases=["best"])
with wandb.init(project="pipeline", job_type="test") as run:
    model = run.use_artifact("model:best")
    print(model.metadata["sum"], pathlib.Path(model.get_path("weights.txt").download()).read_text(), model.version)
    run.link_artifact(model, "model-registry/Summers")
producer = wandb.Api().artifact("pipeline/model:best").logged_by()
print(producer.job_type)
