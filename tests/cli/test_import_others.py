"""`rundial import tensorboard|mlflow|trackio`: what those loggers wrote themselves, brought in once."""

from __future__ import annotations

import gzip
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from rundial.importers import trackio
from tests.cli.conftest import rundial
from tests.flows.conftest import ServerProcess

SAMPLES = Path(__file__).resolve().parent.parent / "samples"


def brought_in(*arguments: object) -> list[dict[str, Any]]:
    """The report of an import, after a second one that must change nothing."""
    first = rundial("import", *arguments, "--json").json["runs"]
    again = rundial("import", *arguments, "--json").json["runs"]
    assert {run["status"] for run in first} == {"imported"}
    assert {run["status"] for run in again} == {"there"}
    return list(first)


def markers(server: ServerProcess, run_id: str) -> list[tuple[str, str, int | None]]:
    found = server.get(f"/api/v1/runs/{run_id}/markers")["markers"]
    return [(it["kind"], it["name"], it["step"]) for it in found]


def media(server: ServerProcess, run_id: str) -> dict[str, dict[str, Any]]:
    return {it["key"]: it for it in server.get(f"/api/v1/runs/{run_id}/media")["items"]}


def content(server: ServerProcess, item: dict[str, Any]) -> bytes:
    answer = requests.get(server.url + item["url"], headers={"authorization": f"Bearer {server.key}"}, timeout=20)
    answer.raise_for_status()
    return answer.content


def test_tensorboard(configured: ServerProcess) -> None:
    """Event files of PyTorch's and of tensorboardX's writer: numbers, media, hyper-parameters, and what is left out."""
    import numpy as np
    import tensorboardX
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter("logs/first") as writer:
        for step in range(10):
            writer.add_scalar("loss", 1 / (step + 1), step, walltime=1_700_000_000 + step)
        writer.add_scalar("odd", math.nan, 3, walltime=1_700_000_003)
        writer.add_image("picture", np.zeros((3, 4, 6), np.uint8), 2, walltime=1_700_000_002)
        writer.add_histogram("weights", np.arange(10.0), 2, walltime=1_700_000_002)
        writer.add_text("note", "<script>alert(1)</script>", 2, walltime=1_700_000_002)
        writer.add_mesh("shape", np.zeros((1, 3, 3), np.float32), global_step=1)
        writer.add_hparams({"lr": 0.1, "deep": True}, {"final": 0.5})
    with tensorboardX.SummaryWriter("logs/second/inner") as other:
        other.add_scalar("loss", 2.5, 7)

    first, second = brought_in("tensorboard", "logs", "--project", "boards")

    assert [(first["runName"], first["project"]), second["runName"]] == [("first", "boards"), "second/inner"]
    assert first["leftOut"] == {"values of the plugin mesh": 1}
    assert configured.points(first["runId"], "loss") == [(s, float(np.float32(1 / (s + 1)))) for s in range(10)]
    assert configured.points(second["runId"], "loss") == [(7, 2.5)]
    assert configured.points(first["runId"], "final") == [(0, 0.5)]
    assert markers(configured, first["runId"]) == [("non_finite", "odd", 3)]
    run = configured.get(f"/api/v1/runs/{first['runId']}")
    assert (run["status"], run["startedAtMs"], run["points"]) == ("completed", 1_700_000_000_000, 11)
    assert run["config"] == {"lr": 0.1, "deep": True}
    items = media(configured, first["runId"])
    kinds = {key: it["mediaType"] for key, it in items.items()}
    assert kinds == {"picture": "image", "weights": "histogram", "note": "text"}
    assert (items["picture"]["width"], items["picture"]["height"], items["picture"]["step"]) == (6, 4, 2)
    assert b"<script>" in content(configured, items["note"])


def test_a_damaged_event_file_is_brought_in_up_to_there(configured: ServerProcess) -> None:
    """And the report says so; what comes later under the same name is not mixed in."""
    import tensorboardX

    with tensorboardX.SummaryWriter("logs/torn") as writer:
        for step in range(50):
            writer.add_scalar("loss", step, step)
    (path,) = Path("logs/torn").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:900] + b"\xff" * 200 + whole[1100:])

    (run,) = brought_in("tensorboard", "logs", "--project", "boards")
    path.write_bytes(whole)
    later = rundial("import", "tensorboard", "logs", "--project", "boards", "--json").json["runs"]

    assert run["leftOut"][f"rest of a damaged file, {path.name}"] == 1
    assert 0 < len(configured.points(run["runId"], "loss")) < 50
    assert later[0]["status"] == "exists"
    assert "no event file" in rundial("import", "tensorboard", "logs/none", code=1).err


