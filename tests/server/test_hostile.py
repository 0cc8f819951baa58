"""Hostile requests: whatever is sent, the answer is a 4xx in the envelope, and nothing else happens.

What concerns one noun stands with its noun (files in test_blobs.py and test_artifacts.py, accounts in test_users.py and
test_keys.py, Host, Origin and keys in test_auth.py); here is what can be thrown at every route.
"""

import gzip
import http.client
import json
import re
import socket

import psutil
import pytest

from rundial.server.api.openapi import BODIES
from rundial.server.app import RULES
from tests.server.outside import Outside

JSON = {"content-type": "application/json"}
READING = sorted(
    (rule.route.path for rule in RULES if rule.route.endpoint in BODIES and "POST" in rule.route.methods), key=str
)
NAMES = {"ws": "default-workspace", "pj": "default-project", "runId": "run_a"}
MIB = 1024 * 1024

TEXTS = [
    "' OR 1=1--",
    "'); DROP TABLE runs;--",
    "\\' \\\\ %27 %00 $1 {{7*7}} ${7*7}",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "__proto__",
    "constructor",
    "../../../../etc/passwd",
    "%2e%2e%2f",
    "\u202egnp.exe",
    "日本語 émoji 🎛️ \u0301",
]


def address(path):
    """A route's path with names of what is there, as far as there is such a thing."""
    return re.sub(r"{(\w+)}", lambda found: NAMES.get(found[1], "some"), path)


@pytest.fixture
def everywhere(server, send_to):
    """Posts a body to every route that reads JSON; the statuses by route of those that are not ``expected``."""
    send_to("run_a", project="default-project").start()

    def post(body, *expected, headers=None):
        answers = {path: server.post(address(path), data=body, headers=JSON | (headers or {})) for path in READING}
        for answer in answers.values():
            assert answer.json()["error"]["code"], answer.text
            assert "Traceback" not in answer.text and ".py" not in answer.text
        return {path: answer.status_code for path, answer in answers.items() if answer.status_code not in expected}

    return post


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"runId": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\xff\xfe{\x00}\x00",
        b'{"runId": "\xff"}',
        b'{"runId": "\xc0\xaf"}',
        b"\xef\xbb\xbf{}",
        b"9" * 100_000,
        b"1e999",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    ],
    ids=range(17),
)
def test_what_is_no_request_is_refused_by_every_route(everywhere, body):
    """Nothing, fragments, other types, depth, broken UTF-8, huge numbers, XML (H025, H026, H028)."""
    assert everywhere(body, 400) == {}


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/xml", ""]
)
def test_json_that_does_not_say_so_is_refused_by_every_route(everywhere, kind):
    """A form of another site could send these (H032). The results of evaluations have always been taken without."""
    strange = everywhere(b"{}", 415, headers={"content-type": kind})

    assert strange.keys() <= {"/api/v1/evals/results"} and set(strange.values()) <= {400}


def test_damaged_and_inflating_bodies_are_refused_by_every_route(everywhere):
    """Bombs, rests, other encodings; memory stays where it was (H023)."""
    before = psutil.Process().memory_info().rss
    bomb = gzip.compress(bytes(200 * MIB), 9)
    for body, encoding, status in (
        (bomb, "gzip", 413),
        (gzip.compress(b"{}") + b"more", "gzip", 400),
        (gzip.compress(b"{}")[:-3], "gzip", 400),
        (b"{}", "gzip", 400),
        (b"{}", "br", 415),
        (b"{}", "gzip, gzip", 415),
    ):
        assert everywhere(body, status, headers={"content-encoding": encoding}) == {}
    assert psutil.Process().memory_info().rss - before < 64 * MIB + len(bomb)


