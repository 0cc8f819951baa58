"""TensorBoard: the SummaryWriter in its place, real writers that are heard, and folders of their files."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorboard")

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from torch.utils.tensorboard import SummaryWriter as TorchWriter

import rundial as rd
from rundial.errors import ConfigError
from rundial.integrations._event_files import EventFile, read_event
from rundial.integrations.tensorboard import Listener, SummaryWriter, patch, sync_tensorboard
from rundial.media import Audio, Histogram, Image, Table, Text
from rundial.testing import capture_run
from tests.flows.conftest import ServerProcess
from tests.integrations.conftest import history, succeed

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def write_all(writer: Any) -> None:
    """One of everything a script is likely to add."""
    for step in range(5):
        writer.add_scalar("loss", 1 / (step + 1), step)
    writer.add_scalars("both", {"a": 1.5, "b": 2.5}, 3)
    writer.add_histogram("weights", np.arange(100.0), 4)
    writer.add_image("picture", np.zeros((3, 4, 5), np.uint8), 4)
    writer.add_text("note", "*hello*", 4)
    writer.add_audio("tone", torch.sin(torch.arange(100.0))[None], 4, sample_rate=8000)
    writer.add_pr_curve("curve", np.array([0, 1, 1]), np.array([0.2, 0.6, 0.9]), 4, num_thresholds=5)
    writer.add_hparams({"lr": 0.5, "layers": 3, "name": "tiny", "on": True, "api_key": "k-123"}, {"accuracy": 0.75})


def of_files(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars of a folder's own event files, as TensorBoard reads them."""
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def kinds(server: ServerProcess, run_id: str) -> dict[str, str]:
    return {key["key"]: key["mediaType"] for key in server.get(f"/api/v1/runs/{run_id}/media")["keys"]}


def config_of(server: ServerProcess, run_id: str) -> dict[str, Any]:
    return dict(server.get(f"/api/v1/runs/{run_id}")["config"])


def test_writer_in_its_place(server):
    """The drop-in logs at full precision, makes a run with the folder's name, and writes no file."""
    with SummaryWriter("runs/first", flush_secs=1) as writer:
        write_all(writer)
        assert writer.run.name == "first"
    writer.close()
    writer.add_scalar("loss", 7.0, 9)  # closing is not the end
    assert writer.run.finish()
    found = history(server, writer.run.id)
    assert {step: row["loss"] for step, row in found.items() if "loss" in row} == {
        **{step: 1 / (step + 1) for step in range(5)},
        9: 7.0,
    }
    assert found[3]["both/a"] == 1.5
    assert kinds(server, writer.run.id) == {
        "weights": "histogram",
        "picture": "image",
        "note": "text",
        "tone": "audio",
        "curve": "table",
    }
    config = config_of(server, writer.run.id)
    assert config["layers"] == 3
    assert config["api_key"] == "[redacted]"
    assert not Path("runs").exists()


def test_a_mistake_in_the_settings_is_said_at_once():
    """Not in the middle of a training."""
    with pytest.raises(ConfigError):
        SummaryWriter(projekt="x")


@pytest.mark.parametrize("source", ["patch", "option", "folder"])
def test_other_writers_are_heard(server, tmp_path, source):
    """PyTorch's writer writes its files as ever, and a run has the very values that TensorBoard reads from them."""
    folder = tmp_path / "tb"
    run = rd.init(project="heard")
    if source == "patch":
        listener = patch()
    else:
        sync_tensorboard(run, True if source == "option" else folder)
    writer = TorchWriter(str(folder))
    write_all(writer)
    if source == "folder":
        writer.close()
    assert run.finish()
    if source == "patch":
        listener.stop()
    writer.close()
    expected = of_files(folder)
    assert [step for step, _ in expected["loss"]] == [0, 1, 2, 3, 4]
    for tag, points in expected.items():
        assert server.points(run.id, tag) == points
    found = history(server, run.id)
    assert found[3]["both_a/both"] == 1.5
    assert found[0]["accuracy"] == 0.75
    assert kinds(server, run.id) == {
        "weights": "histogram",
        "picture": "image",
        "note": "text",
        "tone": "audio",
        "curve": "table",
    }
    config = config_of(server, run.id)
    assert {name: config[name] for name in ("lr", "layers", "name", "on")} == {
        "lr": 0.5,
        "layers": 3,
        "name": "tiny",
        "on": True,
    }
    assert config["api_key"] == "[redacted]"


def test_a_writer_without_a_run_makes_one(server):
    """patch() alone is enough; what is written after stop() is not logged."""
    with patch(project="alone") as listener:
        assert isinstance(listener, Listener)
        writer = TorchWriter("tb")
        writer.add_scalar("loss", 0.5, 1)
    writer.add_scalar("loss", 0.25, 2)
    writer.close()
    run = rd.run
    assert run.finish()
    assert run.project == "alone"
    assert server.points(run.id, "loss") == [(1, 0.5)]


