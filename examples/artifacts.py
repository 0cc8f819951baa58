"""Checkpoints under one name, overwritten at each epoch, and a dataset that is only pointed to. Needs no server."""

import json
from pathlib import Path

import rundial as rd

folder = Path("checkpoints")
folder.mkdir(exist_ok=True)

with rd.init(project="artifacts", config={"epochs": 5}) as run:
    run.log_artifact("s3://example-bucket/digits.parquet", type="dataset")
    weights = 0.0
    for epoch in range(5):
        weights += 0.5 * (1.0 - weights)
        run.log({"loss": (1.0 - weights) ** 2}, step=epoch)
        # Written beside and renamed: whoever reads it, the upload included, sees one whole checkpoint.
        draft = folder / "model.json.tmp"
        draft.write_text(json.dumps({"weights": weights, "epoch": epoch}))
        draft.replace(folder / "model.json")
        run.checkpoint(folder / "model.json", step=epoch, keep_last=3)
    run.log_artifact(folder / "model.json", "model", "model", aliases=["final"])
