"""What one client can make others pay for is bounded: slow connections, too many of something, streams left open."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from rundial.errors import ConfigError
from rundial.server import limits
from rundial.server.limits import NAMES, Limits, read_limits
from rundial.server.rates import Rates
from rundial.server.store import passwords, quota
from rundial.server.store.compactor import compact
from rundial.server.store.quota import MAX_RUN_KEYS
from tests.server.command import command
from tests.server.conftest import Sender

JSON = {"content-type": "application/json"}
one_engine = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For what happens before any database is asked."""


def dial(server: Any, text: bytes = b"") -> socket.socket:
    """A connection on which ``text`` has been sent."""
    connection = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=20)
    connection.sendall(text)
    return connection


def head(server: Any, line: bytes, *more: bytes) -> bytes:
    """The head of a request with the owner's key."""
    lines = [line, b"host: " + server.url[7:].encode(), b"authorization: Bearer " + server.key.encode(), *more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def sockets() -> int:
    """How many sockets this process has open; the server is part of it."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue  # closed meanwhile
    return found


def until(check: Any, seconds: float = 20) -> None:
    """Wait until ``check`` holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@one_engine
def test_H035_slow_heads_are_given_up_and_harm_nobody(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hundred sockets that never finish their head: others are answered, and all of them are closed."""
    monkeypatch.setattr("rundial.server.app.HEAD_SECONDS", 1.0)
    slow = [dial(server, b"GET / HTTP/1.1\r\nx: ") for _ in range(300)]

    assert all(server.get("/api/v1/workspaces").status_code == 200 for _ in range(10))
    assert [connection.recv(1) for connection in slow] == [b""] * 300
    for connection in slow:
        connection.close()


@one_engine
def test_H035_a_second_head_that_never_ends_is_given_up_too(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a connection that has been answered before."""
    monkeypatch.setattr("rundial.server.app.HEAD_SECONDS", 0.5)
    monkeypatch.setattr("rundial.server.app.KEEP_ALIVE_SECONDS", 0.5)
    with dial(server, head(server, b"GET /health/live HTTP/1.1")) as connection:
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        connection.sendall(b"GET / HTTP/1.1\r\nx: ")

        assert connection.recv(1) == b""


@one_engine
def test_H036_a_body_that_does_not_come_is_given_up(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 408, for each kind of body, and the connection is closed."""
    monkeypatch.setattr("rundial.server.api.request.BODY_SECONDS", 0.3)
    post = head(server, b"POST /api/v1/query/series HTTP/1.1", b"content-type: application/json", b"content-length: 99")
    with dial(server, post + b"{") as connection:
        assert connection.recv(12) == b"HTTP/1.1 408"


@one_engine
def test_H036_who_does_not_read_his_answer_is_given_up(
    server: Any, send_to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer does not stay in memory for ever."""
    monkeypatch.setattr("rundial.server.app.STALL_SECONDS", 0.5)
    config = {f"key{number}": "x" * 1_000 for number in range(200)}
    assert send_to("run_a", project="default-project").start(config=config).status_code == 200
    port = int(server.url.rpartition(":")[2])
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        own = connection.getsockname()

        def is_held() -> bool:
            ends = psutil.Process().net_connections("tcp4")
            return any(end.laddr.port == port and end.raddr and end.raddr.port == own[1] for end in ends)

        until(is_held)
        connection.sendall(head(server, b"GET /api/v1/runs/run_a HTTP/1.1") * 150)
        until(lambda: not is_held(), 15)  # sooner than a connection may idle


@one_engine
@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(10_000)) + b"\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /?" + b"&".join(b"a%d=1" % number for number in range(10_000)) + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
    ids=["headers", "address", "parameters", "header"],
)
def test_H037_heads_are_bounded(server: Any, text: bytes) -> None:
    """The answer is 4xx or the end of the connection."""
    with dial(server) as connection:
        try:
            connection.sendall(text)
            answer = connection.recv(12)
        except OSError:
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert server.get("/health/live").status_code == 200


def test_H038_new_metrics_beyond_the_bound_are_refused_and_the_others_go_on(
    server: Any, send_to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refused record is counted; a record that has known metrics, too, keeps these."""
    sender = send_to("run_a", project="default-project")
    sender.start()
    sender.log(0, a=1.0, b=2.0)
    compact(server.store._engine, "run_a")
    monkeypatch.setattr(quota, "MAX_RUN_KEYS", 2)

    only_new = sender.log(1, c=3.0).json()
    mixed = sender.log(2, a=5.0, d=4.0).json()

    assert (only_new["accepted"], mixed["accepted"]) == (0, 1)
    assert only_new["rejected"][0]["code"] == "TOO_MANY_KEYS"
    keys = server.get("/api/v1/metrics/keys?runId=run_a").json()["keys"]
    assert [key["metricKey"] for key in keys] == ["a", "b"]
    assert keys[0]["lastValue"] == 5.0
    assert MAX_RUN_KEYS >= 100_000


def test_H038_new_runs_come_at_a_rate(server: Any, send_to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """429, which a client takes for later; runs that are there go on."""
    begun = send_to("run_a", project="default-project")
    assert begun.start().status_code == 200
    monkeypatch.setattr(quota, "RUNS_PER_MINUTE", 1)

    refused = send_to("run_b", project="default-project").start()

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert begun.log(0, a=1.0).status_code == 200


def test_H038_projects_are_bounded(server: Any, send_to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logs into one too many is refused, and so is who makes it."""
    monkeypatch.setattr(quota, "MAX_PROJECTS", 1)

    assert send_to("run_a", project="one-too-many").start().status_code == 429
    made = server.post("/api/v1/workspaces/default-workspace/projects", json={"slug": "two-too-many"})
    assert made.status_code == 409


def test_H038_tags_are_bounded(server: Any, send_to: Any) -> None:
    """A million tags are no run."""
    send_to("run_a", project="default-project").start()
    body = b'{"tags": [%s"z"]}' % (b'"aaaaaa",' * 100_000)

    assert server.call("PATCH", "/api/v1/runs/run_a", data=body, headers=JSON).status_code in (400, 413)


@one_engine
def test_H041_streams_of_one_key_are_bounded_and_leave_nothing(
    start_server: Any,
) -> None:
    """One too many is 429; those that are left close, and their place is free again."""
    server = start_server(streams_per_key=20)
    Sender(server, "run_a", project="default-project").start()
    before = sockets()

    def watch() -> requests.Response:
        return server.get("/api/v1/stream?runId=run_a", stream=True)

    for _ in range(3):
        opened = [watch() for _ in range(20)]
        assert [one.status_code for one in opened] == [200] * 20
        assert watch().status_code == 429
        for one in opened:
            one.close()
        until(lambda: sockets() <= before + 2)


# -- as settings ---------------------------------------------------------------------------------------------------


@one_engine
def test_a_key_may_send_so_many_requests_in_a_second(start_server: Any) -> None:
    """429 with the seconds to wait, until there is room again; another key has a rate of its own."""
    server = start_server(requests_per_second=5)
    workspace = server.store.accounts.verify(server.key).workspace_id
    _, other = server.store.accounts.create_key(workspace, scopes=["project:read"], label="other")
    with requests.Session() as session:
        session.headers["authorization"] = f"Bearer {server.key}"
        answers = [session.get(f"{server.url}/api/v1/workspaces", timeout=10) for _ in range(30)]
    refused = [answer for answer in answers if answer.status_code == 429]

    assert [answer.status_code for answer in answers[:10]] == [200] * 10
    assert refused
    assert {answer.json()["error"]["code"] for answer in refused} == {"RATE_LIMITED"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert server.get("/api/v1/workspaces", key=other).status_code == 200
    assert server.get("/health/ready", key="").status_code == 200
    until(lambda: server.get("/api/v1/workspaces").status_code == 200)


def test_a_bucket_fills_at_its_rate() -> None:
    """Twice the rate after a pause, then one for each share of a second."""
    now = [0.0]
    rates = Rates(10, lambda: now[0])

    assert [rates.take("a") for _ in range(20)] == [0.0] * 20
    assert rates.take("a") == pytest.approx(0.1)
    now[0] = 0.1
    assert rates.take("a") == 0.0
    assert rates.take("a") > 0
    now[0] = 1000.0
    assert [rates.take("a") > 0 for _ in range(21)] == [False] * 20 + [True]
    assert [Rates(0).take("a") for _ in range(5)] == [0.0] * 5


def test_limits_are_given_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of a name wins, and they reach the store; what is no limit is one clear sentence."""
    monkeypatch.setattr(quota, "MAX_RUN_KEYS", 7)
    monkeypatch.setattr(quota, "MAX_PROJECTS", 7)
    monkeypatch.setattr(quota, "RUNS_PER_MINUTE", 7)
    monkeypatch.setattr(passwords, "ACCOUNT_FAILURES", 7)
    monkeypatch.setattr(passwords, "ADDRESS_FAILURES", 7)
    found = read_limits(["metrics_per_run=1", "metrics_per_run=5", "login_failures=3", "requests_per_second=0"])
    limits.apply(Limits(**found))

    assert found == {"metrics_per_run": 5, "login_failures": 3, "requests_per_second": 0}
    assert (quota.MAX_RUN_KEYS, passwords.ACCOUNT_FAILURES) == (5, 3)
    assert (Limits().runs_per_minute, Limits().projects_per_workspace) == (quota.RUNS_PER_MINUTE, quota.MAX_PROJECTS)
    for wrong in ("made_up=1", "login_failures=0", "login_failures", "login_failures=-1", "runs_per_minute=1e3"):
        with pytest.raises(ConfigError):
            read_limits([wrong])


def test_the_flags_and_the_environment_reach_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the requests, one of the store, and a flag that wins over the environment."""
    monkeypatch.setenv("RUNDIAL_LIMITS", "max_body_bytes=50000 projects_per_workspace=1")
    with command("--data", str(tmp_path)) as server:
        assert Sender(server, "run_a", project="second").start().status_code == 429
        assert Sender(server, "run_b", project="default-project").post(bytes(50_001)).status_code == 413
    with command("--data", str(tmp_path), "--limit", "projects_per_workspace=2") as server:
        assert Sender(server, "run_a", project="second").start().status_code == 200


def test_every_limit_is_documented() -> None:
    """With its default."""
    text = (Path(__file__).parent.parent.parent / "docs" / "operations.md").read_text()

    assert [name for name in NAMES if f"| `{name}` | {getattr(Limits(), name):,} |" not in text] == []
