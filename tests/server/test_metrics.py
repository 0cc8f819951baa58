"""What Prometheus reads of the server, who may read it, and what its log says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from rundial import config
from rundial.server.logging import blot
from rundial.server.metrics import UNKNOWN

TOKEN = "a-token-for-prometheus"
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (-?[0-9.e+-]+|\+Inf)')
one_engine = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def scrape(server: Any, key: str | None = None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples by name and labels; every line is one, or a HELP or TYPE that comes before."""
    answer = server.get("/metrics", key=key)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    samples = {}
    typed: set[str] = set()
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in typed
            typed.add(name)
        if line.startswith("#"):
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        assert re.sub("_(bucket|sum|count)$", "", found[1]) in typed or found[1] in typed
        labels = frozenset(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', found[2] or "")) - {
            label for label in re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', found[2] or "") if label[0] == "process"
        }
        assert (found[1], labels) not in samples
        samples[found[1], labels] = float(found[3])
    return samples


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def test_what_happened_is_counted(server: Any, send_to: Any) -> None:
    """Requests by route and status, records and bytes, refusals by reason, and how the store fares."""
    sender = send_to("run_a", project="default-project")
    sender.start()
    sender.log(0, loss=1.0)
    sender.next = 0
    sender.start()  # again: a duplicate
    server.get("/api/v1/runs/nobody")
    server.get("/api/v1/no/such/route/at/all")
    server.get("/api/v1/runs/run_a", key="rdk_wrong")

    samples = scrape(server)

    route = "/api/v1/ingest/records"
    assert samples["rundial_requests_total", labelled(method="POST", route=route, status="200")] == 3
    assert samples["rundial_request_seconds_count", labelled(method="POST", route=route)] == 3
    assert samples["rundial_request_seconds_bucket", labelled(method="POST", route=route, le="+Inf")] == 3
    by_run = "/api/v1/runs/{runId}"
    assert samples["rundial_requests_total", labelled(method="GET", route=by_run, status="404")] == 1
    assert samples["rundial_requests_total", labelled(method="GET", route=by_run, status="401")] == 1
    assert samples["rundial_requests_total", labelled(method="GET", route=UNKNOWN, status="404")] == 1
    assert samples["rundial_requests_refused_total", labelled(code="UNAUTHORIZED")] == 1
    assert samples["rundial_ingest_records_total", labelled(result="accepted")] == 2
    assert samples["rundial_ingest_records_total", labelled(result="duplicate")] == 1
    assert samples["rundial_ingest_bytes_total", labelled()] > 100
    assert samples["rundial_inbox_points", labelled()] in (0, 1)
    assert samples["rundial_runs_running", labelled()] == 1
    assert samples["rundial_blob_bytes", labelled()] == 0
    assert samples["rundial_resident_memory_bytes", labelled()] > 10_000_000


def test_buckets_ascend(server: Any) -> None:
    """Each holds what the one before it holds."""
    for _ in range(20):
        server.get("/health/live")
    samples = scrape(server)
    buckets = sorted(
        (float(dict(labels)["le"].replace("+Inf", "inf")), count)
        for (name, labels), count in samples.items()
        if name == "rundial_request_seconds_bucket" and ("route", "/health/live") in labels
    )

    assert len(buckets) == 14
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    assert buckets[-1][1] == 20


@one_engine
def test_open_streams_are_counted(server: Any, send_to: Any) -> None:
    """And are no more when they have ended."""
    send_to("run_a", project="default-project").start()
    with server.get("/api/v1/stream?runId=run_a", stream=True) as answer:
        assert answer.status_code == 200
        assert scrape(server)["rundial_streams_open", labelled()] == 1
    deadline = time.monotonic() + 10
    while scrape(server)["rundial_streams_open", labelled()]:
        assert time.monotonic() < deadline


