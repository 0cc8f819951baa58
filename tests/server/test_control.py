"""Dials and commands on the server: who may turn what, what is refused, and how a run hears of it."""

from __future__ import annotations

import threading
import time

import pytest

from rundial.events import Ack, Dial, Metrics, RunEnd
from rundial.server.store.commands import RATE

LR = Dial(1, "lr", "float", 0.0, 1.0, 0.01, None, "1/step", "learning rate", 0.1)
SAVE = Dial(1, "save", "action")


@pytest.fixture
def job(send_to):
    """A running run that offers two dials."""
    sender = send_to("run_a")
    sender.start()
    sender.send(LR, SAVE)
    return sender


def turn(server, name, value=None, run="run_a", **more):
    return server.post(f"/api/v1/runs/{run}/commands", json={"name": name, "value": value, **more})


def commands(server, run="run_a", **query):
    return server.get(f"/api/v1/runs/{run}/commands", params=query).json()["commands"]


def wait(server, job, after=-1, wait_ms=0, key=None):
    body = {"stream": job.stream, "after": after, "waitMs": wait_ms}
    return server.post("/api/v1/ingest/commands", json=body, key=key)


def ack(command, status="applied", value=None, former=None, error=None):
    return Ack(time.time_ns(), command["commandId"], command["name"], status, value, former, error)


def test_dials_come_out_as_they_went_in(server, job):
    """With the value now, and whether the caller may turn them."""
    found = server.get("/api/v1/runs/run_a/dials").json()

    assert [dial["name"] for dial in found["dials"]] == ["lr", "save"]
    lr = found["dials"][0]
    assert (lr["kind"], lr["min"], lr["max"], lr["step"], lr["value"]) == ("float", 0.0, 1.0, 0.01, 0.1)
    assert (lr["unit"], lr["description"]) == ("1/step", "learning rate")
    assert (found["enabled"], found["mayTurn"]) == (True, True)


def test_a_command_rides_back_on_the_next_answer(server, job):
    """It is delivered by that and answered by the run; the dial has the new value then."""
    sent = turn(server, "lr", 0.01, reason="too fast").json()
    assert (sent["status"], sent["author"], sent["reason"]) == ("pending", "owner", "too fast")

    (handed,) = job.log(1, loss=1.0).json()["commands"]

    assert (handed["commandId"], handed["value"], handed["deliveredTo"]) == (sent["commandId"], 0.01, [])
    assert handed["leftMs"] > 500_000
    assert job.log(2, loss=1.0).json()["commands"] == []
    assert commands(server)[0]["status"] == "delivered"
    job.send(ack(sent, value=0.01, former=0.1))
    (done,) = commands(server)
    assert (done["status"], done["former"], done["error"]) == ("applied", 0.1, None)
    assert server.get("/api/v1/runs/run_a/dials").json()["dials"][0]["value"] == 0.01
    assert server.get(f"/api/v1/runs/run_a/commands/{sent['commandId']}").json() == done


def test_a_waiting_run_is_woken(server, job):
    """The answer comes with the command, not when the time is up."""
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(wait(server, job, wait_ms=20_000)))
    began = time.monotonic()
    waiting.start()
    time.sleep(0.3)
    turn(server, "lr", 0.5)
    waiting.join(20)

    assert [one["value"] for one in answers[0].json()["commands"]] == [0.5]
    assert time.monotonic() - began < 15


def test_a_lost_answer_is_given_again(server, job):
    """To whoever says that it has not seen it; and no more to who has."""
    turn(server, "lr", 0.5)
    (lost,) = wait(server, job).json()["commands"]
    (again,) = wait(server, job).json()["commands"]

    assert again["commandId"] == lost["commandId"]
    assert wait(server, job, after=again["place"]).json()["commands"] == []


def test_another_process_hears_who_had_it_before(server, job, send_to):
    """So that it does not apply what may have been applied."""
    turn(server, "lr", 0.5)
    wait(server, job)
    second = send_to("run_a")
    second.start(resume="allow")
    assert wait(server, second).json()["commands"] == []
    second.send(LR)

    (handed,) = wait(server, second).json()["commands"]
    third = send_to("run_a")
    third.start(resume="allow")
    third.send(LR)

    assert handed["deliveredTo"] == [job.stream]
    assert wait(server, third).json()["commands"][0]["deliveredTo"] == [job.stream, second.stream]
    assert wait(server, job).json()["commands"] == []


@pytest.mark.parametrize("value", [2, -1, "0.5", True, None, [1], {"a": 1}, 10**30, "x" * 10_000])
def test_what_the_dial_does_not_take_is_refused_with_its_reason(server, job, value):
    """At once, and nothing is kept of it."""
    refused = turn(server, "lr", value)

    assert refused.status_code == 400
    assert "does not take this" in refused.json()["error"]["message"]
    assert commands(server) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": 3},
        {"name": "lr", "value": 0.5, "deadlineMs": 0},
        {"name": "lr", "value": 0.5, "deadlineMs": 10**12},
        {"name": "lr", "value": 0.5, "reason": "x" * 2000},
        {"name": "lr", "value": 0.5, "author": "somebody else"},
        {"name": "nothing", "value": 0.5},
        {"name": "save", "value": 1},
    ],
)
def test_hostile_bodies_are_refused(server, job, body):
    """Nobody names an author but the server."""
    answer = server.post("/api/v1/runs/run_a/commands", json=body)
    assert answer.status_code == 400
    assert commands(server) == []


