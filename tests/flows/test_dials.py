"""Dials, from a click to the training thread and back, with real processes that die at the wrong moment."""

import collections
import os
import random
import signal
import time

import pytest

from rundial.control import dials

JOB = """
import sys, time
import rundial as rd

run = rd.init(
    project="dials", run_id="run_dials", resume="allow", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True
)
state = {"lr": 0.1, "stop": False}
run.dial("lr", lambda: state["lr"], lambda value: state.update(lr=value), min=0.0, max=1.0)
run.dial("stop", set=lambda: state.update(stop=True))
until = time.monotonic() + 60
step = 0
while not state["stop"] and time.monotonic() < until:
    if step < 3 or step % 50 == 0:
        run.log({"lr": state["lr"]}, step=step)
    for ack in run.poll():
        run.log({"lr": state["lr"]}, step=step + 1)
        print(ack.name, ack.status, flush=True)
    step += 1
    time.sleep(0.01)
run.finish(10)
"""


def turn(server, name, value=None, **more):
    body = {"name": name, "value": value, **more}
    answer = server._session.post(f"{server.url}/api/v1/runs/run_dials/commands", json=body, timeout=20)
    answer.raise_for_status()
    return answer.json()


def commands(server):
    return server.get("/api/v1/runs/run_dials/commands?limit=1000")["commands"]


def wait_for(ready, seconds=20):
    """What ``ready`` gives, once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)
    return found


def dials_of(server):
    if not server.runs("dials"):
        return []
    return server.get("/api/v1/runs/run_dials/dials")["dials"]


def test_a_click_reaches_the_training_thread_and_comes_back(start_server, script):
    """Value, acknowledgement, marker and the metric that changes; a stop ends the run as completed."""
    server = start_server()
    job = script(JOB, server.url, server.key)
    wait_for(lambda: len(dials_of(server)) == 2)

    sent = turn(server, "lr", 0.01, reason="too fast")
    done = wait_for(lambda: [one for one in commands(server) if one["status"] == "applied"])[0]
    took = done["finishedAtMs"] - sent["createdAtMs"]
    turn(server, "stop")
    out, _ = job.output()

    assert out.split("\n")[:2] == ["lr applied", "stop applied"]
    assert (done["commandId"], done["former"], done["author"]) == (sent["commandId"], 0.1, "owner")
    assert took < 5_000  # half a second where nobody else wants the processor
    run = server.wait_for("dials", lambda run: run["status"] == "completed")
    marker = next(m for m in server.get(f"/api/v1/runs/{run['runId']}/markers")["markers"] if m["kind"] == "control")
    assert (marker["name"], marker["attrs"]["from"], marker["attrs"]["to"]) == ("lr", 0.1, 0.01)
    assert (marker["attrs"]["by"], marker["attrs"]["reason"]) == ("owner", "too fast")
    points = dict(server.points(run["runId"], "lr"))
    assert {value for step, value in points.items() if step >= marker["step"] + 1} == {0.01}
    assert {value for step, value in points.items() if step < marker["step"]} == {0.1}


def test_commands_survive_a_restart_of_the_server(start_server, script):
    """A run that waits for commands goes on waiting when the server comes back."""
    server = start_server()
    job = script(JOB, server.url, server.key)
    wait_for(lambda: len(dials_of(server)) == 2)
    port = server.port
    server.stop()

    server = start_server(port=port)
    turn(server, "lr", 0.5)
    wait_for(lambda: commands(server)[0]["status"] == "applied", 40)
    turn(server, "stop")
    job.output()


NOTES = """
import random, sys, time
import rundial as rd

path, seed = sys.argv[3], int(sys.argv[4])
pause = random.Random(seed)
run = rd.init(
    project="dials", run_id="run_dials", resume="allow", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True
)

def note(value):
    with open(path, "a") as file:
        file.write(f"{value}\\n")
    time.sleep(pause.uniform(0, 0.02))

for name in "abcd":
    run.dial(name, set=note, kind="int")
run.flush(20)
print("ready", flush=True)
until = time.monotonic() + float(sys.argv[5])
while time.monotonic() < until:
    run.poll()
    time.sleep(0.001)
