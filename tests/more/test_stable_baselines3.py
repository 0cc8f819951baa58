"""RundialSB3Callback in real trainings, beside Stable-Baselines3's own CSV of them."""

from __future__ import annotations

import csv
import json
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.logger import Figure, HParam, Image, Logger, Video, configure

from rundial.errors import ConfigError
from rundial.integrations.stable_baselines3 import RundialSB3Callback, RundialWriter
from tests.integrations.conftest import History, history, succeed

torch.set_num_threads(1)
OPTIONS: dict[str, Any] = {"n_steps": 32, "batch_size": 16, "n_epochs": 1, "seed": 0, "device": "cpu"}


def recorded(folder: Any) -> History:
    """What Stable-Baselines3 wrote into its CSV, by time step."""
    found: History = {}
    with (folder / "progress.csv").open() as file:
        for row in csv.DictReader(file):
            values = {name: float(value) for name, value in row.items() if value}
            step = int(values.pop("time/total_timesteps"))
            for name in ("time/iterations", "time/time_elapsed", "train/n_updates"):
                values.pop(name, None)  # excluded from TensorBoard, and so from here
            found.setdefault(step, {}).update(values)
    return found


def test_ppo(server, tmp_path):
    """Each value at its time step is that of the CSV, for evaluations as well, and a second learn() goes on."""
    callback = RundialSB3Callback(project="sb3", log_model=True, config={"api_key": "k-123"})
    model = PPO("MlpPolicy", "CartPole-v1", **OPTIONS)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    evaluation = EvalCallback(gymnasium.make("CartPole-v1"), eval_freq=48, n_eval_episodes=2, verbose=0)
    model.learn(96, callback=[callback, evaluation])
    model.learn(64, callback=callback, reset_num_timesteps=False)
    assert callback.run.finish()
    model.logger.close()
    expected = recorded(tmp_path)
    assert sorted(expected) == [32, 48, 64, 96, 128, 160]
    assert "eval/mean_reward" in expected[48] and "rollout/ep_rew_mean" in expected[96]
    assert any("train/loss" in values for values in expected.values())
    found = history(server, callback.run.id)
    assert {step: set(values) for step, values in found.items()} == {step: set(v) for step, v in expected.items()}
    for step, values in expected.items():
        # the CSV has single precision in as few digits as that takes
        assert {name: np.float32(value) for name, value in found[step].items()} == pytest.approx(values, rel=1e-6)
    run = server.get(f"/api/v1/runs/{callback.run.id}")
    about = run["config"]["stable_baselines3"]
    assert (about["algorithm"], about["env"], about["n_steps"]) == ("PPO", "CartPole-v1", 32)
    assert about["num_parameters"] == sum(each.numel() for each in model.policy.parameters())
    assert run["config"]["api_key"] == "[redacted]"
    artifacts = server.get(f"/api/v1/runs/{callback.run.id}/artifacts")["artifacts"]
    assert {artifact["type"] for artifact in artifacts} == {"model"}


def test_learning_anew_goes_on_with_the_curve(server):
    """An off-policy algorithm; what counts from zero again stands behind what there is."""
    callback = RundialSB3Callback(project="sb3", metric_prefix="dqn")
    model = DQN("MlpPolicy", "CartPole-v1", learning_starts=10, seed=0, device="cpu")
    first = model.learn(40, callback=callback, log_interval=1).num_timesteps
    model.learn(40, callback=callback, log_interval=1)
    callback.log({"mine": 1.5})
    assert callback.run.finish()
    steps = [step for step, _ in server.points(callback.run.id, "dqn/rollout/exploration_rate")]
    assert steps == sorted(set(steps)) and steps[0] < first < steps[-1] <= 80
    assert server.points(callback.run.id, "dqn/mine") == [(first + model.num_timesteps, 1.5)]


