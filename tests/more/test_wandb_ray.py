"""Ray's own ``WandbLoggerCallback``, unmodified, under ``install()``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integrations.conftest import succeed

pytestmark = pytest.mark.timeout(300)

CODE = """
import json, os, sys
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RUNDIAL_COMPAT": "wandb"}
import ray
from ray import tune
from ray.air.integrations.wandb import WandbLoggerCallback
from tests.more.test_ray import TRAINABLE

names = {}
exec(TRAINABLE, names)
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, address="local")
callback = WandbLoggerCallback(project="ray-own", group="g", log_config=False, upload_checkpoints=True)
config = tune.RunConfig(name="search", storage_path=os.getcwd(), callbacks=[callback], verbose=0)
results = tune.Tuner(names["train"], param_space={"lr": tune.grid_search([0.5, 1.0])}, run_config=config).fit()
assert not results.errors
ray.shutdown()
print(json.dumps({result.metrics["trial_id"]: result.config["lr"] for result in results}))
"""


def test_rays_own_callback(server: Any, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run for each trial, with the trial's id: its parameters, its reports, its checkpoints."""
    monkeypatch.setenv("RUNDIAL_COMPAT", "wandb")
    trials = json.loads(succeed(program(CODE), 240).splitlines()[-1])
    assert len(trials) == 2
    for trial, rate in trials.items():
        stored = server.get(f"/api/v1/runs/{trial}")
        assert (stored["projectSlug"], stored["group"], stored["status"]) == ("ray-own", "g", "completed")
        assert stored["config"]["lr"] == rate
        assert server.points(trial, "loss") == [(i + 1, rate / (i + 1)) for i in range(5)]
        assert server.points(trial, "nested/value") == [(i + 1, i) for i in range(5)]
        artifacts = server.get(f"/api/v1/runs/{trial}/artifacts")["artifacts"]
        assert {artifact["type"] for artifact in artifacts} == {"model"}
