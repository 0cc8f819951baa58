"""Traces on the server: taken in, added up, listed and given out."""

import json

import pytest

from rundial.events import Metrics, Span

TRACE = "ab" * 16


def span(number, trace=TRACE, parent=None, start=1_000_000, seconds=1.0, **fields):
    """A span whose id is its number."""
    end = start + int(seconds * 1e9)
    given = {"name": f"step {number}", "kind": "internal", "status": "ok", **fields}
    name, kind = given.pop("name"), given.pop("kind")
    return Span(trace, f"{number:016x}", parent and f"{parent:016x}", name, kind, start, end, **given)


@pytest.fixture
def sender(send_to):
    sender = send_to("run_a")
    sender.start(kind="agent")
    return sender


@pytest.fixture
def traces(server):
    """The answer to a query for the traces of the run."""

    def query(run_id="run_a", key=None, **asked):
        return server.post("/api/v1/query/traces", key=key, json={"runId": run_id, **asked})

    return query


def trace_of(server, trace=TRACE, run_id="run_a"):
    return server.get(f"/api/v1/runs/{run_id}/traces/{trace}")


def test_a_trace_is_listed_with_its_sums(sender, traces):
    """Root, duration, spans, errors, tokens and cost, although the root arrives last."""
    sender.send(
        span(2, parent=1, start=2_000_000, tokens_in=10, tokens_out=5, cost_usd=0.25),
        span(3, parent=1, start=3_000_000, seconds=2, status="error", tokens_in=1),
        Metrics(1, 0, {"loss": 1.0}),
    )
    sender.send(span(1, name="agent", seconds=1.5, cost_usd=0.5))

    assert traces().json() == {
        "traces": [
            {
                "traceId": TRACE,
                "rootName": "agent",
                "startNs": "1000000",
                "durationNs": "2002000000",
                "spans": 3,
                "errors": 1,
                "tokensIn": 11,
                "tokensOut": 5,
                "costUsd": 0.75,
            }
        ],
        "page": {"hasMore": False, "nextCursor": None},
    }


def test_a_trace_is_given_out_whole(server, sender):
    """Every field as it was sent; times as texts, which a browser's numbers would round."""
    start = 1_790_000_000_123_456_789
    sent = span(
        7,
        parent=9,
        start=start,
        kind="tool",
        message="why",
        attrs={"q": [1, {"x": "é"}]},
        events=[("ready", start + 1, {"n": 1})],
        model="m",
        system="s",
        tokens_in=1,
        tokens_out=2,
        cost_usd=0.5,
    )
    sender.send(sent)
    found = trace_of(server).json()

    assert (found["traceId"], found["spanCount"], found["truncated"]) == (TRACE, 1, False)
    assert found["spans"] == [
        {
            "traceId": TRACE,
            "spanId": f"{7:016x}",
            "parentSpanId": f"{9:016x}",
            "name": "step 7",
            "kind": "tool",
            "startNs": str(start),
            "endNs": str(start + 10**9),
            "status": "ok",
            "message": "why",
            "attrs": {"q": [1, {"x": "é"}]},
            "events": [{"name": "ready", "timeNs": str(start + 1), "attrs": {"n": 1}}],
            "model": "m",
            "system": "s",
            "tokensIn": 1,
            "tokensOut": 2,
            "costUsd": 0.5,
        }
    ]


def test_the_last_word_on_a_span_counts(server, sender, traces):
    """Sent again, in the same batch or later, a span replaces the one before, also in the sums."""
    sender.send(span(1, name="early", tokens_in=100), span(1, name="first", tokens_in=5, status="error"))
    sender.send(span(2, parent=1, start=2_000_000))
    sender.send(span(1, name="last", tokens_in=7, seconds=0.5))
    row = traces().json()["traces"][0]

    assert (row["rootName"], row["spans"], row["errors"], row["tokensIn"]) == ("last", 2, 0, 7)
    assert row["durationNs"] == str(1_000_000_000 + 1_000_000)
    assert [each["name"] for each in trace_of(server).json()["spans"]] == ["last", "step 2"]


