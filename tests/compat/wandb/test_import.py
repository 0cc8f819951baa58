"""Folders of W&B become runs: made here byte by byte, and by W&B itself where it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb._datastore import Damaged, records
from rundial.compat.wandb._import import import_run, run_folders
from rundial.errors import RundialError
from tests.conftest import ROOT
from tests.flows.conftest import ServerProcess

REAL = ROOT / ".venv-wandb/bin/python"
BLOCK = 32768


def varint(value: int) -> bytes:
    """A number in groups of seven bits."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def items(number: int, values: dict[str, Any]) -> bytes:
    """Names and values as JSON."""
    return b"".join(field(number, field(1, key) + field(16, json.dumps(value))) for key, value in values.items())


def write(path: Path, written: list[bytes]) -> None:
    """Records in the framing of LevelDB's log."""
    data = bytearray(b":W&B\xe1\xbe\x00")
    for record in written:
        first, rest = True, record
        while first or rest:
            room = BLOCK - len(data) % BLOCK
            if room < 7:
                data += bytes(room)
                room = BLOCK
            piece, rest = rest[: room - 7], rest[room - 7 :]
            kind = (1 if first else 4) if not rest else (2 if first else 3)
            checksum = zlib.crc32(piece, zlib.crc32(bytes([kind])))
            data += checksum.to_bytes(4, "little") + len(piece).to_bytes(2, "little") + bytes([kind]) + piece
            first = False
    path.write_bytes(data)


def folder_of(root: Path, run_id: str, more: list[bytes], exit_code: int | None = 0) -> Path:
    """The folder of a run with three rows."""
    folder = root / "wandb" / f"offline-run-20260101_000000-{run_id}"
    (folder / "files").mkdir(parents=True)
    config = field(4, items(1, {"lr": 0.1, "net": {"depth": 2}, "_wandb": {}}))
    begun = field(1, run_id) + field(3, "old") + config + field(8, "old-name") + field(10, "a") + field(10, "b")
    begun += field(17, field(1, 1_700_000_000) + field(2, 250_000_000))
    rows = [
        field(2, items(1, {"loss": 1 / (n + 1), "_step": n * 10, "_timestamp": 1_700_000_000.5 + n})) for n in range(3)
    ]
    summary = field(3, items(1, {"loss": 0.1, "best": 7, "_step": 20}))
    end = [] if exit_code is None else [field(18, field(1, exit_code) + field(2, 65))]
    write(folder / f"run-{run_id}.wandb", [field(17, begun), *rows, *more, summary, *end])
    return folder


def test_history_configuration_summary_console_and_end(server: ServerProcess, tmp_path: Path) -> None:
    """Each row at its step and time, a record larger than a block, and what the run is."""
    line = field(13, field(1, 1) + field(2, field(1, 1_700_000_001)) + field(3, "hello\n"))
    stats = field(7, field(2, field(1, 1_700_000_002)) + field(3, field(1, "cpu") + field(16, "12.5")))
    long = field(2, items(1, {"text": "x" * 70_000, "_step": 30, "_timestamp": 1_700_000_004}))
    folder = folder_of(tmp_path, "imported1", [line, stats, field(5, items(1, {"late": 1})), long])
    assert run_folders(tmp_path) == run_folders(tmp_path / "wandb") == run_folders(folder) == [folder]
    found = import_run(folder)
    assert (found.rows, found.lines, found.damaged) == (4, 1, None)
    run = server.get("/api/v1/runs/imported1")
    assert (run["runName"], run["projectSlug"], run["status"], run["tags"]) == (
        "old-name",
        "old",
        "completed",
        ["a", "b"],
    )
    assert (run["startedAtMs"], run["finishedAtMs"]) == (1_700_000_000_250, 1_700_000_065_250)
    assert run["config"] == {"lr": 0.1, "net": {"depth": 2}, "late": 1} and run["summary"]["best"] == 7
    assert server.points("imported1", "loss") == [(0, 1.0), (10, 0.5), (20, 1 / 3)]
    assert server.points("imported1", "system/cpu") == [(1_700_000_002, 12.5)]
    rows = wandb.Api().run("imported1").history(keys=["loss"], pandas=False)
    assert len(rows) == 3