def test_a_run_that_has_ended_takes_no_commands(server, job):
    """What was open at its end has expired."""
    turn(server, "lr", 0.5)
    turn(server, "save")
    job.send(RunEnd(time.time_ns(), "completed"))

    assert [one["status"] for one in commands(server)] == ["expired", "expired"]
    refused = turn(server, "lr", 0.2)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CONFLICT")


def test_a_run_that_crashed_may_be_taken_up_again(server, job, send_to):
    """What waited for it waits on, and its successor obeys."""
    turn(server, "lr", 0.5)
    job.send(RunEnd(time.time_ns(), "crashed"))
    assert [one["status"] for one in commands(server)] == ["pending"]
    second = send_to("run_a")
    second.start(resume="must")
    second.send(LR)

    assert [one["value"] for one in wait(server, second).json()["commands"]] == [0.5]


def test_a_newer_command_takes_the_place_of_one_that_waits(server, job):
    """An action takes nobody's place."""
    for value in (0.2, 0.3):
        turn(server, "lr", value)
    for _ in range(2):
        turn(server, "save")

    handed = job.log(1, loss=1.0).json()["commands"]

    assert [(one["name"], one["value"]) for one in handed] == [("lr", 0.3), ("save", None), ("save", None)]
    assert [one["status"] for one in commands(server)] == ["delivered", "delivered", "delivered", "superseded"]


def test_an_expired_command_is_not_handed_over(server, job):
    """A deadline that passes before anybody asks."""
    turn(server, "lr", 0.5, deadlineMs=1)
    time.sleep(0.01)

    assert commands(server)[0]["status"] == "expired"
    assert job.log(1, loss=1.0).json()["commands"] == []
    assert wait(server, job).json()["commands"] == []
    assert commands(server)[0]["error"] is not None


def test_what_a_dead_process_says_late_takes_no_dial_away(server, job, send_to):
    """Its successor has the dials, and hears of the commands."""
    second = send_to("run_a")
    second.start(resume="allow")
    second.send(Dial(3, "lr", "float", 0.0, 9.0, value=7.0))
    job.send(Dial(2, "lr", "float", 0.0, 1.0, value=0.3))

    assert turn(server, "lr", 5.0).status_code == 200
    assert job.log(1, loss=1.0).json()["commands"] == []
    assert [one["value"] for one in second.log(1, loss=1.0).json()["commands"]] == [5.0]


def test_what_was_applied_stays_applied(server, job):
    """A later process that knows less cannot take it back; it can be said late, too."""
    sent = turn(server, "lr", 0.5).json()
    wait(server, job)
    job.send(ack(sent, "failed", error="interrupted"))
    job.send(ack(sent, "applied", 0.5, 0.1))
    job.send(ack(sent, "failed", error="interrupted"))

    (done,) = commands(server)
    assert (done["status"], done["error"]) == ("applied", None)


def test_too_many_commands_are_refused(server, job):
    """Ten in a second; the run is not flooded."""
    answers = [turn(server, "save").status_code for _ in range(RATE + 5)]

    assert answers[:RATE] == [200] * RATE
    assert 429 in answers


def test_a_dry_run_changes_nothing(server, job):
    """It says what would be, or why not."""
    would = turn(server, "lr", 0.5, dryRun=True)

    assert would.json() == {"dryRun": True, "name": "lr", "value": 0.5, "former": 0.1}
    assert turn(server, "lr", 5, dryRun=True).status_code == 400
    assert commands(server) == []


def test_pages_of_commands(server, job):
    """Newest first."""
    for _ in range(5):
        turn(server, "save")
    path = "/api/v1/runs/run_a/commands"
    first = server.get(path, params={"limit": 2}).json()
    second = server.get(path, params={"limit": 10, "cursor": first["page"]["nextCursor"]}).json()

    assert [one["place"] for one in first["commands"] + second["commands"]] == [4, 3, 2, 1, 0]
    assert second["page"] == {"hasMore": False, "nextCursor": None}
    assert server.get(path, params={"cursor": "x"}).status_code == 400