@pytest.mark.parametrize("path", READING)
def test_a_body_that_is_too_large_is_refused_before_it_is_read(server, path):
    """By what it says of itself; nobody waits for 120 MB (H031)."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", address(path))
    for name, value in {**JSON, "authorization": f"Bearer {server.key}", "content-length": str(120 * MIB)}.items():
        connection.putheader(name, value)
    connection.endheaders()

    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("content-length: -1", b"{}"),
        ("content-length: 2\r\ncontent-length: 3", b"{}"),
        ("content-length: 2\r\ntransfer-encoding: chunked", b"0\r\n\r\n"),
        ("transfer-encoding: chunked", b"FFFFFFFFFFFFFFFFF\r\n"),
        ("transfer-encoding: chunked", b"nothex\r\n"),
        ("x: " + "y" * 200_000, b""),
        ("content-length: two", b"{}"),
    ],
    ids=["negative", "twice", "smuggling", "overflow", "no chunk", "long header", "no number"],
)
def test_requests_whose_framing_is_a_lie_are_refused(server, head, body):
    """And the server goes on (H029, H030, H037)."""
    lines = f"POST /api/v1/query/series HTTP/1.1\r\nhost: {server.url[7:]}\r\nauthorization: Bearer {server.key}"
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=10) as connection:
        try:
            connection.sendall(f"{lines}\r\ncontent-type: application/json\r\n{head}\r\n\r\n".encode() + body)
            connection.shutdown(socket.SHUT_WR)
            first = connection.recv(64)
        except OSError:  # it hung up in the middle of it
            first = b""

    assert first == b"" or first.startswith(b"HTTP/1.1 4")
    assert server.get("/health/live").status_code == 200


def test_too_many_items_are_refused_whole(server):
    """Rather than half taken (H033, H025)."""
    for path, name in (("metrics", "points"), ("logs", "lines"), ("traces", "spans")):
        answer = server.post(
            f"/api/v1/ingest/{path}", data=b'{"%s": [%s0]}' % (name.encode(), b"0," * 100_000), headers=JSON
        )
        assert answer.status_code == 413


def test_every_error_is_in_the_envelope(server, send_to):
    """Of every route, for each kind of caller: an id, a code, a sentence and what to do; never a stack or a file."""
    send_to("run_a", project="default-project").start()
    seen = set()
    for rule in RULES:
        method = next(iter(rule.route.methods - {"HEAD"}))
        at = address(rule.route.path)
        for answer in (
            server.call(method, at, key=""),
            server.call(method, at, key="rdk_wrong"),
            server.call("DELETE", at),
            server.call(method, at + "/nothing"),
            server.call(method, at, data=b"\xff", headers=JSON),
        ):
            if answer.status_code < 400:
                continue
            document = answer.json()
            seen.add(answer.status_code)
            assert answer.status_code < 500 and document["requestId"] == answer.headers["x-request-id"]
            assert document["error"].keys() == {"code", "message", "details"} and document["error"]["details"]["hint"]
            assert document["error"]["message"].endswith(".") and ".py" not in answer.text
    assert seen >= {400, 401, 404, 405}


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_comes_back_as_it_went_in(server, text):
    """It is data to whoever stores it: nothing in it is obeyed (H045, H046, H061)."""
    outside = Outside(server.url, server.key)
    tag = {"projectId": "default-project", "runId": "run_t"}
    begun = {"runName": text, "group": text, "tags": [text], "config": {text: text, "nested": {text: [text]}}}
    outside.post("runs", "start", body=tag | begun)
    point = tag | {"metricKey": text, "step": 1, "timestampMs": 5, "value": 0.5, "context": {text: text}}
    line = tag | {"timestampMs": 5, "sequence": 1, "level": "info", "message": text}
    span = tag | {
        "traceId": "ab" * 16,
        "spanId": "cd" * 8,
        "name": text,
        "startNs": "5",
        "attrsJson": json.dumps({text: text}),
    }
    outside.post("ingest", "metrics", body={"points": [point]})
    outside.post("ingest", "logs", body={"lines": [line]})
    outside.post("ingest", "traces", body={"spans": [span]})

    found = outside.get("workspaces", "default-workspace", "projects", "default-project", "runs", "run_t")
    logged = outside.post("query", "logs", body={"runId": "run_t", "text": text})["rows"]
    shown = re.sub("\u202e", "\ufffd", text)  # what would turn the line around is made visible
    assert found["config"] == begun["config"]
    assert (found["runName"], found["group"], found["tags"]) == (shown, shown, [shown])
    assert [row["metricKey"] for row in outside.post("export", "metrics", body={"runId": "run_t"})["rows"]] == [shown]
    assert [row["message"] for row in logged] in ([text], [shown])
    spans = outside.get("runs", "run_t", "traces", "ab" * 16)["spans"]
    assert (spans[0]["name"], spans[0]["attrs"]) == (shown, {text: text})
    listed = outside.get("workspaces", "default-workspace", "projects", "default-project", "runs", "query", search=text)
    assert [run["runId"] for run in listed["runs"]] in (["run_t"], [] if shown != text else ["run_t"])


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "x" * 300, "a\x00b", "a\nb", "\u202e", " . "])
def test_ids_that_could_be_paths_are_refused(server, name):
    """A run id stands in addresses and on command lines (H019). An empty one is one that was not given."""
    answer = server.post("/api/v1/runs/start", json={"projectId": "default-project", "runId": name})

    assert answer.status_code == (200 if name == "" else 400)


@pytest.mark.parametrize("run_id", ["RUN_A", " run_a", "run_a ", "run_a\x00", "run_a/", "x" * 64_000])
def test_a_variant_of_an_id_is_another_id(server, send_to, run_id):
    """Permission goes by the row that was found, never by the text (H078)."""
    send_to("run_a", project="default-project").start()

    assert server.post("/api/v1/query/logs", json={"runId": run_id}).status_code == 404
    assert server.post("/api/v1/query/logs", json={"runId": ["run_a"]}).status_code == 400


def test_a_name_that_comes_twice_means_one_thing(server, send_to):
    """The last one, for the check and for the reading (H027)."""
    send_to("run_mine", project="mine").start()
    send_to("run_secret", project="secret").start()
    key = server.post(
        "/api/v1/workspaces/default-workspace/projects/mine/api-keys", json={"scopes": ["project:read"]}
    ).json()["apiKey"]

    def ask(body):
        return server.post("/api/v1/query/logs", key=key, data=body, headers=JSON)

    assert ask('{"runId": "run_mine", "runId": "run_secret"}').status_code == 404
    assert ask('{"runId": "run_secret", "runId": "run_mine"}').json()["runId"] == "run_mine"


def test_numbers_beyond_every_bound_are_told_apart(server):
    """Each costs only itself, and what is stored is exact (H026, H034)."""
    own = '{"projectId": "default-project", "runId": "run_n", "metricKey": "x", "timestampMs": 1,'
    own += ' "step": %s, "value": %s}'
    good = [("1", "-0.0"), ("2", "5e-324"), ("3", "1.7976931348623157e308"), ("9007199254740993", "1"), ("4", "1e-400")]
    bad = [("5", "1e999"), ("5", "9" * 400), ("-1", "1"), ("9223372036854775808", "1"), ("1e3", '"1"'), ("null", "1")]
    body = f'{{"points": [{",".join(own % pair for pair in good + bad)}]}}'

    answer = server.post("/api/v1/ingest/metrics", data=body, headers=JSON).json()

    rows = server.post("/api/v1/export/metrics", json={"runId": "run_n"}).json()["rows"]
    assert answer["accepted"] == len(good)
    assert {(row["step"], row["value"]) for row in rows} == {(int(step), float(value)) for step, value in good}


@pytest.mark.parametrize(
    "query",
    ["limit=1e9", "limit=-1", "limit=0", "limit=99999999999999999999", "cursor=!!", "cursor=WzFd", "cursor=%00"],
)
@pytest.mark.parametrize(
    "path", ["workspaces", "workspaces/default-workspace/agents", "workspaces/default-workspace/audit"]
)
def test_pages_are_bounded_and_cursors_are_data(server, path, query):
    """Never a page of a billion, never a failure (H039)."""
    assert server.get(f"/api/v1/{path}?{query}").status_code in (200, 400)


def test_what_was_hostile_left_nothing_behind(server):
    """One project and no run: none of the requests that were refused has made anything (H045)."""
    for path in READING:
        server.post(address(path), data=b'{"x": "\'); DROP TABLE runs;--"}', headers=JSON)

    projects = server.get("/api/v1/workspaces/default-workspace/projects").json()["projects"]
    assert [(one["projectSlug"], one["runCount"]) for one in projects] == [("default-project", 0)]