def test_a_saved_model_goes_on_with_its_run(server, tmp_path):
    """After PPO.load, with another callback, unless it begins from zero."""
    first = RundialSB3Callback(project="sb3")
    model = PPO("MlpPolicy", "CartPole-v1", **OPTIONS)
    model.learn(32, callback=first)
    model.save(tmp_path / "model")
    assert first.run.finish()
    second, other = RundialSB3Callback(project="sb3"), RundialSB3Callback(project="sb3")
    loaded = PPO.load(tmp_path / "model", env=gymnasium.make("CartPole-v1"))
    loaded.learn(32, callback=second, reset_num_timesteps=False)
    assert second.run.id == first.run.id
    assert second.run.finish()
    assert [step for step, _ in server.points(first.run.id, "time/fps")] == [32, 64]
    PPO.load(tmp_path / "model", env=gymnasium.make("CartPole-v1")).learn(32, callback=other)
    assert other.run.id != first.run.id
    assert other.run.finish()


def test_media_and_what_is_excluded(server):
    """As an output format of a Logger of one's own: pictures, figures, videos, histograms, hyper-parameters."""
    figure = pytest.importorskip("matplotlib.figure").Figure()
    writer = RundialWriter(project="sb3")
    logger = Logger(None, [writer])
    logger.record("image", Image(np.zeros((4, 4, 3), np.uint8), "HWC"))
    logger.record("figure", Figure(figure, close=True))
    logger.record("video", Video(torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8), fps=5))
    logger.record("weights", torch.ones(10))
    logger.record("hparams", HParam({"lr": 0.5}, {"reward": 3.0}))
    logger.record("note", "a text")
    logger.record("kept", np.float32(0.5))
    logger.record("hidden", 1.0, exclude="tensorboard")
    logger.record("also", 1.0, exclude=("stdout", "rundial"))
    logger.dump(7)
    assert writer.run.finish()
    kinds = {key["key"]: key["mediaType"] for key in server.get(f"/api/v1/runs/{writer.run.id}/media")["keys"]}
    assert kinds == {"image": "image", "figure": "image", "video": "video", "weights": "histogram"}
    run = server.get(f"/api/v1/runs/{writer.run.id}")
    assert (run["config"]["lr"], run["summary"]["reward"]) == (0.5, 3.0)
    keys = {key["metricKey"] for key in server.get(f"/api/v1/metrics/keys?runId={writer.run.id}")["keys"]}
    assert keys == {"kept", "note"}
    assert server.points(writer.run.id, "kept") == [(7, 0.5)]


def test_nothing_raises(monkeypatch):
    """Whatever happens while logging is a warning; a mistake in the settings is not."""
    with pytest.raises(ConfigError):
        RundialSB3Callback(projekt="x")
    callback = RundialSB3Callback(project="sb3", mode="disabled")
    monkeypatch.setattr(type(callback._lazy), "writable", property(lambda self: 1 / 0))
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
        model = PPO("MlpPolicy", "CartPole-v1", **OPTIONS).learn(32, callback=callback)
    assert model.num_timesteps == 32


def test_server_killed_in_the_middle(start_server, script, monkeypatch):
    """The training ends as if nothing had been, and everything arrives when the server is back."""
    server = start_server()
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    training = script("""
        import json, sys
        from stable_baselines3 import PPO
        from stable_baselines3.common.callbacks import BaseCallback
        from rundial.integrations.stable_baselines3 import RundialSB3Callback
        class Wait(BaseCallback):
            def _on_step(self):
                if self.num_timesteps == 40:
                    print(callback.run.id, flush=True)
                    sys.stdin.readline()
                return True
        callback = RundialSB3Callback(project="sb3")
        model = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=16, n_epochs=1, device="cpu", verbose=0)
        model.learn(128, callback=[callback, Wait()])
        print(json.dumps(model.num_timesteps))
    """)
    run_id = training.stdout.readline().decode().strip()
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    training.stdin.write(b"\n")
    training.stdin.flush()
    assert json.loads(succeed(training)) == 128
    again = start_server(port=server.port)
    script("import subprocess, sys; subprocess.run([sys.executable, '-m', 'rundial', 'sync'], check=True)").output()
    project = again.get(f"/api/v1/runs/{run_id}")["projectId"]
    again.wait_for(project, lambda run: len(history(again, run["runId"])) == 4)
    assert [step for step, _ in again.points(run_id, "train/loss")] == [64, 96, 128]