@one_engine
def test_metrics_are_for_the_token_and_for_the_owner(start_server: Any) -> None:
    """They are about everybody, so no other key reads them; without a token set, no token does."""
    server, without = start_server(metrics_token=TOKEN), start_server()
    accounts = server.store.accounts
    workspace = accounts.verify(server.key).workspace_id
    _, reader = accounts.create_key(workspace, scopes=["project:read", "stream:read"], label="reader")
    _, admin = accounts.create_key(workspace, scopes=["admin"], label="admin")

    assert scrape(server, TOKEN) and scrape(server)
    assert [server.get("/metrics", key=key).status_code for key in ("", "wrong", reader, admin)] == [401, 401, 403, 403]
    assert [without.get("/metrics", key=key).status_code for key in ("", TOKEN)] == [401, 401]
    assert without.call("GET", "/metrics", "", headers={"authorization": "Bearer "}).status_code == 401
    assert server.get("/api/v1/workspaces", key=TOKEN).status_code == 401, "it is good for nothing else"


@one_engine
def test_what_clients_write_into_addresses_is_no_label(server: Any) -> None:
    """Neither a path nor a method of their own: labels would grow without end, and carry what they like."""
    for number in range(5):
        server.get(f'/made-up-{number}/"x')
        server.call(f"MADEUP{number}", "/")

    text = server.get("/metrics").text

    assert "made-up" not in text.lower() and "MADEUP" not in text


@contextmanager
def logging_server(folder: Path, *arguments: str) -> Iterator[tuple[config.LocalServer, list[str]]]:
    """`rundial server` whose log is there in the end, line by line."""
    lines: list[str] = []
    command = [sys.executable, "-m", "rundial", "server", "--port", "0", "--data", str(folder), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip().rpartition(" ")[2]
        yield config.LocalServer(url, (folder / "owner.key").read_text().strip(), "", process.pid), lines
    finally:
        process.terminate()
        lines += process.communicate(timeout=20)[1].splitlines()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_names_requests_and_no_secrets(tmp_path: Path, log_format: str) -> None:
    """One line a request with its id and route; keys, cookies, signatures and queries are nowhere in it."""
    flags = ["--log-format", log_format, "--log-level", "info", "--metrics-token", TOKEN]
    with logging_server(tmp_path, *flags) as (server, lines), requests.Session() as session:
        own = {"authorization": f"Bearer {server.api_key}"}
        answer = session.get(f"{server.url}/api/v1/workspaces", headers=own, timeout=10)
        session.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {TOKEN}"}, timeout=10)
        cookie = {"cookie": "rd_session=canary-cookie"}
        session.get(f"{server.url}/api/v1/workspaces?token=canary-query", headers=cookie, timeout=10)
        session.put(f"{server.url}/api/v1/blobs/up/ab?signature=canary-signature", data=b"canary-body", timeout=10)
        session.get(f"{server.url}/rdk_canary-path", headers=own, timeout=10)
        link = {"token": "canary-link"}
        session.post(f"{server.url}/api/v1/auth/login/link", json=link, timeout=10)
    log = "\n".join(lines)

    assert "GET /api/v1/workspaces 200" in log and "GET /metrics 200" in log
    assert answer.headers["x-request-id"] in log
    assert [secret for secret in ("canary", server.api_key, TOKEN) if secret in log] == []
    if log_format == "json":
        records = [json.loads(line) for line in lines]
        assert [record["route"] for record in records].count("/api/v1/workspaces") == 2
        found = next(record for record in records if record["requestId"] == answer.headers["x-request-id"])
        assert (found["method"], found["status"], found["level"]) == ("GET", 200, "info")
        assert found["principal"].startswith("key_") and found["ms"] >= 0
    assert not any(line.startswith("Traceback") for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        "key rdk_CANARY1234567890",
        "Authorization: Bearer CANARY-1234.567",
        "PUT /x?by=a&signature=CANARY&size=1",
        "GET /bucket/key?X-Amz-Signature=CANARY&X-Amz-Date=1",
        "cannot reach postgresql://rundial:CANARY@db/rundial",
        'body {"password": "CANARY with spaces", "user": "a"}',
        "Cookie: rd_session=CANARY",
        "AWS_SECRET_ACCESS_KEY is aws_secret='CANARY'",
        "{'token': 'CANARY'}",
    ],
)
def test_secrets_are_blotted_out_of_every_line(text: str) -> None:
    """Whoever wrote the line: a library too."""
    assert "CANARY" not in blot(text)
    assert "[redacted]" in blot(text)


def test_what_is_no_secret_stays() -> None:
    """A log that says nothing helps nobody."""
    text = "request 12ab failed: POST '/api/v1/ingest/records' with tokens: 12 at http://host:8787/x"

    assert blot(text) == text
