"""Makes the samples beside it with Trackio itself, in an environment that has it: ``python make.py``.

Written by Trackio 0.43: its folder (``store``) with a project ``digits`` of two runs, and
the Parquet files that it makes of such a project to keep them elsewhere (``parquet``).
"""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent


def fill() -> None:
    """Two runs: one with everything, one that was never finished."""
    import numpy as np
    import trackio

    run = trackio.init(project="digits", name="first", config={"lr": 0.01, "deep": {"n": [1, 2]}}, group="g")
    for step in range(5):
        trackio.log({"loss": 1 / (step + 1), "train/acc": step / 4}, step=step)
    trackio.log({"odd": float("nan"), "note": "=1+1"}, step=5)
    trackio.log({"picture": trackio.Image(np.zeros((4, 6, 3), np.uint8), caption="<b>black</b>")}, step=5)
    trackio.log({"weights": trackio.Histogram([1.0, 2.0, 2.5], num_bins=4)}, step=5)
    import pandas

    trackio.log({"rows": trackio.Table(dataframe=pandas.DataFrame({"a": [1, 2], "b": ["x", "=y"]}))}, step=6)
    trackio.log_system({"gpu": 0.5})
    trackio.alert("look", text="here", level=trackio.AlertLevel.WARN)
    run.finish()
    trackio.init(project="digits", name="second")
    trackio.log({"loss": 2.0})
    trackio.finish()


def export(folder: Path, out: Path) -> None:
    """What Trackio does from time to time where a dataset keeps its folder."""
    from trackio.sqlite_storage import SQLiteStorage

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    SQLiteStorage._dataset_import_attempted = True
    SQLiteStorage.export_to_parquet()
    for path in folder.glob("*.parquet"):
        path.rename(out / path.name)
    shutil.copytree(folder / "media", out / "media")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="trackio-sample-") as folder:
        os.environ["TRACKIO_DIR"] = folder
        fill()
        for path in Path(folder).glob("*.db"):
            with closing(sqlite3.connect(path)) as store:
                store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                store.execute("VACUUM")
        export(Path(folder), HERE / "parquet")
        shutil.rmtree(HERE / "store", ignore_errors=True)
        shutil.copytree(folder, HERE / "store", ignore=shutil.ignore_patterns("*.lock", "*-shm", "*-wal"))


if __name__ == "__main__":
    main()
