"""RundialOptunaCallback in real studies, beside Optuna's own record of them."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("optuna")

import optuna

from rundial import sweeps
from rundial.errors import ConfigError
from rundial.integrations.optuna import RundialOptunaCallback
from rundial.lowlevel import Client
from tests.integrations.conftest import history

pytestmark = pytest.mark.frameworks

optuna.logging.set_verbosity(optuna.logging.WARNING)


def objective(trial):
    x = trial.suggest_float("x", -1, 1)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    if trial.number == 3:
        raise optuna.TrialPruned
    if trial.number == 4:
        raise ValueError("no")
    for step in range(3):
        trial.report(x * step, step)
    return x * x + (kind == "b")


def study():
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(0), study_name="tuned")


@pytest.mark.parametrize("threads", [1, 4])
def test_a_study_is_a_run(server, threads):
    """Each trial is a step with value, parameters and state; the best is in the summary; threads share one run."""
    callback = RundialOptunaCallback(project=f"optuna{threads}", config={"storage_password": "s3"})
    found = study()
    found.optimize(objective, n_trials=20, callbacks=[callback], catch=ValueError, n_jobs=threads)
    assert callback.run.finish()
    logged = history(server, callback.run.id)
    assert sorted(logged) == list(range(20))
    for trial in found.trials:
        row = logged[trial.number]
        assert row.get("value") == trial.value
        assert row["params/x"] == trial.params["x"]
    (run,) = server.runs(f"optuna{threads}")
    whole = server.get(f"/api/v1/runs/{run['runId']}")
    assert whole["summary"]["best_value"] == found.best_value
    assert whole["summary"]["best_params"] == found.best_params
    assert whole["summary"]["best_trial"] == found.best_trial.number
    assert whole["config"]["optuna"]["sampler"] == "RandomSampler"
    assert whole["config"]["storage_password"] == "[redacted]"


def test_a_run_for_each_trial(server):
    """In a group, with the trial's parameters, what it reported and what the objective logged, and its end."""
    callback = RundialOptunaCallback(project="trials", metric_name="loss", run_per_trial=True)

    def logging_objective(trial):
        callback.run_of(trial).log({"own": trial.number}, step=0)
        return objective(trial)

    found = study()
    found.optimize(logging_objective, n_trials=6, callbacks=[callback], catch=ValueError)
    ends = {"COMPLETE": "completed", "PRUNED": "aborted", "FAIL": "failed"}
    for trial in found.trials:
        name = f"tuned-{trial.number}"
        run = server.wait_for("trials", lambda run, name=name: run["runName"] == name and run["status"] != "running")
        whole = server.get(f"/api/v1/runs/{run['runId']}")
        assert run["status"] == ends[trial.state.name]
        assert whole["group"] == "tuned"
        assert whole["config"]["params"] == trial.params
        logged = history(server, run["runId"])
        assert logged[0]["own"] == trial.number
        if trial.state.name == "COMPLETE":
            assert server.points(run["runId"], "loss/reported") == sorted(trial.intermediate_values.items())
            assert logged[2]["loss"] == trial.value == whole["summary"]["loss"]


def test_a_study_is_a_sweep(server, monkeypatch):
    """Told by its trials, with ranges and goal; the study waits while it is paused, and ends when it is stopped."""
    monkeypatch.setattr(sweeps, "PAUSE_SECONDS", 0.1)
    callback = RundialOptunaCallback(project="swept", metric_name="loss", run_per_trial=True)
    client = Client(server.url, api_key=server.key)
    place = ("default-workspace", "swept", "search")

    def steered(trial):
        if trial.number == 3:
            callback.run_of(trial)
            client.turn_sweep(*place, "paused")
            threading.Timer(1.0, client.turn_sweep, (*place, "stopped")).start()
        return (
            trial.suggest_float("lr", 1e-4, 1.0, log=True)
            + trial.suggest_int("n", 1, 8)
            + len(trial.suggest_categorical("kind", ["a", "bb"]))
        )

    found = optuna.create_study(study_name="search", direction="maximize")
    found.optimize(steered, n_trials=20, callbacks=[callback])
    assert len(found.trials) == 4

    known = client.get_sweep(*place)
    assert (known["name"], known["method"], known["state"]) == ("search", "TPESampler", "stopped")
    assert known["config"]["metric"] == {"name": "loss", "goal": "maximize"}
    assert known["config"]["parameters"]["params"]["parameters"] == {
        "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
        "n": {"distribution": "int_uniform", "min": 1, "max": 8},
        "kind": {"values": ["a", "bb"]},
    }
    assert {run["config"]["_sweep"] for run in server.runs("swept")} == {"search"}


def test_several_values(server):
    """By their names."""
    callback = RundialOptunaCallback(project="several", metric_name=["cost", "gain"])
    found = optuna.create_study(directions=["minimize", "maximize"])
    found.optimize(lambda t: (t.suggest_int("n", 1, 5), 2.5), n_trials=4, callbacks=[callback])
    assert callback.run.finish()
    for key, index in (("cost", 0), ("gain", 1)):
        assert server.points(callback.run.id, key) == [(t.number, t.values[index]) for t in found.trials]


def test_nothing_raises(monkeypatch):
    """Whatever happens while logging is a warning; a mistake in the settings is not."""
    with pytest.raises(ConfigError):
        RundialOptunaCallback(run_id="r", run_per_trial=True)
    callback = RundialOptunaCallback(project="optuna", mode="disabled")
    monkeypatch.setattr(type(callback._lazy), "writable", property(lambda self: 1 / 0))
    found = study()
    with pytest.warns(RuntimeWarning, match="was not logged"):
        found.optimize(objective, n_trials=3, callbacks=[callback])
    assert len(found.trials) == 3
