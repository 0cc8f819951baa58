"""Skorch's own ``WandbLogger``, unmodified, with a run of ours."""

from __future__ import annotations

from typing import Any

import pytest
from skorch.callbacks import WandbLogger

import rundial.compat.wandb as wandb
from tests.more.test_skorch import X, Y, net


def test_skorchs_own_logger(server: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch is the net's history; the best model, which it saves in ``run.dir``, is stored."""
    monkeypatch.chdir(tmp_path)
    run = wandb.init(project="skorch-own")
    model = net(WandbLogger(run)).fit(X, Y)
    run.finish()
    for name in ("train_loss", "valid_loss", "valid_acc"):
        assert [value for _, value in server.points(run.id, name)] == [row[name] for row in model.history]
    names = {row["name"] for row in server.get(f"/api/v1/runs/{run.id}/artifacts")["artifacts"]}
    assert any("best_model.pth" in name for name in names)
