"""RundialRayCallback in real searches of Ray Tune, beside Ray's own result files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

import rundial as rd
from rundial.errors import ConfigError
from rundial.integrations.ray import RundialRayCallback
from tests.integrations.conftest import history, succeed

TRAINABLE = '''
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from ray import tune


def train(config):
    """Five reports; a checkpoint with each, from which a restored trial goes on."""
    first, checkpoint = 0, tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            first = json.loads((Path(folder) / "state.json").read_text()) + 1
    for i in range(first, 5):
        if config.get("fail") and i == 3 and not Path(config["fail"]).exists():
            raise RuntimeError("meant to be")
        with TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps(i))
            tune.report(
                {"loss": config["lr"] / (i + 1), "nested": {"value": i}}, checkpoint=tune.Checkpoint(folder)
            )
'''


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    """A Ray of this machine alone, with room for two trials."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, address="local")
    yield
    ray.shutdown()


@pytest.fixture
def train() -> Any:
    found: dict[str, Any] = {}
    exec(TRAINABLE, found)
    return found["train"]


def search(train: Any, callback: Any, folder: Path, **parameters: Any) -> Any:
    config = tune.RunConfig(name="search", storage_path=str(folder), callbacks=[callback], verbose=0)
    space = {"lr": tune.grid_search([0.5, 1.0]), "token": "secret-1", **parameters}
    return tune.Tuner(train, param_space=space, run_config=config)


def recorded(path: str) -> dict[int, dict[str, float]]:
    """Ray's own result file of a trial: what it reported, by iteration."""
    rows = [json.loads(line) for line in (Path(path) / "result.json").read_text().splitlines()]
    names = ("loss", "time_total_s", "time_this_iter_s")
    return {
        row["training_iteration"]: {**{n: row[n] for n in names}, "nested/value": row["nested"]["value"]}
        for row in rows
    }


def test_a_run_for_each_trial(server, train, tmp_path):
    """Values as in Ray's own files, parameters as the configuration, checkpoints as artifacts, in a group."""
    callback = RundialRayCallback(project="ray", log_model=True)
    results = search(train, callback, tmp_path).fit()
    assert len(results) == 2 and not results.errors
    for result in results:
        run = callback.run_of(result.metrics["trial_id"])
        assert run.status == "completed"
        assert history(server, run.id) == recorded(result.path)
        found = server.get(f"/api/v1/runs/{run.id}")
        assert (found["status"], found["group"]) == ("completed", "search")
        assert found["config"]["_sweep"] == "search"
        assert (found["config"]["lr"], found["config"]["token"]) == (result.config["lr"], "[redacted]")
        artifacts = server.get(f"/api/v1/runs/{run.id}/artifacts")["artifacts"]
        assert {artifact["type"] for artifact in artifacts} == {"model"}


def test_a_failed_trial_and_restore(server, train, tmp_path):
    """A trial that fails is a failed run; Tuner.restore goes on with it: one run, one curve."""
    marker = tmp_path / "go-on"
    first = RundialRayCallback(project="ray")
    results = search(train, first, tmp_path, fail=str(marker)).fit()
    assert len(results.errors) == 2
    runs = {result.metrics["trial_id"]: first.run_of(result.metrics["trial_id"]) for result in results}
    assert {server.get(f"/api/v1/runs/{run.id}")["status"] for run in runs.values()} == {"failed"}
    marker.touch()
    again = tune.Tuner.restore(str(tmp_path / "search"), trainable=train, resume_errored=True).fit()
    assert not again.errors
    for result in again:
        run = runs[result.metrics["trial_id"]]
        assert server.get(f"/api/v1/runs/{run.id}")["status"] == "completed"
        assert server.points(run.id, "loss") == [(i + 1, result.config["lr"] / (i + 1)) for i in range(5)]
    assert {run["runId"] for run in server.runs("ray")} >= {run.id for run in runs.values()}
    assert len([run for run in server.runs("ray") if run["runId"] in {each.id for each in runs.values()}]) == 2


def test_all_into_a_run_of_yours(server, train, tmp_path):
    """Each trial under its id; the run stays open."""
    run = rd.init(project="ray-one")
    results = search(train, RundialRayCallback(run, metric_prefix="tune"), tmp_path).fit()
    assert run.status == "running" and run.finish()
    assert len(server.runs("ray-one")) == 1
    for result in results:
        expected = [(i + 1, result.config["lr"] / (i + 1)) for i in range(5)]
        assert server.points(run.id, f"tune/{result.metrics['trial_id']}/loss") == expected


def test_nothing_raises(train, tmp_path, monkeypatch):
    """Whatever happens while logging is a warning; a mistake in the settings is not."""
    with pytest.raises(ConfigError):
        RundialRayCallback(projekt="x")
    callback = RundialRayCallback(project="ray", mode="disabled")
    monkeypatch.setattr(type(callback._lazy), "writable", property(lambda self: 1 / 0))
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
        results = search(train, callback, tmp_path).fit()
    assert len(results) == 2 and not results.errors


def test_server_killed_in_the_middle(start_server, script, monkeypatch, tmp_path):
    """The search ends as if nothing had been, and everything arrives when the server is back."""
    server = start_server()
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    program = """
        import json, sys
        from rundial.integrations.ray import RundialRayCallback
        class Waiting(RundialRayCallback):
            def log_trial_result(self, iteration, trial, result):
                super().log_trial_result(iteration, trial, result)
                if result["training_iteration"] == 2:
                    print("RUN", self.run_of(trial.trial_id).id, file=sys.stderr, flush=True)
                    sys.stdin.readline()
        import ray
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, address="local")
        exec(sys.argv[1])
        config = tune.RunConfig(storage_path=sys.argv[2], callbacks=[Waiting(project="ray")], verbose=0)
        results = tune.Tuner(train, param_space={"lr": 1.0}, run_config=config).fit()
        print("ERRORS", len(results.errors), file=sys.stderr, flush=True)
    """
    training = script(program, TRAINABLE, tmp_path)
    line = next(line for line in training.stderr if line.startswith(b"RUN"))
    run_id = line.split()[1].decode()
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    training.stdin.write(b"\n")
    training.stdin.flush()
    succeed(training)
    again = start_server(port=server.port)
    script("import subprocess, sys; subprocess.run([sys.executable, '-m', 'rundial', 'sync'], check=True)").output()
    project = again.get(f"/api/v1/runs/{run_id}")["projectId"]
    again.wait_for(project, lambda run: len(history(again, run["runId"])) == 5)
    assert again.points(run_id, "loss") == [(i + 1, 1.0 / (i + 1)) for i in range(5)]
