"""Sweeps: every point of a grid, the distributions, a search that learns, hyperband, several agents."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb import _sweep_store
from rundial.compat.wandb._sweep import bands_of
from rundial.compat.wandb._sweep_search import suggest
from rundial.compat.wandb._sweep_space import parameters_of
from rundial.compat.wandb.errors import UsageError


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs stay on the disk: a sweep needs no server."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("RUNDIAL_QUIET", "1")


def test_a_grid_is_tried_point_by_point() -> None:
    """Each combination once, as configuration that the script cannot change; then the agent ends."""
    seen: list[tuple[Any, ...]] = []

    def train() -> None:
        with wandb.init(config={"lr": 99, "other": 1}) as run:
            seen.append((run.config.lr, run.config["net"]["depth"], run.config.other, run.project))
            assert run.sweep_id == sweep_id

    parameters = {"lr": {"values": [0.1, 0.2]}, "net": {"parameters": {"depth": {"min": 1, "max": 3}}}}
    sweep_id = wandb.sweep({"method": "grid", "parameters": parameters}, project="grid")
    wandb.agent(f"me/grid/{sweep_id}", train)
    assert seen == [(lr, depth, 1, "grid") for lr in (0.1, 0.2) for depth in (1, 2, 3)]
    assert _sweep_store.read(sweep_id).state == "FINISHED"
    assert {trial.state for trial in _sweep_store.read(sweep_id).trials} == {"finished"}
    wandb.agent(sweep_id, train)
    assert len(seen) == 6 and wandb.run is None


def test_random_search_takes_as_many_as_it_is_told() -> None:
    """``count``, and a seed in the script does not make all points the same."""
    seen: list[float] = []

    def train() -> None:
        random.seed(0)
        wandb.init()
        seen.append(wandb.config.x)
        wandb.finish()

    sweep_id = wandb.sweep({"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}, "run_cap": 7})
    wandb.agent(sweep_id, train, count=5)
    assert len(set(seen)) == 5 and all(0 <= x <= 1 for x in seen)
    wandb.agent(sweep_id, train, count=5)
    assert len(seen) == 7


def test_a_failing_trial_is_noted_and_the_next_goes_on() -> None:
    """One exception is no reason to stop; three at the beginning are."""
    calls: list[int] = []

    def train() -> None:
        with wandb.init():
            calls.append(wandb.config.n)
            if wandb.config.n == 2:
                raise RuntimeError("broken")

    sweep_id = wandb.sweep({"method": "grid", "parameters": {"n": {"values": [1, 2, 3]}}})
    wandb.agent(sweep_id, train)
    assert calls == [1, 2, 3]
    assert [trial.state for trial in _sweep_store.read(sweep_id).trials] == ["finished", "failed", "finished"]

    def broken() -> None:
        calls.append(0)
        raise RuntimeError("broken")

    calls.clear()
    wandb.agent(wandb.sweep({"method": "random", "parameters": {"n": {"min": 0, "max": 9}}}), broken, count=10)
    assert len(calls) == 3


def test_bayes_comes_nearer_than_chance() -> None:
    """Forty trials on a bowl: the best is closer than what random search finds in nearly all of a hundred tries."""
    parameters = parameters_of({"x": {"min": -1.0, "max": 1.0}, "y": {"min": -1.0, "max": 1.0}})

    def loss(point: list[float]) -> float:
        x, y = (parameter.at(unit) for parameter, unit in zip(parameters, point))
        return float((x - 0.3) ** 2 + (y + 0.4) ** 2)

    results: list[tuple[list[float], float]] = []
    for _ in range(40):
        point = suggest("bayes", parameters, [known for known, _ in results], results)
        assert point is not None
        results.append((point, loss(point)))
    chance = sorted(min(loss([random.random(), random.random()]) for _ in range(40)) for _ in range(100))
    assert min(value for _, value in results) < chance[20]


def test_bayes_through_the_agent_learns_from_the_summary() -> None:
    """What the runs log as the metric is what the search is told."""

    def train() -> None:
        with wandb.init() as run:
            run.log({"score": -((wandb.config.x - 0.5) ** 2)})

    metric = {"name": "score", "goal": "maximize"}
    sweep_id = wandb.sweep({"method": "bayes", "metric": metric, "parameters": {"x": {"min": 0.0, "max": 1.0}}})
    wandb.agent(sweep_id, train, count=12)
    trials = _sweep_store.read(sweep_id).trials
    assert all(trial.metric == pytest.approx(-((trial.params["x"] - 0.5) ** 2)) for trial in trials)
    assert min(abs(trial.params["x"] - 0.5) for trial in trials) < 0.1


def test_hyperband_ends_what_is_hopeless() -> None:
    """The good trial goes to its end, later and worse ones stop at the first band, and their runs end well."""
    lengths: list[int] = []

    def train() -> None:
        with wandb.init() as run:
            lengths.append(0)
            for step in range(10):
                run.log({"loss": wandb.config.level - step / 100})
                lengths[-1] = step + 1

    early = {"type": "hyperband", "min_iter": 2, "eta": 2}
    config = {"method": "grid", "metric": {"name": "loss", "goal": "minimize"}, "early_terminate": early}
    sweep_id = wandb.sweep({**config, "parameters": {"level": {"values": [1, 2, 3]}}})
    wandb.agent(sweep_id, train)
    assert lengths == [10, 1, 1]  # `log` of the second value raised
    assert [trial.state for trial in _sweep_store.read(sweep_id).trials] == ["finished", "stopped", "stopped"]
    assert bands_of({"type": "hyperband", "max_iter": 27, "s": 2, "eta": 3}) == [3, 9]


@pytest.mark.parametrize(
    ("about", "low", "high"),
    [
        ({"min": 1, "max": 4}, 1, 4),
        ({"min": 0.5, "max": 2.0}, 0.5, 2.0),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}, 1e-4, 1e-1),
        ({"distribution": "log_uniform", "min": -3, "max": 0}, math.exp(-3), 1),
        ({"distribution": "inv_log_uniform", "min": 0, "max": 3}, math.exp(-3), 1),
        ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 5}, 0, 10),
        ({"distribution": "q_log_uniform_values", "min": 8, "max": 64, "q": 8}, 8, 64),
        ({"distribution": "normal", "mu": 5, "sigma": 1}, -2, 12),
        ({"distribution": "log_normal", "mu": 0, "sigma": 1}, 0, 1000),
        ({"distribution": "beta", "a": 2, "b": 5}, 0, 1),
        ({"values": ["a", "b"], "probabilities": [0.1, 0.9]}, None, None),
    ],
)
def test_distributions(about: dict[str, Any], low: float | None, high: float | None) -> None:
    """Values lie in their range and go up with the place in the distribution; multiples are multiples."""
    (parameter,) = parameters_of({"p": about})
    values = [parameter.at(number / 100) for number in range(101)]
    if low is None or high is None:
        assert values.count("a") == 10
        return
    assert all(low - 1e-12 <= value <= high + 1e-12 for value in values)
    assert values == sorted(values) or values == sorted(values, reverse=True)
    assert len(set(values)) > 2 and ("q" not in about or all(value % about["q"] == 0 for value in values))


@pytest.mark.parametrize(
    "config",
    [
        {"method": "guess", "parameters": {"x": {"value": 1}}},
        {"method": "grid"},
        {"method": "grid", "parameters": {"x": {"min": 0.0, "max": 1.0}}},
        {"method": "bayes", "parameters": {"x": {"min": 0.0, "max": 1.0}}},
        {"method": "random", "parameters": {"x": {"distribution": "strange", "min": 0, "max": 1}}},
    ],
)
def test_mistakes_are_said_when_the_sweep_is_made(config: dict[str, Any]) -> None:
    """Not after a night of waiting."""
    with pytest.raises(UsageError):
        wandb.sweep(config)


def test_programs_as_trials_by_two_agents_at_once(tmp_path: Path) -> None:
    """``sweep FILE`` and ``agent ID`` in processes of their own: each point once, arguments and results arrive."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, wandb\n"
        "with wandb.init() as run:\n"
        "    run.log({'loss': run.config.x})\n"
        "    assert f'--x={run.config.x}' in sys.argv, sys.argv\n"
    )
    file = tmp_path / "sweep.json"
    config = {"method": "grid", "program": str(script), "metric": {"name": "loss"}}
    file.write_text(json.dumps({**config, "parameters": {"x": {"values": [1, 2, 3, 4]}}}))
    command = [sys.executable, "-m", "rundial.compat.wandb"]
    made = subprocess.run([*command, "sweep", str(file)], capture_output=True, text=True, timeout=60, check=True)
    sweep_id = made.stdout.strip()
    agents = [subprocess.Popen([*command, "agent", sweep_id], stderr=subprocess.PIPE, env=os.environ) for _ in range(2)]
    for agent in agents:
        _, said = agent.communicate(timeout=90)
        assert agent.returncode == 0, said.decode()
    trials = _sweep_store.read(sweep_id).trials
    assert sorted(trial.params["x"] for trial in trials) == [1, 2, 3, 4]
    assert all(trial.metric == trial.params["x"] and trial.state == "finished" for trial in trials)