def test_scopes(server, job, send_to):
    """Reading needs project:read, turning control:write; a stream of another project is nobody's to wait for."""
    accounts = server.store.accounts
    workspace = accounts.verify(server.key).workspace_id
    other = send_to("run_other", project="other").start().json()["run"]["projectId"]
    _, reader = accounts.create_key(workspace, scopes=["project:read"], label="reader")
    _, turner = accounts.create_key(workspace, scopes=["control:write"], label="ada")
    _, guest = accounts.create_key(
        workspace, scopes=["project:read", "control:write", "metrics:write"], label="guest", project_id=other
    )
    path = "/api/v1/runs/run_a/commands"
    body = {"name": "lr", "value": 0.2}

    assert server.get("/api/v1/runs/run_a/dials", key=reader).json()["mayTurn"] is False
    assert server.post(path, key=reader, json=body).status_code == 403
    assert server.post(path, key=turner, json=body).json()["author"] == "ada"
    assert server.post(path, key=guest, json=body).status_code == 404
    assert server.get(path, key=guest).status_code == 404
    assert server.get("/api/v1/runs/run_a/dials", key=guest).status_code == 404
    assert server.get(f"{path}/cmd_x", key=guest).status_code == 404
    assert wait(server, job, key=guest).status_code == 404
    assert wait(server, job, key=reader).status_code == 403


def test_a_dial_of_an_owner(server, job):
    """Only who has the scope admin turns it; the run hears which role an author has."""
    accounts = server.store.accounts
    workspace = accounts.verify(server.key).workspace_id
    _, turner = accounts.create_key(workspace, scopes=["control:write", "project:read"], label="ada")
    job.send(Dial(1, "budget", "int", value=1, role="owner"))
    path = "/api/v1/runs/run_a"

    refused = server.post(f"{path}/commands", key=turner, json={"name": "budget", "value": 2})
    assert (refused.status_code, refused.json()["error"]["message"]) == (403, "Only an owner may turn 'budget'.")
    dry = server.post(f"{path}/commands", key=turner, json={"name": "budget", "value": 2, "dryRun": True})
    assert dry.status_code == 403
    assert turn(server, "budget", 2).json()["status"] == "pending"
    assert server.post(f"{path}/commands", key=turner, json={"name": "lr", "value": 0.2}).status_code == 200

    handed = wait(server, job).json()["commands"]
    assert {one["name"]: one["role"] for one in handed} == {"budget": "owner", "lr": "member"}
    seen = {dial["name"]: dial["mayTurn"] for dial in server.get(f"{path}/dials", key=turner).json()["dials"]}
    assert seen == {"budget": False, "lr": True, "save": True}
    assert all(dial["mayTurn"] for dial in server.get(f"{path}/dials").json()["dials"])


def test_a_project_can_be_switched_off(server, job):
    """Then nobody turns anything in it, until it is switched on again."""
    project = server.get("/api/v1/runs/run_a").json()["projectId"]

    def switch(on):
        return server.call("PUT", f"/api/v1/projects/{project}/control", json={"enabled": on})

    turn(server, "save")
    assert switch(False).status_code == 200
    assert turn(server, "lr", 0.2).status_code == 403
    assert server.get("/api/v1/runs/run_a/dials").json()["enabled"] is False
    assert wait(server, job).json()["commands"] == []
    assert job.log(1, loss=1.0).json()["commands"] == []
    assert switch(True).status_code == 200
    assert turn(server, "lr", 0.2).status_code == 200
    assert [one["name"] for one in wait(server, job).json()["commands"]] == ["save", "lr"]
    assert server.call("PUT", "/api/v1/projects/none/control", json={"enabled": True}).status_code == 404


def test_a_command_from_elsewhere_is_audited_too(server, job):
    """Such as one that came through a queue directory."""
    sent_ns = time.time_ns()
    job.send(Ack(sent_ns, "0f" * 16, "lr", "applied", 0.4, 0.1, author="ada@host"))

    (found,) = commands(server)
    assert (found["status"], found["value"], found["author"]) == ("applied", 0.4, "ada@host")


@pytest.mark.parametrize(
    "event",
    [
        Dial(1, "", "float"),
        Dial(1, "x" * 300, "float"),
        Dial(1, "x", "knob"),
        Dial(1, "x", "float", role="king"),
        Dial(1, "x", "choice", choices=["a"] * 1001),
        Ack(1, "", "lr", "applied"),
        Ack(1, "cmd", "lr", "done"),
    ],
)
def test_a_bad_record_costs_only_itself(server, job, event):
    """Its neighbours are taken."""
    answer = job.send(Metrics(1, 1, {"loss": 1.0}), event, Dial(1, "good", "bool", value=True)).json()

    assert [bad["seq"] for bad in answer["rejected"]] == [4]
    assert "good" in [dial["name"] for dial in server.get("/api/v1/runs/run_a/dials").json()["dials"]]


def test_the_page_hears_of_every_change(server, job):
    """That a command was sent, that it was delivered, that it was answered."""
    kinds = []
    unsubscribe = server.store.subscribe(lambda change: kinds.append(sorted(change.kinds)))
    sent = turn(server, "lr", 0.5).json()
    job.log(1, loss=1.0)
    job.send(ack(sent, value=0.5))
    unsubscribe()

    assert kinds == [["dials"], ["dials"], ["dials"]]
