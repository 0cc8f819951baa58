"""Writes the samples of one version: what it puts on the wire. Run once at each release, and never change them after.

``python tests/server/samples/make.py FOLDER`` with that version installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rundial.events import (
    Ack,
    Dial,
    EvalResult,
    EvalStart,
    Ledger,
    LogLine,
    Marker,
    Metrics,
    RunEnd,
    RunStart,
    RunUpdate,
    Span,
)
from rundial.version import __version__
from rundial.wire import Chunk, encode, gap_chunk, pack_chunk

STREAM = "5a" * 16
BEGIN = 1_790_000_000_000_000_000
TRACE, SPAN = "ab" * 16, "cd" * 8
CLIENT = {"name": "rundial-sdk-python", "version": __version__}


def records() -> bytes:
    """A stream with every kind of event in it: 13 records and a gap of 3."""
    second = 1_000_000_000
    events = [
        RunStart(
            BEGIN, "run_sample", "default-workspace", "samples", "sample", "training", "never", "g", "train",
            ["a", "b"], {"lr": 0.1, "model": {"depth": 4}}, "node1", 4711, 0, f"rundial-python/{__version__}",
            {"gpu": "none"}, 15.0,
        ),
        Metrics(BEGIN + second, 0, {"loss": 1.0, "acc": 0.5, "ok": True, "note": "begun"}, "train", {"rank": "0"}),
        Metrics(BEGIN + 2 * second, 1, {"loss": 0.5, "acc": 0.75}),
        RunUpdate(BEGIN + 2 * second, {"seed": 1}, {"best": 0.75}, primary={"name": "acc", "mode": "max"}),
        Marker(BEGIN + 2 * second, "alert", "too hot", 1, {"value": 3}),
        LogLine(BEGIN + 2 * second, "info", "Epoch 1", "stdout"),
        Span(TRACE, SPAN, None, "step", "internal", BEGIN, BEGIN + second, "ok", attrs={"n": 1},
             events=[("token", BEGIN + 1, {})], model="m", tokens_in=3, tokens_out=4, cost_usd=0.5),
        EvalStart(BEGIN + 3 * second, "evr_sample", "arithmetic", {"name": "sums"}, [{"name": "exact"}], {"shots": 2}),
        EvalResult(BEGIN + 3 * second, "evr_sample", "ex1", "exact", 1.0, True, meta={"answer": "4"}),
        Dial(BEGIN + 3 * second, "lr", "float", 0.0, 1.0, 0.01, None, "1/step", "learning rate", 0.1),
        Ack(BEGIN + 4 * second, "cmd_sample", "lr", "applied", 0.05, 0.1),
    ]  # fmt: skip
    closing = [Ledger(BEGIN + 5 * second, 16, {"queue full": 3}, {"loss": 1}), RunEnd(BEGIN + 6 * second, "completed")]
    body = b"".join(map(encode, events))
    gap = gap_chunk(STREAM, len(events), len(events) + 2, "queue full")
    last = Chunk(STREAM, len(events) + 3, len(closing), b"".join(map(encode, closing)))
    return b"".join(map(pack_chunk, (Chunk(STREAM, 0, len(events), body), gap, last)))


def requests() -> list[dict[str, object]]:
    """A run by clients that speak JSON, in the order of the requests."""
    ms = BEGIN // 1_000_000
    own = {"projectId": "default-project", "runId": "run_json"}
    where = {"workspace": "default-workspace", "project": "default-project"}
    start = {**own, "kind": "training", "resume": "never", "client": CLIENT, "runName": "baseline", "group": "g"}
    points = [{**own, "metricKey": "loss", "step": n, "timestampMs": ms + n, "value": 1.0 / (n + 1)} for n in range(3)]
    line = {**own, "timestampMs": ms, "sequence": 1, "level": "info", "message": "Epoch 1", "truncated": False}
    times = {"startNs": str(BEGIN), "endNs": str(BEGIN + 5)}
    span = {**own, "traceId": TRACE, "spanId": SPAN, "parentSpanId": None, "name": "step", "kind": "internal", **times}
    ended = {"status": "completed", "finishedAtMs": ms + 10}
    asked: list[tuple[str, object]] = [
        ("runs/resolve-target", where),
        ("runs/start", {**start, "jobType": "train", "tags": ["a"], "config": {"lr": 0.1}}),
        ("ingest/metrics", {"points": points}),
        ("ingest/logs", {"lines": [line]}),
        ("ingest/traces", {"spans": [{**span, "status": "ok", "attrsJson": "{}", "events": [], "tokensIn": 3}]}),
        ("runs/run_json/config", {"config": {"seed": 1}}),
        ("runs/run_json/status", ended),
    ]
    return [{"path": f"/api/v1/{path}", "body": body} for path, body in asked]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / f"records-{__version__}.bin").write_bytes(records())
    text = json.dumps(requests(), indent=1)
    (folder / f"requests-{__version__}.json").write_text(text + "\n")