def test_controller_schedules_what_agents_run():
    """Agents wait for it, run what it schedules in its order, and end with it."""
    controller = wandb.controller()
    controller.configure_search("grid")
    controller.configure_metric("loss", "minimize")
    controller.configure_parameter("lr", values=[1, 2, 3])
    with pytest.raises(wandb.UsageError, match="create"):
        controller.step()
    sweep_id = controller.create()
    seen = []

    def train():
        with wandb.init(project="controlled") as run:
            seen.append(run.config.lr)
            run.log({"loss": run.config.lr})

    agent = threading.Thread(target=wandb.agent, args=(sweep_id, train))
    agent.start()
    wandb.controller(sweep_id).run(print_status=False)
    agent.join(60)
    assert not agent.is_alive() and seen == [1, 2, 3] and controller.done()
    assert [(it.state, it.metric) for it in _sweep_store.read(sweep_id).trials] == [("finished", n) for n in (1, 2, 3)]
    assert (controller.search(), controller.stopping()) == (None, [])
    with pytest.raises(NotImplementedError, match="stop_runs"):
        controller.stop_runs([object()])


def test_controller_of_ones_own():
    """search() proposes, schedule() decides: the trials that are not scheduled are not run."""
    controller = wandb.controller({"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    sweep_id = controller.create()
    proposed = controller.search()
    assert proposed.params == {"a": 1}
    proposed.params = {"a": 10}
    controller.schedule(proposed)
    controller.schedule(None)
    seen = []

    def train():
        with wandb.init(project="controlled-2") as run:
            seen.append(run.config.a)

    wandb.agent(sweep_id, train)
    assert seen == [10] and controller.done()
    plain = wandb.sweep({"method": "grid", "parameters": {"a": {"values": [1]}}})
    with pytest.raises(wandb.UsageError, match="local"):
        wandb.controller(plain)
