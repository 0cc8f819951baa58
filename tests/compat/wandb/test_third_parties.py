"""What libraries that need GPUs or much else do with W&B, in the order in which their loggers do it."""

import glob
import re
from pathlib import Path

import numpy as np
import pytest

import rundial.compat.wandb as wandb


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values(server, run_id, key):
    """The values of a curve."""
    return [value for _, value in server.points(run_id, key)]


def files_of(server, run_id):
    """The names of the artifacts that a run made."""
    return [row["name"] for row in server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"] if row["role"] == "made"]


def test_torchtune(server):
    """It labels the run, defines the axis, keeps a file of the configuration and logs the axis beside each value."""
    assert wandb.run is None
    run = wandb.init(project="torchtune", entity=None, group="g", dir="logs/here", name="n")
    wandb.run._label(repo="torchtune")
    wandb.define_metric("global_step")
    wandb.define_metric("*", step_metric="global_step", step_sync=True)
    wandb.config.update({"optimizer": {"lr": 0.1}}, allow_val_change=False)
    file = Path("logs/here/torchtune_config.yaml")
    file.write_text("a: 1")
    wandb.save(file, base_path=file.parent)
    wandb.log({"loss": 2.0, "global_step": 5})
    wandb.log({"lr": 0.1, "tokens_per_second": 7, "global_step": 6})
    wandb.finish()
    assert (values(server, run.id, "loss"), values(server, run.id, "global_step")) == ([2.0], [5, 6])
    stored = server.get(f"/api/v1/runs/{run.id}")
    assert (stored["group"], stored["config"]["optimizer"]) == ("g", {"lr": 0.1})
    assert any("torchtune_config.yaml" in name for name in files_of(server, run.id))


def test_verl(server):
    """It logs by keyword at its own steps, and a table of answers that grows with each validation."""
    settings = wandb.Settings(https_proxy="http://proxy:1")
    wandb.init(project="verl", name="n", entity=None, config={"trainer": {"steps": 2}}, settings=settings)
    run_id, columns, table = wandb.run.id, ["step", "input_1", "output_1", "score_1"], None
    for step in range(2):
        wandb.log(data={"actor/loss": 1 / (step + 1)}, step=step)
        table = wandb.Table(columns=columns, data=table.data if table is not None else [])
        table.add_data(step, "in", "out", 0.5)
        wandb.log({"val/generations": table}, step=step)
    wandb.finish(exit_code=0)
    assert values(server, run_id, "actor/loss") == [1.0, 0.5]
    items = server.get(f"/api/v1/runs/{run_id}/media")["items"]
    assert [(item["step"], item["tableRows"]) for item in items] == [(0, 1), (1, 2)]


def test_lerobot(server):
    """It finds the id of the run to go on with from the folder on disk, and resumes one that has ended."""
    given = {"project": "lerobot", "dir": Path("out").absolute(), "tags": ["policy:act"], "job_type": "train_eval"}
    wandb.init(id=None, config={"lr": 1}, save_code=False, resume=None, mode="online", notes=None, **given)
    run_id = wandb.run.id
    assert wandb.run.get_url() == wandb.run.url
    wandb.define_metric("train/Interaction step", hidden=True)
    wandb.log({"train/reward": 2.0, "train/Interaction step": 7})
    wandb.log(data={"train/loss": 1.0}, step=10)
    weights = Path("out/model.safetensors")
    weights.write_text("w")
    artifact = wandb.Artifact("policy_act-000010", type="model")
    artifact.add_file(weights)
    wandb.log_artifact(artifact)
    wandb.finish()
    (found,) = glob.glob(str(Path("out/wandb/latest-run/run-*")))  # noqa: PTH207 - as it looks there
    match = re.search(r"run-([^\.]+).wandb", Path(found).name)
    assert match is not None and match[1] == run_id
    wandb.init(id=match[1], config={"lr": 1}, resume="must", mode="online", **given)
    wandb.log(data={"train/loss": 0.5}, step=20)
    wandb.finish()
    assert server.points(run_id, "train/loss") == [(10, 1.0), (20, 0.5)]
    assert files_of(server, run_id) == ["policy_act-000010"]


def test_composer(server):
    """It keeps entity and project for the path of a checkpoint, which another run brings back without a run."""
    wandb.init(project="composer", name="n", group="g")
    run, entity, project = wandb.run, wandb.run.entity, wandb.run.project
    assert entity and project == "composer" and Path(run.dir).is_dir()
    wandb.config.update({"lr": 1})
    wandb.log({"loss": 1.0}, 3)
    wandb.log({"T": wandb.Table(columns=["a"], rows=[[1]])}, step=3)
    masks = {"m": {"mask_data": np.zeros((8, 8), np.int64), "class_labels": {0: "c"}}}
    table = wandb.Table(columns=["I"])
    table.add_data(wandb.Image(np.zeros((8, 8, 3), np.float32), masks=masks))
    wandb.log({"I Table": table}, step=3)
    weights = Path("ep1.pt")
    weights.write_text("weights")
    artifact = wandb.Artifact(name="ckpt.ep1.pt", type="model", metadata={"timestamp/epoch": 1})
    artifact.add_file(str(weights.absolute()))
    wandb.log_artifact(artifact, aliases=["latest", "ep1-ba2"])
    wandb.finish(0)
    found = wandb.Api().artifact("/".join([entity, project, "ckpt.ep1.pt:latest"]))
    found.download(root="back/")
    assert [path.read_text() for path in Path("back").iterdir()] == ["weights"]
    with pytest.raises(wandb.errors.CommError):
        wandb.Api().artifact("/".join([entity, project, "nothing:latest"]))
    assert {item["key"] for item in server.get(f"/api/v1/runs/{run.id}/media")["items"]} >= {"T", "I Table"}
