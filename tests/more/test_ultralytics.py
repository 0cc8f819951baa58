"""RundialUltralyticsCallback in real trainings of a small YOLO model, beside Ultralytics' own results.csv."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from rundial.errors import ConfigError
from tests.integrations.conftest import History, history, succeed

os.environ["YOLO_OFFLINE"] = "True"  # it would ask the network for news
os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="rundial-tests-")  # and write into the user's own

import torch
from ultralytics import YOLO, settings

from rundial.integrations.ultralytics import RundialUltralyticsCallback

torch.set_num_threads(2)
pytestmark = pytest.mark.timeout(300)

OPTIONS: dict[str, Any] = {"epochs": 3, "imgsz": 32, "batch": 4, "workers": 0, "device": "cpu", "amp": False}
OPTIONS |= {"plots": False, "verbose": False, "name": "fit", "exist_ok": True}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Nothing goes to others from here, and nothing stays."""
    settings.update({"sync": False, "tensorboard": False, "wandb": False})
    yield
    shutil.rmtree(os.environ["YOLO_CONFIG_DIR"], ignore_errors=True)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return make_data(tmp_path / "data")


def make_data(folder: Path) -> str:
    """Eight pictures with one square each, as a data set of YOLO."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for index in range(8):
        picture = Image.new("RGB", (32, 32), "white")
        ImageDraw.Draw(picture).rectangle([8 + index, 8, 20 + index, 20], fill="red")
        picture.save(folder / f"images/{index}.png")
        (folder / f"labels/{index}.txt").write_text(f"0 {(14 + index) / 32} {14 / 32} {12 / 32} {12 / 32}\n")
    path = folder / "data.yaml"
    path.write_text(json.dumps({"path": str(folder), "train": "images", "val": "images", "names": {"0": "square"}}))
    return str(path)


def recorded(folder: Path) -> History:
    """Ultralytics' own file, by epoch."""
    with (folder / "results.csv").open() as file:
        rows = [{name.strip(): float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return {
        int(row["epoch"]): {name: value for name, value in row.items() if name not in ("epoch", "time")} for row in rows
    }


def same(found: History, expected: History) -> None:
    """Equal, but for the six digits that the file keeps."""
    assert sorted(found) == sorted(expected)
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=1e-5, abs=1e-12)


def test_train(server, data, tmp_path):
    """Each epoch is the row of results.csv; the best weights are in the summary and stored, pictures logged."""
    callback = RundialUltralyticsCallback(project="yolo", log_model=True, config={"api_key": "k-123"})
    model = YOLO("yolov8n.yaml")
    callback.attach(model)
    found = model.train(data=data, project=str(tmp_path / "runs"), **{**OPTIONS, "plots": True})
    assert callback.run.finish()
    logged = history(server, callback.run.id)
    same(logged, recorded(Path(model.trainer.save_dir)))
    assert len(logged) == 3 and "metrics/mAP50(B)" in logged[3] and "train/box_loss" in logged[1]
    run = server.get(f"/api/v1/runs/{callback.run.id}")
    assert run["summary"]["best/metrics/mAP50(B)"] == pytest.approx(found.results_dict["metrics/mAP50(B)"])
    assert run["config"]["ultralytics"]["imgsz"] == 32
    assert run["config"]["ultralytics"]["num_parameters"] > 1_000_000
    assert run["config"]["api_key"] == "[redacted]"
    (artifact,) = server.get(f"/api/v1/runs/{callback.run.id}/artifacts")["artifacts"]
    assert artifact["type"] == "model"
    media = {key["key"] for key in server.get(f"/api/v1/runs/{callback.run.id}/media")["keys"]}
    assert "plots/confusion_matrix" in media


def test_a_failure_and_resuming(server, data, tmp_path):
    """A training that raises is a failed run; resuming from last.pt goes on with it: one run, one curve."""

    def stop(trainer: Any) -> None:
        if trainer.epoch == 1:
            raise RuntimeError("meant to be")

    first = RundialUltralyticsCallback(project="yolo")
    model = YOLO("yolov8n.yaml")
    first.attach(model)
    model.add_callback("on_model_save", stop)
    with pytest.raises(RuntimeError, match="meant to be"):
        model.train(data=data, project=str(tmp_path / "runs"), **OPTIONS)
    assert first.run.status == "failed"
    assert server.get(f"/api/v1/runs/{first.run.id}")["status"] == "failed"
    second = RundialUltralyticsCallback(project="yolo")
    again = YOLO(str(tmp_path / "runs/fit/weights/last.pt"))
    second.attach(again)
    again.train(resume=True)
    assert second.run.id == first.run.id and second.run.finish()
    found = history(server, first.run.id)
    expected = recorded(tmp_path / "runs/fit")
    assert sorted(found) == sorted(expected) == [1, 2, 3]
    assert found[3] == pytest.approx(expected[3], rel=1e-5, abs=1e-12)
    assert server.get(f"/api/v1/runs/{first.run.id}")["status"] == "completed"


def test_nothing_raises(monkeypatch, data, tmp_path):
    """Whatever happens while logging is a warning; a mistake in the settings is not."""
    with pytest.raises(ConfigError):
        RundialUltralyticsCallback(projekt="x")
    callback = RundialUltralyticsCallback(project="yolo", mode="disabled")
    model = YOLO("yolov8n.yaml")
    callback.attach(model)
    monkeypatch.setattr(type(callback._lazy), "writable", property(lambda self: 1 / 0))
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
        model.train(data=data, project=str(tmp_path / "runs"), **{**OPTIONS, "epochs": 1})
    assert len(recorded(tmp_path / "runs/fit")) == 1


def test_server_killed_in_the_middle(start_server, script, monkeypatch, data, tmp_path):
    """The training ends as if nothing had been, and everything arrives when the server is back."""
    server = start_server()
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    program = """
        import json, sys
        from ultralytics import YOLO
        from rundial.integrations.ultralytics import RundialUltralyticsCallback
        def wait(trainer):
            if trainer.epoch == 0:
                print("RUN", callback.run.id, file=sys.stderr, flush=True)
                sys.stdin.readline()
        callback = RundialUltralyticsCallback(project="yolo")
        model = YOLO("yolov8n.yaml")
        callback.attach(model)
        model.add_callback("on_model_save", wait)
        model.train(data=sys.argv[1], project=sys.argv[2], **json.loads(sys.argv[3]))
    """
    training = script(program, data, tmp_path / "runs", json.dumps(OPTIONS))
    line = next(line for line in training.stderr if line.startswith(b"RUN"))
    run_id = line.split()[1].decode()
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    training.stdin.write(b"\n")
    training.stdin.flush()
    succeed(training)
    again = start_server(port=server.port)
    script("import subprocess, sys; subprocess.run([sys.executable, '-m', 'rundial', 'sync'], check=True)").output()
    project = again.get(f"/api/v1/runs/{run_id}")["projectId"]
    again.wait_for(project, lambda run: len(history(again, run["runId"])) == 3)
    same(history(again, run_id), recorded(tmp_path / "runs/fit"))