run.finish(20)
"""


@pytest.mark.timeout(600)
def test_a_kill_applies_nothing_twice_and_loses_nothing(start_server, script, tmp_path):
    """SIGKILL at random moments, also between apply and answer: each command once, and what is known is said."""
    server = start_server()
    rounds = int(os.environ.get("KILL_ROUNDS", "10"))
    path = tmp_path / "applied"
    path.touch()
    chance = random.Random(7)
    sent: dict[str, int] = {}
    for seed in range(rounds):
        job = script(NOTES, server.url, server.key, path, seed, 60)
        assert job.stdout.readline() == b"ready\n"
        for name in chance.sample("abcd", 3):
            sent[turn(server, name, len(sent))["commandId"]] = len(sent)
            time.sleep(chance.uniform(0.1, 0.15))
        time.sleep(chance.uniform(0, 0.03))
        job.send_signal(signal.SIGKILL)
        job.wait(20)
    script(NOTES, server.url, server.key, path, rounds, 2).output(60)
    wait_for(lambda: all(one["finishedAtMs"] for one in commands(server)), 30)

    applied = collections.Counter(int(line) for line in path.read_text().split())
    outcomes = {one["commandId"]: one for one in commands(server)}
    assert outcomes.keys() == sent.keys()
    assert set(applied.values()) <= {1}
    for identity, number in sent.items():
        outcome = outcomes[identity]
        if outcome["status"] == "applied":
            assert applied[number] == 1, outcome
        elif outcome["status"] == "failed":
            assert outcome["error"] == dials.INTERRUPTED
        else:
            assert (outcome["status"], applied[number]) == ("superseded", 0), outcome
    assert sum(one["status"] == "applied" for one in outcomes.values()) > rounds


RULED = """
import sys, time
import rundial as rd

run = rd.init(
    project="dials", run_id="run_dials", resume="allow", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True,
    flush_interval_seconds=0.1,
)
state = {"lr": 0.1, "stop": False}
run.dial("lr", lambda: state["lr"], lambda value: state.update(lr=value), min=0.0, max=1.0)
run.dial("stop", set=lambda: state.update(stop=True))
run.rule("loss > 10 for 3 steps", {"lr": 0.01}, name="calm down")
rd.rule("loss is nan or loss > 10 for 50 steps", "stop", name="enough")
first, until = int(sys.argv[3]), time.monotonic() + 60
for step in range(first, first + 1000):
    run.log({"loss": 11.0 if step < 30 else float("nan")}, step=step)
    for ack in run.poll():
        print(ack.name, ack.status, ack.author, flush=True)
    if state["stop"]:
        break
    time.sleep(0.02)
run.finish(10)
"""


def test_rules_act_in_each_process_that_trains(start_server, script):
    """A run that was killed and goes on counts anew; each act is told once, with its rule, like any command."""
    server = start_server()
    job = script(RULED, server.url, server.key, 0)
    assert job.stdout.readline() == b"lr applied calm down\n"
    wait_for(lambda: server.runs("dials") and len(commands(server)) == 1)
    job.send_signal(signal.SIGKILL)
    job.wait(20)

    out, _ = script(RULED, server.url, server.key, 20).output()

    assert out.splitlines() == ["lr applied calm down", "stop applied enough"]
    wait_for(lambda: len(commands(server)) == 3)
    told = [(one["name"], one["status"], one["author"], one["value"], one["former"]) for one in commands(server)]
    calm = ("lr", "applied", "calm down", 0.01, 0.1)
    assert sorted(told, key=str) == sorted([calm, calm, ("stop", "applied", "enough", None, None)], key=str)
    stopped = next(one for one in commands(server) if one["name"] == "stop")
    assert stopped["reason"] == "loss is nan or loss > 10 for 50 steps: loss = nan at step 30"
    run = server.wait_for("dials", lambda run: run["status"] == "completed")
    assert run["reason"] == f"stopped by enough: {stopped['reason']}"
    marked = [
        m["name"] for m in server.get(f"/api/v1/runs/{run['runId']}/markers")["markers"] if m["kind"] == "control"
    ]
    assert sorted(marked) == ["lr", "lr", "stop"]
    switches = [dial["name"] for dial in dials_of(server) if dial["kind"] == "bool"]
    assert switches == ["calm down", "enough"]


def test_a_run_that_is_offline_trains_on(script):
    """Its dials are there, nobody turns them, and no thread waits for anybody."""
    code = """
        import threading
        import rundial as rd
        with rd.init(project="dials", mode="offline", quiet=True) as run:
            dial = run.dial("lr", value=0.1)
            assert run.poll() == [] and dial.value == 0.1
            assert not [thread for thread in threading.enumerate() if thread.name == "rundial-commands"]
    """
    script(code).output()
