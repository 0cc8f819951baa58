"""Sweeps: told over HTTP and by their runs, paused and stopped by people, asked for by agents."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rundial.events import RunUpdate
from tests.server.conftest import RunningServer, Sender, serving

SPACE = {"lr": {"min": 1e-4, "max": 0.1, "distribution": "log_uniform_values"}, "layers": {"values": [1, 2, 3]}}
CONFIG = {"name": "digits", "method": "bayes", "metric": {"name": "loss", "goal": "minimize"}, "parameters": SPACE}


def address(sweep: str = "", project: str = "digits") -> str:
    return f"/api/v1/workspaces/default-workspace/projects/{project}/sweeps" + (f"/{sweep}" if sweep else "")


def put(server: RunningServer, sweep: str, project: str = "digits", **body: Any) -> dict[str, Any]:
    answer = server.call("PUT", address(sweep, project), json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def turn(server: RunningServer, sweep: str, state: str) -> int:
    return server.post(address(f"{sweep}/state"), json={"state": state}).status_code


def ask(server: RunningServer, sweep: str, **body: Any) -> dict[str, Any]:
    return dict(server.post(address(f"{sweep}/ask"), json=body).json())


def test_a_sweep_is_made_turned_and_finished(tmp_path: Path, database: Callable[[Path], str | None]) -> None:
    """On both engines: made with its project, paused, resumed, stopped, and finished by its agent alone."""
    with serving(tmp_path, database(tmp_path)) as server:
        made = put(server, "s1", config=CONFIG)
        assert (made["name"], made["method"], made["state"]) == ("digits", "bayes", "running")
        assert made["config"] == CONFIG and made["author"] and made["askedAtMs"] is None
        assert server.get(address("s1")).json() == made

        before = time.time_ns() // 1_000_000
        assert ask(server, "s1")["askedAtMs"] >= before
        assert turn(server, "s1", "paused") == 200
        told = ask(server, "s1")
        assert told["state"] == "paused" and told["turnedBy"] == made["author"]
        assert turn(server, "s1", "running") == turn(server, "s1", "running") == 200
        assert turn(server, "s1", "stopped") == 200
        assert turn(server, "s1", "paused") == 409
        assert ask(server, "s1", finished=True)["state"] == "stopped"
        assert turn(server, "s1", "running") == 200
        assert ask(server, "s1", finished=True)["state"] == "finished"
        assert turn(server, "s1", "running") == 409


def test_a_run_tells_of_its_sweep(tmp_path: Path, database: Callable[[Path], str | None]) -> None:
    """What is told later is merged, the state stays as people want it, and a replay changes nothing."""
    with serving(tmp_path, database(tmp_path)) as server:
        first, second = Sender(server, "run_sweep_a"), Sender(server, "run_sweep_b")
        first.start()
        config = {"method": "tpe", "parameters": {"lr": SPACE["lr"]}}
        told = RunUpdate(time.time_ns(), sweep={"id": "study", "name": "my study", "config": config})
        assert first.send(told).json()["rejected"] == []
        assert turn(server, "study", "paused") == 200
        first.send(told, first=1)
        second.start()
        second.send(RunUpdate(time.time_ns(), sweep={"id": "study", "config": {"parameters": {"n": {"value": 1}}}}))

        known = server.get(address("study")).json()
        assert (known["name"], known["method"], known["state"], known["author"]) == ("my study", "tpe", "paused", "")
        assert list(known["config"]["parameters"]) == ["lr", "n"]
        put(server, "study", name="named anew")
        known = server.get(address("study")).json()
        assert known["name"] == "named anew" and known["author"] and list(known["config"]["parameters"]) == ["lr", "n"]


@pytest.mark.parametrize(
    "sweep",
    [
        {},
        {"id": ""},
        {"id": "a/b"},
        {"id": "x" * 129},
        {"id": "s", "config": [1]},
        {"id": "s", "name": 7},
    ],
    ids=["no id", "empty id", "path", "long id", "config a list", "name a number"],
)
def test_a_sweep_that_cannot_be_kept_costs_only_itself(server: RunningServer, sweep: dict[str, Any]) -> None:
    """The record is refused with its reason; the one behind it counts."""
    run = Sender(server, "run_bad_sweep", project="bad-sweeps")
    run.start()
    reply = run.send(RunUpdate(1, sweep=sweep), RunUpdate(2, notes="here")).json()
    assert [bad["seq"] for bad in reply["rejected"]] == [1] and reply["accepted"] == 1
    assert server.get(address(project="bad-sweeps")).json()["sweeps"] == []
    assert server.get(f"/api/v1/runs/{run.run_id}").json()["notes"] == "here"


def test_sweeps_come_newest_first_in_pages(server: RunningServer) -> None:
    """Each once over all pages; those of other projects are not among them."""
    for number in range(5):
        put(server, f"p{number}", "paged", config={"method": "random"})
    put(server, "other", "unpaged")
    found: list[str] = []
    cursor = None
    while True:
        page = server.get(address(project="paged"), params={"limit": 2, "cursor": cursor}).json()
        found += [sweep["sweepId"] for sweep in page["sweeps"]]
        cursor = page["page"]["nextCursor"]
        if cursor is None:
            break
    whole = [sweep["sweepId"] for sweep in server.get(address(project="paged")).json()["sweeps"]]
    assert found == whole and sorted(found) == [f"p{number}" for number in range(5)]
    assert server.get(address(project="nowhere")).status_code == 404
    assert server.get(address("p0", "unpaged")).status_code == 404
    assert server.call("PUT", address("long", "paged"), json={"config": {"a": "b" * 300_000}}).status_code == 400
    assert server.post(address("p0", "unpaged") + "/ask", json={}).status_code == 404


def test_who_may_do_what_to_a_sweep(server: RunningServer) -> None:
    """A key that logs makes and asks; turning needs control; a turn is in the audit."""
    owner = server.store.accounts.verify(server.key)
    assert owner is not None
    _, key = server.store.accounts.create_key(owner.workspace_id, scopes=["metrics:write"], label="agent")
    assert server.call("PUT", address("mine", "unmade"), key=key, json={}).status_code == 404
    put(server, "first")
    assert server.call("PUT", address("mine"), key=key, json={"config": CONFIG}).json()["author"] == "agent"
    assert server.call("POST", address("mine/ask"), key=key, json={}).status_code == 200
    assert server.call("POST", address("mine/state"), key=key, json={"state": "paused"}).status_code == 403
    assert server.call("POST", address("mine/state"), json={"state": "finished"}).status_code == 400
    assert turn(server, "mine", "paused") == 200
    events = server.get("/api/v1/workspaces/default-workspace/audit").json()["events"]
    assert any(event["action"] == "sweep.state" and "mine" in str(event) for event in events)