def test_traces_are_paged_newest_first(sender, traces):
    """The cursor of one page begins the next, also among traces of the same nanosecond."""
    ids = [f"{number:032x}" for number in range(1, 8)]
    sender.send(*(span(1, trace=trace, start=1_000 + number // 3) for number, trace in enumerate(ids)))
    seen, cursor = [], None
    for _ in range(4):
        page = traces(limit=2, cursor=cursor).json()
        seen += [row["traceId"] for row in page["traces"]]
        cursor = page["page"]["nextCursor"]

    assert seen == ids[::-1]
    assert cursor is None
    assert traces(cursor="no cursor").status_code == 400
    assert traces(cursor=f"{'9' * 19}-{TRACE}").status_code == 400


def test_traces_are_found_by_text_and_status(sender, traces):
    """By the name of any span in whatever case, by the beginning of the id, by how they ended."""
    other = "cd" * 16
    sender.send(span(1, name="Agent"), span(2, parent=1, name="tool:Süche 100%", status="error"))
    sender.send(span(1, trace=other, name="plan_b", start=5_000_000))

    def ids(**asked):
        return [row["traceId"] for row in traces(**asked).json()["traces"]]

    assert ids() == [other, TRACE]
    assert ids(text="SÜCHE") == ids(text="00%") == ids(text=TRACE[:6]) == [TRACE]
    assert ids(text="_") == [other]
    assert ids(text="%b") == []
    assert (ids(status="error"), ids(status="ok")) == ([TRACE], [other])
    assert traces(status="great").status_code == 400


def test_a_span_that_is_none_is_refused_alone(server, sender, traces):
    """With its reason; its neighbours are kept."""
    wrong = [
        span(1, trace="ABC"),
        span(2, kind="nonsense"),
        span(3, status="great"),
        span(4, start=-5),
        span(5, tokens_in=-1),
        span(6, cost_usd=float("nan")),
        Span(TRACE, "xyz", None, "n", "tool", 1, 2),
        Span(TRACE, f"{8:016x}", "short", "n", "tool", 1, 2),
        span(9, events=[("e", -1, {})]),
        span(10, attrs={"deep": deep(100)}),
        span(11, tokens_in=1 << 60),
    ]
    answer = sender.send(span(100), *wrong, span(101)).json()

    assert [bad["seq"] for bad in answer["rejected"]] == list(range(2, 13))
    assert answer["accepted"] == 2
    assert len(trace_of(server).json()["spans"]) == traces().json()["traces"][0]["spans"] == 2


def deep(levels):
    return {} if levels == 0 else {"d": deep(levels - 1)}


def test_an_end_before_the_start_becomes_the_start(server, sender):
    """Clocks go back; the span is worth more than its length."""
    sender.send(span(1, start=5_000, seconds=-0.000_001))

    assert trace_of(server).json()["spans"][0]["endNs"] == "5000"


def test_sums_stay_within_64_bits(sender, traces):
    """However much a client claims to have used."""
    most = (1 << 53) - 1
    for first in range(0, 1200, 400):
        events = [span(first + number, parent=1, tokens_in=most) for number in range(400)]
        assert sender.send(*events).json()["rejected"] == []

    assert json.loads(traces().content)["traces"][0]["tokensIn"] == (1 << 63) - 1


def test_a_long_trace_is_given_out_in_part(server, sender, traces):
    """The first 10,000 spans, and that there are more."""
    for first in range(1, 10_501, 500):
        sender.send(*(span(first + n, parent=first or None, start=1_000 + first + n) for n in range(500)))
    found = trace_of(server).json()

    assert (found["truncated"], found["spanCount"], len(found["spans"])) == (True, 10_500, 10_000)
    assert traces().json()["traces"][0]["spans"] == 10_500


def test_what_may_not_be_seen_does_not_exist(server, send_to, sender, traces):
    """The same answer for a run of another project, for none, and for a trace there is none of."""
    sender.send(span(1))
    mine = send_to("run_mine", project="mine").start().json()["run"]["projectId"]
    workspace = server.store.accounts.verify(server.key).workspace_id
    _, key = server.store.accounts.create_key(workspace, scopes=["project:read"], label="guest", project_id=mine)

    answers = [
        server.get(f"/api/v1/runs/run_a/traces/{TRACE}", key=key),
        server.get(f"/api/v1/runs/run_none/traces/{TRACE}", key=key),
        server.get(f"/api/v1/runs/run_mine/traces/{TRACE}", key=key),
        server.get("/api/v1/runs/run_mine/traces/%25", key=key),
        traces(key=key),
        traces("run_none", key=key),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({str(answer.json()["error"]) for answer in answers}) == 1
    assert traces("run_mine", key=key).json()["traces"] == []


def test_traces_need_the_scope_to_read(server, sender, traces):
    """A key that may only write sees none."""
    workspace = server.store.accounts.verify(server.key).workspace_id
    _, key = server.store.accounts.create_key(workspace, scopes=["metrics:write"], label="writer")

    assert traces(key=key).status_code == 403
    assert server.get(f"/api/v1/runs/run_a/traces/{TRACE}", key=key).status_code == 403
