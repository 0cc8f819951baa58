"""A search from `wandb.sweep` to the server: the agent's loop, told offline and later, paused and stopped by people."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import rundial.compat.wandb as wandb
from rundial import sweeps
from rundial.compat.wandb import _init
from rundial.compat.wandb.__main__ import main
from rundial.compat.wandb._settings import Settings
from rundial.config import home
from rundial.errors import RequestError
from rundial.lowlevel import Client
from rundial.runs import init
from tests.flows.conftest import ServerProcess

PLACE = "default-workspace"
SPACE = {"lr": {"min": 0.001, "max": 0.1}, "layers": {"values": [1, 2]}}
CONFIG = {"name": "small", "method": "random", "metric": {"name": "loss", "goal": "minimize"}, "parameters": SPACE}


@pytest.fixture
def server(lasting_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> ServerProcess:
    """The file's server, which runs of this test log to."""
    monkeypatch.setenv("RUNDIAL_ENDPOINT", lasting_server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", lasting_server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(_init, "global_settings", Settings())
    return lasting_server


pages: list[str | None] = []


def train() -> None:
    with wandb.init(project="elsewhere") as run:
        run.log({"loss": run.config.lr * run.config.layers})
        pages.append(run.sweep_url)


def sweep_of(server: ServerProcess, project: str, sweep_id: str) -> dict[str, Any]:
    return Client(server.url, api_key=server.key).get_sweep(PLACE, project, sweep_id)


def wait_until(ready: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def test_an_agent_searches_and_the_server_knows_what(server: ServerProcess) -> None:
    """The sweep is there before its first run; its runs are in its project and carry its id; a full one is finished."""
    sweep_id = wandb.sweep({**CONFIG, "run_cap": 4}, project="hunt")
    made = sweep_of(server, "hunt", sweep_id)
    assert (made["name"], made["method"], made["state"]) == ("small", "random", "running")
    assert made["config"]["parameters"] == SPACE and made["author"] == "owner"

    wandb.agent(sweep_id, train)

    assert sweep_of(server, "hunt", sweep_id)["state"] == "finished"
    assert pages[-1] == f"{server.url}/#/p/default-workspace/hunt/sweeps?sweep={sweep_id}"
    found = server.runs("hunt")
    assert len(found) == 4 and server.runs("elsewhere") == []
    assert {run["config"]["_wandb"]["sweep"] for run in found} == {sweep_id}
    assert all(run["summary"]["loss"] == run["config"]["lr"] * run["config"]["layers"] for run in found)
    assert [it["sweepId"] for it in Client(server.url, api_key=server.key).list_sweeps(PLACE, "hunt")] == [sweep_id]

    shutil.rmtree(home() / "sweeps" / sweep_id)  # as on another machine
    read = wandb.Api().sweep(f"me/hunt/{sweep_id}")
    assert (read.name, read.state, read.config["method"], len(read.runs)) == ("small", "FINISHED", "random", 4)
    assert read.best_run().summary["loss"] == min(run["summary"]["loss"] for run in found)


def test_people_pause_and_stop_an_agent(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused agent waits before its next trial, goes on when it is resumed, and ends when the sweep is stopped."""
    monkeypatch.setattr(sweeps, "PAUSE_SECONDS", 0.1)
    client = Client(server.url, api_key=server.key)
    sweep_id = wandb.sweep(CONFIG, project="turned")
    done: list[int] = []

    def two() -> None:
        train()
        done.append(1)
        if len(done) in (2, 4):
            client.turn_sweep(PLACE, "turned", sweep_id, "paused" if len(done) == 2 else "stopped")

    agent = threading.Thread(target=wandb.agent, args=(sweep_id, two))
    agent.start()
    wait_until(lambda: len(done) == 2)
    asked = client.get_sweep(PLACE, "turned", sweep_id)["askedAtMs"]
    wait_until(lambda: client.get_sweep(PLACE, "turned", sweep_id)["askedAtMs"] > asked)
    assert len(done) == 2 and agent.is_alive()
    client.turn_sweep(PLACE, "turned", sweep_id, "running")
    agent.join(20)
    assert not agent.is_alive() and len(done) == 4
    wandb.agent(sweep_id, two)
    assert len(done) == 4
    assert main(["sweep", "--resume", f"turned/{sweep_id}"]) == 0
    assert wandb.Api().sweep(f"turned/{sweep_id}").state == "RUNNING"
    assert main(["sweep", "--pause", sweep_id]) == 0
    assert wandb.Api().sweep(f"turned/{sweep_id}").state == "PAUSED"


def test_a_sweep_made_without_a_server_is_known_with_its_runs(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline nothing is asked; each run takes the record along, and without a project the runs say where it is."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    sweep_id = wandb.sweep(CONFIG)
    wandb.agent(sweep_id, train, count=1)
    with pytest.raises(RequestError):
        sweep_of(server, "elsewhere", sweep_id)
    monkeypatch.delenv("WANDB_MODE")
    wandb.agent(sweep_id, train, count=1)
    made = sweep_of(server, "elsewhere", sweep_id)
    assert made["config"]["metric"] == CONFIG["metric"] and made["author"] == ""


def test_a_run_joins_a_sweep_of_ones_own(server: ServerProcess) -> None:
    """`rundial.sweeps.join` makes the sweep known; an id that cannot be one is a warning, and the run goes on."""
    run = init(project="own", name="first")
    assert sweeps.join(run, "mine", {"method": "by hand", "api_key": "secret"}, name="my search")
    with pytest.warns(RuntimeWarning, match="cannot be the id of a sweep"):
        assert not sweeps.join(run, "a/b")
    run.log({"loss": 1.0})
    assert run.finish()
    made = sweep_of(server, "own", "mine")
    assert (made["name"], made["method"]) == ("my search", "by hand")
    assert made["config"]["api_key"] == "[redacted]"
    assert server.runs("own")[0]["config"]["_sweep"] == "mine"


def test_a_link_never_fails(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server, with one that is gone and with a wrong key: the search goes on, after one warning at most."""
    assert sweeps.Link("s", project="p", mode="offline").wait()
    gone = sweeps.Link("s", project="p", endpoint="http://127.0.0.1:9")
    assert not gone.announce({}) and gone.wait()
    gone.finish()
    stranger = sweeps.Link("s", project="p", endpoint=server.url, api_key="rdk_wrong")
    with pytest.warns(RuntimeWarning, match="goes on without its server") as warned:
        assert not stranger.announce({"method": "grid"}) and stranger.wait()
    assert len(warned) == 1
