"""Records over HTTP: taken once, in sequence, or refused with the reason."""

import gzip

import pytest

from rundial.events import Metrics, RunEnd
from rundial.wire import Chunk, encode, pack_chunk


def test_records_are_taken_and_acknowledged(server, send_to):
    """The answer names what comes next, and the first one tells which run it is."""
    sender = send_to("run_a")
    started = sender.start(config={"lr": 0.1})
    logged = sender.send(Metrics(1, 0, {"loss": 1.0}), Metrics(2, 1, {"loss": 0.5}))

    assert started.status_code == 200
    assert started.json()["run"]["url"] == f"{server.url}/#/runs/run_a"
    assert started.json()["run"]["created"] is True
    assert (logged.json()["next"], logged.json()["accepted"]) == (3, 2)
    assert logged.json()["stream"] == sender.stream


def test_a_gap_is_refused_with_the_number_expected(server, send_to):
    """The sender goes back to it."""
    sender = send_to("run_a")
    sender.start()

    answer = sender.send(Metrics(1, 5, {"loss": 1.0}), first=5)

    assert (answer.status_code, answer.json()["next"]) == (409, 1)


def test_what_is_sent_twice_is_there_once(server, send_to):
    """Two senders of one stream harm nothing."""
    sender = send_to("run_a")
    sender.start()
    sender.send(Metrics(1, 0, {"loss": 1.0}))

    again = sender.send(Metrics(1, 0, {"loss": 1.0}), first=1)

    assert (again.status_code, again.json()["duplicate"], again.json()["next"]) == (200, 1, 2)
    assert server.get("/api/v1/runs/run_a").json()["points"] == 1


def test_an_empty_body_is_a_heartbeat(server, send_to):
    """It says that the process lives."""
    sender = send_to("run_a")
    sender.start()

    assert sender.post(b"").json()["next"] == 1


def test_gzip_and_several_chunks_in_one_body(server, send_to):
    """Chunks lie back to back as in the spool."""
    sender = send_to("run_a")
    sender.start()
    chunks = [pack_chunk(Chunk(sender.stream, i, 1, encode(Metrics(i, i, {"loss": 1.0})))) for i in (1, 2, 3)]

    answer = sender.post(gzip.compress(b"".join(chunks)), **{"content-encoding": "gzip"})

    assert (answer.status_code, answer.json()["accepted"]) == (200, 3)


def test_a_large_batch_is_taken(server, send_to):
    """Beyond the size that is handled on the event loop."""
    sender = send_to("run_a")
    sender.start()

    answer = sender.send(*(Metrics(i, i, {"loss": i / 7}) for i in range(5000)))

    assert answer.json()["accepted"] == 5000


def test_a_refused_first_record_says_why(server, send_to):
    """The run exists already and must not be touched."""
    first = send_to("run_a")
    first.start()
    first.send(RunEnd(1, "completed"))

    answer = send_to("run_a").start(resume="never")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CONFLICT")
    assert answer.json()["error"]["details"]["hint"]


def test_a_body_over_the_limit_is_not_read_to_its_end(start_server):
    """Announced or not, 413 comes before it is all in memory."""
    server = start_server(max_body_bytes=10_000, max_inflated_bytes=20_000)
    headers = {
        "content-type": "application/vnd.rundial.records",
        "x-rundial-stream": "0" * 32,
        "x-rundial-protocol": "2",
    }

    def status(body, **extra):
        return server.post("/api/v1/ingest/records", data=body, headers=headers | extra).status_code

    assert status(bytes(10_001)) == 413
    assert status(iter([bytes(6000), bytes(6000)])) == 413
    assert status(gzip.compress(bytes(1_000_000)), **{"content-encoding": "gzip"}) == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"x-rundial-protocol": "9"}, 400),
        ({"x-rundial-stream": "../etc"}, 400),
        ({"x-rundial-stream": "f" * 32}, 400),
    ],
)
def test_headers_must_fit_the_body(server, send_to, headers, status):
    """The stream in the header is that of every chunk."""
    sender = send_to("run_a")
    body = pack_chunk(Chunk("0" * 32, 0, 1, encode(Metrics(1, 0, {"loss": 1.0}))))

    assert sender.post(body, **headers).status_code == status


def test_damaged_and_scattered_chunks_are_refused(server, send_to):
    """Nothing of such a body is taken."""
    sender = send_to("run_a")
    sender.start()
    good = [pack_chunk(Chunk(sender.stream, i, 1, encode(Metrics(i, i, {"loss": 1.0})))) for i in (1, 2, 3)]

    assert sender.post(good[0][:-1]).status_code == 400
    assert sender.post(good[0][:-1] + b"\x00").status_code == 400
    assert sender.post(b"no chunk at all" * 10).status_code == 400
    assert sender.post(good[0] + good[2]).status_code == 400
    assert server.get("/api/v1/runs/run_a").json()["points"] == 0
