"""W&B's autolog for Diffusers, with a tiny pipeline that knows nothing yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

import rundial.compat.wandb as wandb
from rundial.compat.wandb.integration.diffusers import autolog

torch.set_num_threads(1)


def test_autolog(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures of each call are logged with what it was called with, until it is disabled."""
    monkeypatch.chdir(tmp_path)
    network = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    pipeline = DDPMPipeline(network, DDPMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    former = DDPMPipeline.__call__
    autolog({"project": "diffusers"})
    run = wandb.run
    assert run is not None
    pipeline(batch_size=2, num_inference_steps=2)
    pipeline(1, num_inference_steps=3, return_dict=False)
    autolog.disable()
    assert wandb.run is None and DDPMPipeline.__call__ is former
    assert len(pipeline(num_inference_steps=2).images) == 1
    items = server.get(f"/api/v1/runs/{run.id}/media")["items"]
    assert [(item["key"], item["step"]) for item in items] == [("DDPMPipeline/images", step) for step in (0, 0, 1)]
    known = server.get(f"/api/v1/runs/{run.id}")["config"]["DDPMPipeline"]
    assert known["num_inference_steps"] == 3