@pytest.mark.skipif(find_spec("tensorboardX") is None, reason="tensorboardX is not here")
def test_tensorboardx_is_heard(server):
    """The other writer of that name."""
    from tensorboardX import SummaryWriter as XWriter

    run = rd.init(project="heard")
    with patch(run):
        writer = XWriter("tb")
        writer.add_scalar("loss", 0.5, 1)
        writer.close()
    run.finish()
    assert server.points(run.id, "loss") == [(1, 0.5)]


def test_what_was_there_before_is_not_logged(server, tmp_path):
    """A folder's old events belong to somebody else's run; a torn record waits until it is whole."""
    old = TorchWriter(str(tmp_path / "tb"))
    old.add_scalar("loss", 9.0, 0)
    old.flush()
    run = rd.init(project="heard")
    sync_tensorboard(run, tmp_path / "tb")
    old.add_scalar("loss", 8.0, 1)
    old.close()
    new = TorchWriter(str(tmp_path / "tb" / "eval"))
    new.add_scalar("loss", 7.0, 2)
    new.close()
    (file,) = (tmp_path / "tb" / "eval").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    torn = EventFile(file)
    assert [read_event(record).values for record in torn.records()] == [{}]
    file.write_bytes(whole)
    assert [read_event(record).values for record in torn.records()] == [{"loss": 7.0}]
    assert run.finish()
    assert server.points(run.id, "loss") == [(1, 8.0)]
    assert server.points(run.id, "eval/loss") == [(2, 7.0)]


def test_a_damaged_file_is_left_alone(tmp_path):
    """Bytes that are no event file cost a warning, and their neighbours nothing."""
    folder = tmp_path / "tb"
    with capture_run() as (run, memory):
        sync_tensorboard(run, folder)
        writer = TorchWriter(str(folder))
        writer.add_scalar("loss", 0.5, 1)
        writer.close()
        (folder / "a.tfevents.1").write_bytes(b"no event file at all")
        with pytest.warns(RuntimeWarning, match="read no further"):
            run.finish()
    assert memory.series("loss") == [0.5]


def test_values_of_the_files():
    """What the parser makes of each kind of value is what was written, by TensorBoard's own account."""
    found: dict[str, Any] = {}
    write = EventFileWriter.add_event
    records: list[bytes] = []

    def keep(self, event):
        records.append(event.SerializeToString())
        return write(self, event)

    EventFileWriter.add_event = keep
    try:
        writer = TorchWriter("tb")
        write_all(writer)
        writer.add_scalar("exact", 0.1, 1, new_style=True, double_precision=True, walltime=12.5)
        writer.add_tensor("whole", torch.arange(6).reshape(2, 3), 1)
        writer.add_images("several", np.zeros((2, 3, 4, 4)), 1)
        writer.add_histogram("wide", np.concatenate([np.logspace(-12, 19, 4000), -np.logspace(-12, 19, 4000)]), 1)
        writer.add_histogram("one", np.ones(5), 1)
        writer.close()
    finally:
        EventFileWriter.add_event = write
    for record in records:
        event = read_event(record)
        assert not event.strange
        found |= event.values
    assert found["exact"] == 0.1
    assert [read_event(r).time_ms for r in records if b"exact" in r] == [12500]
    assert isinstance(found["picture"], Image)
    assert isinstance(found["tone"], Audio)
    assert isinstance(found["note"], Text)
    assert isinstance(found["curve"], Table)
    assert found["whole"].values.tolist() == [[0, 1, 2], [3, 4, 5]]
    for name, count, low, high in (("weights", 100, 0, 99), ("wide", 8000, -1e19, 1e19), ("one", 5, 1, 1)):
        assert isinstance(found[name], Histogram)
        counts, edges = found[name].np_histogram
        assert counts.sum() == count
        assert len(counts) <= 1024
        assert (np.diff(edges) >= 0).all()
        assert edges[0] == pytest.approx(low)
        assert edges[-1] == pytest.approx(high)
        found[name].snapshot()


KILLED = """
import sys, time, warnings
warnings.simplefilter("ignore")
import rundial as rd
from rundial.integrations.tensorboard import patch
from torch.utils.tensorboard import SummaryWriter

run = rd.init(project="killed")
patch()
writer = SummaryWriter("tb")
for step in range(200):
    writer.add_scalar("loss", step / 8, step)
    if step == 50:
        print(run.id, flush=True)
        sys.stdin.readline()
writer.close()
run.finish(0.5)
"""


def test_server_killed_in_the_middle(start_server, script, monkeypatch):
    """The writer goes on as if nothing had been, and everything arrives when the server is back."""
    server = start_server()
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    training = script(KILLED)
    run_id = training.stdout.readline().decode().strip()
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    training.stdin.write(b"\n")
    training.stdin.flush()
    training.output()
    again = start_server(port=server.port)
    succeed(script("import subprocess, sys; subprocess.run([sys.executable, '-m', 'rundial', 'sync'], check=True)"))
    deadline = time.monotonic() + 20
    while len(again.points(run_id, "loss")) < 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert again.points(run_id, "loss") == [(step, step / 8) for step in range(200)]
