"""Live events: what is committed reaches those who watch, and those who come back."""

import asyncio
import json
from contextlib import contextmanager

import pytest
import requests

from rundial.events import Marker, Metrics, RunEnd
from rundial.server.api.stream import CLIENT_BYTES, CLIENT_EVENTS, Client
from tests.server.conftest import Sender


@contextmanager
def watching(server, query, last_event_id=None, key=None):
    """The events of a stream, as (id, name, data), one by one."""
    headers = {"authorization": f"Bearer {key or server.key}"}
    if last_event_id:
        headers["last-event-id"] = last_event_id
    address = f"{server.url}/api/v1/stream?{query}"
    with requests.get(address, headers=headers, stream=True, timeout=10) as answer:
        assert answer.status_code == 200, answer.text
        yield _events(answer.iter_lines(chunk_size=None, decode_unicode=True))


def _events(lines):
    fields = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields.get("id"), fields.get("event"), json.loads(fields.get("data", "null"))
            fields = {}


def until(events, name):
    """The first event of that name."""
    return next(event for event in events if event[1] == name)


def test_points_arrive_as_they_are_committed(server, send_to):
    """With step, time and value, for each key."""
    sender = send_to("run_a")
    sender.start()
    with watching(server, "runId=run_a") as events:
        next(events)
        sender.send(Metrics(5_000_000, 3, {"loss": 0.5, "acc": True}), Metrics(6_000_000, 4, {"loss": 0.25}))

        _, _, data = until(events, "points")

    assert data == {"runId": "run_a", "keys": {"loss": [[3, 5, 0.5], [4, 6, 0.25]], "acc": [[3, 5, 1.0]]}}


def test_a_project_hears_of_new_runs_and_of_their_end(server, send_to):
    """The row as in the list, whenever it changes."""
    send_to("run_a").start()
    with watching(server, "projectId=digits") as events:
        next(events)
        sender = send_to("run_b")
        sender.start()
        begun = until(events, "run")[2]
        sender.send(Metrics(1, 0, {"loss": 1.0}), RunEnd(2, "failed"))
        ended = next(data for _, name, data in events if name == "run" and data["status"] != "running")

    assert (begun["runId"], begun["status"]) == ("run_b", "running")
    assert (ended["runId"], ended["status"]) == ("run_b", "failed")


def test_markers_arrive(server, send_to):
    """In the shape of the markers' own route."""
    sender = send_to("run_a")
    sender.start()
    with watching(server, "runId=run_a") as events:
        next(events)
        sender.send(Marker(7_000_000, "alert", "loss", 3, {"level": "warn"}))

        _, _, data = until(events, "marker")

    assert data["marker"] == server.get("/api/v1/runs/run_a/markers").json()["markers"][0]


def test_a_resume_arrives_as_a_marker(server, send_to):
    """Whoever watches learns of the second attempt when it begins, as the markers' own route tells it."""
    first = send_to("run_a")
    first.start()
    first.log(41, loss=1.0)
    with watching(server, "projectId=" + server.get("/api/v1/runs/run_a").json()["projectId"]) as events:
        next(events)
        send_to("run_a").start(resume="allow")

        _, _, data = until(events, "marker")

    assert data["marker"]["kind"] == "resume"
    assert [data["marker"]] == server.get("/api/v1/runs/run_a/markers").json()["markers"]


def test_only_what_is_watched_arrives(server, send_to):
    """Another run's points stay away."""
    watched, other = send_to("run_a"), send_to("run_b")
    watched.start()
    other.start()
    with watching(server, "runId=run_a") as events:
        next(events)
        other.log(1, loss=1.0)
        watched.log(2, loss=2.0)

        assert until(events, "points")[2]["runId"] == "run_a"


def test_a_client_that_comes_back_gets_what_it_missed(server, send_to):
    """From the last id it saw, each event once."""
    sender = send_to("run_a")
    sender.start()
    with watching(server, "runId=run_a") as events:
        seen = next(events)[0]
    sender.log(1, loss=1.0)
    sender.log(2, loss=2.0)

    with watching(server, "runId=run_a", last_event_id=seen) as events:
        steps = [until(events, "points")[2]["keys"]["loss"][0][0] for _ in range(2)]

    assert steps == [1, 2]


@pytest.mark.parametrize("last", ["another-1", "nonsense", "-", "{boot}-999999", "{boot}-0"])
def test_a_client_that_was_away_too_long_is_told_to_fetch_again(server, send_to, last):
    """An id of another start, from the future, or from before anyone watched."""
    send_to("run_a").start()
    with watching(server, "runId=run_a") as events:
        boot = next(events)[0].partition("-")[0]

    with watching(server, "runId=run_a", last_event_id=last.format(boot=boot)) as events:
        assert next(events)[1] == "resync"


def test_a_burst_is_named_and_not_sent_point_by_point(server, send_to):
    """The page fetches the series again instead."""
    sender = send_to("run_a")
    sender.start()
    with watching(server, "runId=run_a") as events:
        next(events)
        sender.send(*(Metrics(i, i, {"loss": 1.0}) for i in range(1001)), Metrics(1, 1, {"acc": 1.0}))

        data = until(events, "points")[2]["keys"]

    assert data["loss"] == []
    assert len(data["acc"]) == 1


def test_a_revoked_key_ends_its_stream(server, send_to):
    """What is open does not outlive the key."""
    send_to("run_a").start()
    accounts = server.store.accounts
    workspace = accounts.verify(server.key).workspace_id
    key_id, key = accounts.create_key(workspace, scopes=["stream:read"], label="wall screen")
    with watching(server, "runId=run_a", key=key) as events:
        next(events)
        accounts.revoke_key(key_id)

        assert list(events) == []


def test_what_to_watch_must_be_named_and_exist(server):
    """Nothing, or nothing that is there, is no stream."""
    assert server.get("/api/v1/stream").status_code == 400
    assert server.get("/api/v1/stream?runId=none").status_code == 404
    assert server.get("/api/v1/stream?projectId=none").status_code == 404


@pytest.mark.parametrize("events", [[b"event"] * (CLIENT_EVENTS + 1), [bytes(CLIENT_BYTES), b"event"]])
def test_a_client_that_reads_too_slowly_is_told_to_fetch_again(server, events):
    """What waits for it is bounded in number and in bytes."""
    client = Client(server.store.accounts.verify(server.key), frozenset())
    for event in events:
        client.put(event, lambda: b"resync")

    assert asyncio.run(client.take(1)) == b"resync"


def test_one_key_may_not_open_streams_without_end(start_server):
    """Another key still may."""
    server = start_server(streams_per_key=1)
    sender = Sender(server, "run_a")
    sender.start()
    with watching(server, "runId=run_a") as events:
        next(events)
        refused = server.get("/api/v1/stream?runId=run_a")
        other = server.store.accounts.verify(server.key).workspace_id
        _, key = server.store.accounts.create_key(other, scopes=["stream:read"], label="second")
        with watching(server, "runId=run_a", key=key) as others:
            assert next(others)

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