def test_media_and_artifacts_come_from_the_folder(server: ServerProcess, tmp_path: Path) -> None:
    """A picture and a file of the folder, an artifact's staged copy; what leads out of the folder is left out."""
    from PIL import Image

    staged = tmp_path / "staged"
    staged.write_text("content")
    entry = field(1, "inside/x.txt") + field(6, str(staged))
    artifact = field(4, "dataset") + field(5, "data") + field(8, '{"k": 1}') + field(11, "gold")
    artifact += field(12, field(4, entry) + field(4, field(1, "far") + field(3, "s3://b/far")))
    cells = {"p": {"_type": "image-file", "path": "media/p.png", "caption": "c"}, "_step": 1}
    bad = {"q": {"_type": "image-file", "path": "../../../staged"}, "_step": 2}
    folder = folder_of(
        tmp_path, "imported2", [field(2, items(1, cells)), field(2, items(1, bad)), field(8, artifact)], 3
    )
    (folder / "files/media").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "files/media/p.png")
    (folder / "files/notes.txt").write_text("note")
    found = import_run(folder, project="new")
    assert (found.media, found.artifacts, found.left_out) == (1, 2, 1)
    run = wandb.Api().run("imported2")
    assert run.state == "failed" and run.project == "new"
    (logged,) = run.logged_artifacts()
    assert (logged.name, logged.metadata, set(logged.aliases)) == ("data:v0", {"k": 1}, {"gold", "latest"})
    assert sorted(logged.manifest.entries) == ["far", "inside/x.txt"]
    assert [file.name for file in run.files()] == ["media/image/p_1.png", "notes.txt"]


def test_what_breaks_off_is_brought_in_up_to_there(server: ServerProcess, tmp_path: Path) -> None:
    """A run that was killed has no end: it is crashed, and its whole records are there."""
    folder = folder_of(tmp_path, "imported3", [], None)
    (path,) = folder.glob("*.wandb")
    path.write_bytes(path.read_bytes()[:-5])
    found = import_run(folder)
    assert found.rows == 3 and found.damaged is not None and "damaged at byte" in found.damaged
    run = server.get("/api/v1/runs/imported3")
    assert (run["status"], run["finishedAtMs"]) == ("crashed", 1_700_000_002_500)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    """An empty folder, and a file of another kind."""
    with pytest.raises(RundialError, match="no run of W&B"):
        run_folders(tmp_path)
    path = tmp_path / "x.wandb"
    path.write_bytes(b"something else")
    with pytest.raises(Damaged, match=r"no \.wandb file"):
        list(records(path))


@pytest.mark.skipif(not REAL.exists(), reason="the real one is not here; run: make wandb-venv")
def test_a_folder_of_the_real_one(server: ServerProcess, tmp_path: Path) -> None:
    """W&B itself writes a run offline with media, a table, an artifact and output; all of it arrives."""
    script = """
import numpy as np, wandb
run = wandb.init(project="real", name="real", config={"lr": 0.1}, tags=["a"], id="imported4")
for step in range(200):
    run.log({"loss": 1 / (step + 1), "nested": {"x": step}})
pixels = np.zeros((4, 4, 3), dtype=np.uint8)
run.log({"one": wandb.Image(pixels), "two": [wandb.Image(pixels + k) for k in (1, 2)],
         "h": wandb.Histogram([1, 2, 3]), "t": wandb.Table(columns=["a"], data=[[1]]), "page": wandb.Html("<b>x</b>")})
artifact = wandb.Artifact("data", "dataset", metadata={"k": 1})
with artifact.new_file("x.txt") as file:
    file.write("hi")
run.log_artifact(artifact, aliases=["gold"])
run.summary["best"] = 7
print("a line")
run.finish()
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"WANDB_MODE": "offline", "WANDB_DATA_DIR": str(tmp_path / "data")}
    before = time.time()
    subprocess.run(
        [str(REAL), "-c", script], check=True, timeout=90, cwd=tmp_path, env=environment, capture_output=True
    )
    after = time.time()
    command = [sys.executable, "-c", "from rundial.cli.import_ import app; app()", "wandb", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "201 rows, 6 media, 1 artifacts, 1 lines" in done.stdout
    times = server.get("/api/v1/runs/imported4")
    assert before * 1000 - 1000 < times["startedAtMs"] < times["finishedAtMs"] < after * 1000 + 1000
    run = wandb.Api().run("imported4")
    assert [row["loss"] for row in run.scan_history(keys=["loss"])] == [1 / (step + 1) for step in range(200)]
    assert (run.config, run.summary["best"], run.state, run.tags) == ({"lr": 0.1}, 7, "finished", ["a"])
    (logged,) = run.logged_artifacts()
    assert (logged.name, logged.metadata) == ("data:v0", {"k": 1}) and "gold" in logged.aliases
    assert {file.name.split("/")[1] for file in run.files()} == {"image", "histogram", "table", "html"}