@pytest.mark.parametrize("store", ["files", "database"])
def test_mlflow(configured: ServerProcess, store: str) -> None:
    """A file store and a database that MLflow wrote, on another machine than this."""
    shutil.copytree(SAMPLES / "mlflow" / "artifacts", "store/artifacts")
    Path("store/store.db").write_bytes(gzip.decompress((SAMPLES / "mlflow" / "store.db.gz").read_bytes()))
    path = SAMPLES / "mlflow" / "files" if store == "files" else "store/store.db"

    report = {run["runName"]: run for run in brought_in("mlflow", path)}

    assert {(name, run["project"]) for name, run in report.items()} == {
        ("parent", "digits"),
        ("child", "digits"),
        ("broken", "digits"),
    }
    assert [run["leftOut"] for run in report.values()] == [{}, {}, {}]
    run_id = report["parent"]["runId"]
    run = configured.get(f"/api/v1/runs/{run_id}")
    assert run["config"] == {"layers": "[64, 10]", "lr": 0.01, "name": "=1+1"}
    assert (run["tags"], run["notes"], run["status"]) == (["team=vision"], "what it is for", "completed")
    assert run["finishedAtMs"] >= run["startedAtMs"] > 1_700_000_000_000
    assert configured.points(run_id, "loss") == [(step, 1 / (step + 1)) for step in range(5)]
    assert configured.points(run_id, "val/acc") == [(3, 0.5)]
    assert markers(configured, run_id) == [("non_finite", "odd", 3), ("non_finite", "odd", 4)]
    assert configured.get(f"/api/v1/runs/{report['child']['runId']}")["group"] == "parent"
    assert configured.get(f"/api/v1/runs/{report['broken']['runId']}")["status"] == "failed"
    (artifact,) = configured.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"]
    files = configured.get(f"/api/v1/artifacts/{artifact['artifactId']}")["files"]
    assert (artifact["name"], [file["path"] for file in files]) == ("notes", ["read me.txt"])


def test_trackio(configured: ServerProcess) -> None:
    """A folder that Trackio wrote."""
    report = {run["runName"]: run for run in brought_in("trackio", SAMPLES / "trackio" / "store")}

    assert {run["project"] for run in report.values()} == {"digits"}
    run_id = report["first"]["runId"]
    run = configured.get(f"/api/v1/runs/{run_id}")
    assert (run["config"], run["group"]) == ({"lr": 0.01, "deep": {"n": [1, 2]}}, "g")
    assert configured.points(run_id, "loss") == [(step, 1 / (step + 1)) for step in range(5)]
    assert configured.points(run_id, "train/acc") == [(step, step / 4) for step in range(5)]
    assert configured.points(run_id, "note") == [(5, "=1+1")]
    assert [point for _, point in configured.points(run_id, "system/gpu")] == [0.5]
    items = media(configured, run_id)
    assert {key: it["mediaType"] for key, it in items.items()} == {
        "picture": "image",
        "weights": "histogram",
        "rows": "table",
    }
    assert (items["picture"]["width"], items["picture"]["caption"]) == (6, "<b>black</b>")
    assert b'"=y"' in content(configured, items["rows"])
    assert sorted(markers(configured, run_id)) == [("alert", "look", 6), ("non_finite", "odd", 5)]
    assert configured.points(report["second"]["runId"], "loss") == [(0, 2.0)]


def test_parquet_of_trackio_says_the_same() -> None:
    """As the database it was made of, but for alerts and settings without a value, which it does not have."""
    store, tables = (SAMPLES / "trackio" / name for name in ("store", "parquet"))
    known = trackio._database(store / "digits.db")
    for run in known.values():
        run.alerts = []
        run.config = {name: value for name, value in run.config.items() if value is not None}

    assert str(trackio._parquet(tables / "digits.parquet")) == str(known).replace("'NaN'", "nan")
    assert len(trackio.read_store(tables, "default-workspace")) == 2


def test_what_is_no_store_is_one_sentence(configured: ServerProcess) -> None:
    """And no traceback."""
    Path("empty").mkdir()
    Path("text.db").write_text("this is no database")

    for noun in ("tensorboard", "mlflow", "trackio"):
        assert "there is no" in rundial("import", noun, "empty", code=1).err
    for noun in ("mlflow", "trackio"):
        assert "is no database" in rundial("import", noun, "text.db", code=1).err
