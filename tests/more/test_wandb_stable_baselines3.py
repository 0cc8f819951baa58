"""W&B's ways to follow Stable-Baselines3: its callback, ``sync_tensorboard`` and ``monitor_gym``, in real trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import RecordVideo
from stable_baselines3 import PPO
from stable_baselines3.common.logger import configure

import rundial.compat.wandb as wandb
from rundial.compat.wandb.integration.sb3 import WandbCallback
from tests.integrations.conftest import History, history
from tests.more.test_stable_baselines3 import recorded

torch.set_num_threads(1)


class Walk(gymnasium.Env[Any, Any]):
    """Ten steps to and fro, which can be looked at."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(-10, 10, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at, self.steps = 0, 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.at, self.steps = self.at + (1 if action else -1), self.steps + 1
        return np.array([self.at], np.float32), float(self.at), self.steps == 10, False, {}

    def render(self) -> Any:
        return np.full((32, 32, 3), 100 + self.at * 10, np.uint8)


def training(run: wandb.Run, folder: Path, steps: int) -> History:
    """Train with the callback, TensorBoard and videos; what the CSV beside it says."""
    environment = RecordVideo(Walk(), str(folder / "videos"), episode_trigger=lambda number: number == 1)
    model = PPO("MlpPolicy", environment, n_steps=32, batch_size=16, n_epochs=1, seed=0, device="cpu")
    model.set_logger(configure(str(folder / "log"), ["csv", "tensorboard"]))
    callback = WandbCallback(model_save_path=str(folder / "model"), model_save_freq=40, gradient_save_freq=1)
    model.learn(steps, callback=callback)
    model.logger.close()
    environment.close()
    run.finish()
    return recorded(folder / "log")


def test_callback_tensorboard_and_videos(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value of the CSV is there at its time step, with settings, model, gradients and the video of an episode."""
    monkeypatch.chdir(tmp_path)
    for attempt in range(2):  # the second one writes videos of the same names
        run = wandb.init(project="sb3", sync_tensorboard=True, monitor_gym=True, config={"policy": "mine"})
        expected = training(run, tmp_path, 96)
        found = history(server, run.id)
        assert sorted(expected) == [32, 64, 96]
        for step, values in expected.items():
            known = {name: np.float32(found[step][name]) for name in values}
            assert known == pytest.approx(values, rel=1e-6)
        stored = server.get(f"/api/v1/runs/{run.id}")
        assert (stored["config"]["algo"], stored["config"]["policy"], stored["config"]["n_steps"]) == (
            "PPO",
            "mine",
            32,
        )
        assert stored["status"] == "completed"
        media = server.get(f"/api/v1/runs/{run.id}/media?limit=1000")["items"]
        assert [item["mediaType"] for item in media if item["key"] == "videos"] == ["video"], attempt
        assert any(item["key"].startswith("gradients/") for item in media)
        names = {row["name"] for row in server.get(f"/api/v1/runs/{run.id}/artifacts")["artifacts"]}
        assert any("model.zip" in name for name in names)


def test_callback_needs_a_run() -> None:
    """As W&B has it."""
    with pytest.raises(wandb.Error, match=r"wandb\.init"):
        WandbCallback()
