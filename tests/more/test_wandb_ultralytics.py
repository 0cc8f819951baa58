"""Ultralytics' own callback of W&B under ``install()``, and the callback that W&B has for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.conftest import history, succeed
from tests.more.test_ultralytics import OPTIONS, YOLO, make_data, recorded, same

pytestmark = pytest.mark.timeout(300)

CODE = """
import json, os, sys, tempfile
os.environ |= {"YOLO_OFFLINE": "True", "YOLO_CONFIG_DIR": tempfile.mkdtemp(dir=os.getcwd())}
os.environ.pop("PYTEST_CURRENT_TEST", None)  # or the callback would stay silent
import rundial.compat.wandb
rundial.compat.wandb.install()
from ultralytics import YOLO, settings
settings.update({"wandb": True, "sync": False, "tensorboard": False})
import wandb
seen = []
model = YOLO("yolov8n.yaml")
model.add_callback("on_train_epoch_end", lambda trainer: seen.append(wandb.run.id))
model.train(data=sys.argv[1], project=os.path.abspath("runs"), **json.loads(sys.argv[2]))
print(json.dumps([seen[0], str(model.trainer.save_dir)]))
"""


def test_ultralyticss_own_callback(server: Any, program: Any, tmp_path: Path) -> None:
    """Each epoch is the row of results.csv in one row of the run; weights and pictures are stored."""
    started = program(CODE, make_data(tmp_path / "data"), json.dumps({**OPTIONS, "plots": True}))
    run_id, folder = json.loads(succeed(started, 280).splitlines()[-1])
    stored = server.get(f"/api/v1/runs/{run_id}")
    assert stored["status"] == "completed" and stored["config"]["imgsz"] == 32
    found = {int(values["epoch"]): values for values in history(server, run_id).values() if "train/box_loss" in values}
    for epoch, row in recorded(Path(folder)).items():
        assert {name: found[epoch][name] for name in row} == pytest.approx(row, rel=1e-4, abs=1e-5)
    artifacts = server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"]
    assert f"run_{run_id}_model" in {artifact["name"] for artifact in artifacts}
    media = {key["key"] for key in server.get(f"/api/v1/runs/{run_id}/media")["keys"]}
    assert "confusion_matrix" in media


def test_wandbs_callback_for_ultralytics(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``add_wandb_callback`` logs each epoch to the active run."""
    import rundial.compat.wandb as wandb
    from rundial.compat.wandb.integration.ultralytics import add_wandb_callback

    monkeypatch.chdir(tmp_path)
    run = wandb.init(project="yolo-wandb")
    model = add_wandb_callback(YOLO("yolov8n.yaml"), enable_model_checkpointing=True)
    model.train(data=make_data(tmp_path / "data"), project=str(tmp_path / "runs"), **{**OPTIONS, "epochs": 2})
    assert wandb.run is run
    run.finish()
    same(history(server, run.id), recorded(Path(model.trainer.save_dir)))
    assert server.get(f"/api/v1/runs/{run.id}/artifacts")["artifacts"]
