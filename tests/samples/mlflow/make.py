"""Makes the samples beside it with MLflow itself, in an environment that has it: ``python make.py``.

Written by MLflow 3.17: a file store (``files``) and a SQLite store (``store.db.gz`` with ``artifacts``). Both hold the
same: an experiment ``digits`` with a parent run, a nested run and a failed run.
"""

import gzip
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import mlflow
from mlflow.tracking import MlflowClient

HERE = Path(__file__).resolve().parent


def fill(uri: str, artifacts: Path | None) -> None:
    """The same runs into whatever store."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    client.create_experiment("digits", artifact_location=None if artifacts is None else artifacts.name)
    mlflow.set_experiment("digits")
    with mlflow.start_run(run_name="parent", description="what it is for"):
        mlflow.log_params({"lr": 0.01, "layers": "[64, 10]", "name": "=1+1"})
        mlflow.set_tag("team", "vision")
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"val/acc": 0.5, "odd": float("nan")}, step=3)
        mlflow.log_metric("odd", float("inf"), step=4)
        mlflow.log_text("hello", "notes/read me.txt")
        with mlflow.start_run(run_name="child", nested=True):
            mlflow.log_metric("loss", 0.25, step=0)
    try:
        with mlflow.start_run(run_name="broken"):
            mlflow.log_metric("loss", 9.0)
            raise ValueError("on purpose")
    except ValueError:
        pass
    gone = client.create_run(client.get_experiment_by_name("digits").experiment_id, run_name="deleted")
    client.delete_run(gone.info.run_id)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mlflow-sample-") as folder:
        os.chdir(folder)
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        fill("./files", None)
        fill("sqlite:///store.db", Path("artifacts"))
        with closing(sqlite3.connect("store.db")) as store:
            store.execute("VACUUM")
        for name in ("files", "artifacts"):
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(name, HERE / name)
        # A schema of many empty tables: a tenth of its size, and the same bytes when it is unpacked.
        (HERE / "store.db.gz").write_bytes(gzip.compress(Path("store.db").read_bytes(), mtime=0))
        os.chdir(HERE)


if __name__ == "__main__":
    main()
