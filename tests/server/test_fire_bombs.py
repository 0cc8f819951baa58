"""Small requests that would become large: each is a 4xx or is taken within bounds, and the server stays small."""

from __future__ import annotations

import gzip
import json
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rundial.events import EvalResult, EvalStart, RunStart
from rundial.wire import CONTENT_TYPE, Chunk, encode, pack_chunk, unpack_chunk
from tests.server.conftest import Sender
from tests.server.fire import Target, serving_process
from tests.server.uploader import entry

MIB = 1024 * 1024
JSON = {"content-type": "application/json"}
STREAM = "ab" * 16
"""Of the bombs as they are made; each is sent as a stream of its own."""
DEEP = 100_000
WIDE = 40_000
TAGS = {"projectId": "default-project", "runId": "run_a"}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server process with a run; all bombs together may leave no more behind than an allocator keeps."""
    url = None if request.param == "sqlite" else request.getfixturevalue("cluster").database()
    with serving_process(tmp_path_factory.mktemp("bombs"), url) as server:
        sender = Sender(server, "run_a", project="default-project")
        assert sender.start().status_code == 200
        for step in range(50):
            sender.log(step, loss=1.0)
        before = server.rss()
        yield server
        assert server.get("/health/live").status_code == 200
        grown = (server.rss() - before) / MIB
        print(f"grown by {grown:.0f} MiB")
        assert grown < 96
    assert "Traceback" not in server.log.read_text()


def raw_chunk(*records: bytes) -> bytes:
    """A chunk whose records are these bytes."""
    return pack_chunk(Chunk(STREAM, 0, len(records), b"".join(records)))


def start(**fields: Any) -> bytes:
    """The first record of a new run."""
    run_id = f"run_{secrets.token_hex(8)}"
    return encode(RunStart(time.time_ns(), run_id, "default-workspace", "default-project", "b", **fields))


def string(text: bytes) -> bytes:
    """A text of any length, in MessagePack."""
    return b"\xdb" + struct.pack(">I", len(text)) + text


def metrics(values: bytes) -> bytes:
    """A record of metrics with these bytes for its values."""
    return b"\x94\x02\x01\x01" + values


RECORDS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(bytes(300 * MIB), 9),
    "nothing but arrays": lambda: raw_chunk(start(), b"\x91" * DEEP + b"\xc0"),
    "nothing but maps": lambda: raw_chunk(start(), b"\x81\xa1a" * DEEP + b"\xc0"),
    "an array of four billion": lambda: raw_chunk(start(), b"\xdd\xff\xff\xff\xff\x01"),
    "a map of four billion": lambda: raw_chunk(start(), metrics(b"\xdf\xff\xff\xff\xff\xa1a\x01")),
    "a text of four billion": lambda: raw_chunk(start(), metrics(b"\x81\xdb\xff\xff\xff\xffa")),
    "deep values": lambda: raw_chunk(start(), metrics(b"\x81\xa1a" * DEEP + b"\x01")),
    "deep config": lambda: raw_chunk(start(config={})[:-1] + b"\x81\xa1a" * DEEP + b"\x01"),
    "the same key again and again": lambda: raw_chunk(
        start(), metrics(b"\xde\xff\xff" + b"".join(b"\xa1a\x01" for _ in range(65_535)))
    ),
    "a long key": lambda: raw_chunk(start(), metrics(b"\x81" + string(b"k" * 250_000) + b"\x01")),
    "many keys": lambda: raw_chunk(
        start(), metrics(b"\xde" + struct.pack(">H", 30_000) + b"".join(b"\xa5%05d\x01" % n for n in range(30_000)))
    ),
    "more records than there are": lambda: pack_chunk(Chunk(STREAM, 0, 2**31, start())),
    "a record without an end": lambda: raw_chunk(start(), b"\xdc\xff\xff" + b"\x01" * 100),
    "an extension": lambda: raw_chunk(start(), b"\xc9\xff\xff\xff\xff\x01"),
}


@pytest.fixture
def bounded(target: Target) -> Iterator[Target]:
    """The server, which may not have grown by 64 MiB when the test is over."""
    before = target.rss()
    yield target
    assert target.rss() - before < 64 * MIB


@pytest.mark.parametrize("bomb", RECORDS)
def test_records(bounded: Target, bomb: str) -> None:
    """Chunks and MessagePack that say they are more than they are, or are."""
    body, stream = RECORDS[bomb](), STREAM
    if bomb not in ("gzip", "more records than there are"):
        stream = secrets.token_hex(16)
        body = pack_chunk(unpack_chunk(body)[0]._replace(stream=stream))
    headers = {"content-type": CONTENT_TYPE, "x-rundial-stream": stream, "x-rundial-protocol": "2"}
    headers |= {"content-encoding": "gzip"} if bomb == "gzip" else {}

    answer = bounded.post("/api/v1/ingest/records", data=body, headers=headers)

    assert answer.status_code in (200, 400, 409, 413), answer.text
    if answer.status_code == 200 and bomb not in ("many keys", "the same key again and again", "a long key"):
        assert answer.json()["accepted"] <= 1 and answer.json()["rejected"]


def wide(count: int = WIDE) -> dict[str, int]:
    return {f"key {number}": number for number in range(count)}


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


POINT = TAGS | {"metricKey": "loss", "step": 1, "timestampMs": 5, "value": 0.5}
LINE = TAGS | {"timestampMs": 5, "sequence": 1, "level": "info", "message": "text"}
SPAN = TAGS | {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "n", "startNs": "5"}
HUGE = "9" * 100_000


def to(path: str, body: Any) -> tuple[str, str, bytes]:
    return "POST", f"/api/v1/{path}", body if isinstance(body, bytes) else json.dumps(body).encode()


REQUESTS: dict[str, Callable[[], tuple[str, str, bytes]]] = {
    "config: keys": lambda: to("runs/start", TAGS | {"runId": "run_w", "config": wide()}),
    "config: depth": lambda: to("runs/run_a/config", f'{{"config": {nested(1_000)}}}'.encode()),
    "config: a number": lambda: to("runs/run_a/config", f'{{"config": {{"a": {HUGE}}}}}'.encode()),
    "config: an exponent": lambda: to("runs/run_a/config", b'{"config": {"a": 1e99999999}}'),
    "config: twice the same": lambda: to("runs/run_a/config", b'{"config": {%s"a": 1}}' % (b'"a": 1,' * WIDE)),
    "tags": lambda: to("runs/start", TAGS | {"runId": "run_t", "tags": [f"tag {number}" for number in range(WIDE)]}),
    "tags of many runs": lambda: to("runs/edit", {"runIds": ["run_a"], "addTags": [str(n) for n in range(WIDE)]}),
    "notes": lambda: ("PATCH", "/api/v1/runs/run_a", json.dumps({"notes": "n" * 900_000}).encode()),
    "metric names": lambda: to("ingest/metrics", {"points": [POINT | {"metricKey": f"m{n}"} for n in range(6_000)]}),
    "contexts": lambda: to("ingest/metrics", {"points": [POINT | {"context": {f"k{n}": "v"}} for n in range(5_000)]}),
    "a wide context": lambda: to("ingest/metrics", {"points": [POINT | {"context": dict.fromkeys(wide(), "v")}]}),
    "levels of lines": lambda: to("ingest/logs", {"lines": [LINE | {"level": f"l{n}"} for n in range(5_000)]}),
    "a long line": lambda: to("ingest/logs", {"lines": [LINE | {"message": "x" * 900_000}]}),
    "attributes": lambda: to("ingest/traces", {"spans": [SPAN | {"attrsJson": json.dumps(wide())}]}),
    "deep attributes": lambda: to("ingest/traces", {"spans": [SPAN | {"attrsJson": nested(DEEP)}]}),
    "names of spans": lambda: to("ingest/traces", {"spans": [SPAN | {"name": f"n{n}"} for n in range(3_000)]}),
    "traces": lambda: to("ingest/traces", {"spans": [SPAN | {"traceId": f"{n:032x}"} for n in range(3_000)]}),
    "files": lambda: to(
        "artifacts/initiate", {"runId": "run_a", "name": "w", "files": [entry(f"f{n}", b"") for n in range(6_000)]}
    ),
    "aliases": lambda: to(
        "artifacts/initiate",
        {"runId": "run_a", "name": "w", "files": [entry("f", b"x")], "aliases": [f"a{n}" for n in range(WIDE)]},
    ),
    "metadata": lambda: to(
        "artifacts/initiate", {"runId": "run_a", "name": "w", "files": [entry("f", b"x")], "metadata": wide()}
    ),
    "a file of an exabyte": lambda: to(
        "artifacts/initiate", {"runId": "run_a", "name": "w", "files": [entry("f", b"x") | {"sizeBytes": 2**60}]}
    ),
    "suites": lambda: to("evals/suites", {"projectId": "default-project", "name": "s", "scorers": [wide()]}),
    "results": lambda: to("evals/results", {"evalRunId": "x", "projectId": "default-project", "rows": [wide()] * 5}),
    "runs of a chart": lambda: to("query/buckets", {"runIds": ["run_a"] * WIDE, "metricKeys": ["loss"]}),
    "keys of a chart": lambda: to("query/buckets", {"runIds": ["run_a"], "metricKeys": [f"k{n}" for n in range(WIDE)]}),
    "buckets": lambda: to("query/buckets", {"runIds": ["run_a"], "metricKeys": ["loss"], "buckets": 2**31}),
    "keys of a series": lambda: to("query/series", {"runId": "run_a", "metricKeys": list(wide())}),
    "points of a series": lambda: to("query/series", {"runId": "run_a", "metricKeys": ["loss"], "maxPoints": 2**62}),
    "markers": lambda: to("query/markers", {"runIds": ["run_a"] * WIDE}),
    "a command": lambda: to("runs/run_a/commands", {"name": "lr", "value": "v" * 900_000}),
    "scopes": lambda: to(
        "workspaces/default-workspace/projects/default-project/api-keys", {"scopes": ["project:read"] * WIDE}
    ),
    "a password": lambda: to("auth/login/credentials", {"email": "a@b.c", "password": "p" * 900_000}),
}


@pytest.mark.parametrize("bomb", REQUESTS)
def test_json(bounded: Target, bomb: str) -> None:
    """Depth, width, numbers and lists in each field that takes any: the answer is no 5xx."""
    method, path, body = REQUESTS[bomb]()

    answer = bounded.call(method, path, data=body, headers=JSON)

    assert answer.status_code < 500, answer.text
    assert len(answer.content) < 8 * MIB


def test_what_was_taken_is_bounded(target: Target) -> None:
    """After all of these the runs can be listed and read: no answer is larger than a page."""
    listed = target.get("/api/v1/workspaces/default-workspace/projects/default-project/runs/query")
    keys = target.get("/api/v1/metrics/keys?runId=run_a")
    logs = target.post("/api/v1/query/logs", json={"runId": "run_a"})
    traces = target.post("/api/v1/query/traces", json={"runId": "run_a"})

    assert [answer.status_code for answer in (listed, keys, logs, traces)] == [200] * 4
    assert max(len(answer.content) for answer in (listed, keys, logs, traces)) < 8 * MIB


def test_scores_whose_squares_are_beyond_a_double_have_a_mean(target: Target) -> None:
    """PostgreSQL refuses to take the average of such: a suite with one of them would be an error for ever."""
    sender = Sender(target, "run_scores", project="default-project")
    sender.start(kind="eval")
    scores = (1e300, -1e300, 3.0)
    now = time.time_ns()
    results = [EvalResult(now, "evr_scores", str(number), "exact", score) for number, score in enumerate(scores)]
    assert sender.send(EvalStart(now, "evr_scores", "suite"), *results).json()["rejected"] == []

    (found,) = target.get("/api/v1/runs/run_scores/evals").json()["evalRuns"]

    assert abs(found["summary"]["exact"]["mean"]) < 10  # what is lost in the sum of such numbers is lost
