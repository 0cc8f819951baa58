"""W&B's observer for Sacred, in a real experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sacred import Experiment

import rundial.compat.wandb as wandb
from rundial.compat.wandb.sacred import WandbObserver


def test_observer(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration, metrics at their steps, the result and files; the run ends with the experiment."""
    monkeypatch.chdir(tmp_path)
    experiment = Experiment("e", save_git_info=False)
    observer = WandbObserver(project="sacred", name="n")
    experiment.observers.append(observer)
    experiment.add_config(lr=0.1, net={"depth": 2})

    @experiment.main
    def main(_run: Any, lr: float) -> float:
        for step in range(3):
            _run.log_scalar("loss", lr / (step + 1), step)
        Path("notes.txt").write_text("note")
        experiment.add_artifact("notes.txt")
        return 0.5

    experiment.run()
    assert wandb.run is None
    stored = server.get(f"/api/v1/runs/{observer.run.id}")
    assert (stored["status"], stored["config"]["lr"], stored["config"]["net"]) == ("completed", 0.1, {"depth": 2})
    assert server.points(observer.run.id, "loss") == [(step, 0.1 / (step + 1)) for step in range(3)]
    assert stored["summary"]["result_0"] == 0.5
    names = {row["name"] for row in server.get(f"/api/v1/runs/{observer.run.id}/artifacts")["artifacts"]}
    assert "notes.txt" in names


def test_failed_experiment(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment that raises is a failed run."""
    monkeypatch.chdir(tmp_path)
    experiment = Experiment("f", save_git_info=False)
    observer = WandbObserver(project="sacred")
    experiment.observers.append(observer)

    @experiment.main
    def main() -> None:
        raise RuntimeError("meant to be")

    with pytest.raises(RuntimeError, match="meant to be"):
        experiment.run()
    assert server.get(f"/api/v1/runs/{observer.run.id}")["status"] == "failed"
