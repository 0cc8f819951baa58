"""Evaluations on the server: suites, eval runs, results, and what changed between two of them."""

import time

import pytest

from rundial.events import EvalResult, EvalStart, RunEnd
from rundial.server.store.admission import MAX_DEPTH

DATASET = {"name": "squad", "version": "v2", "artifactRef": "squad:v2"}
SCORERS = [{"name": "exact", "kind": None, "config": {}}]


def start(eval_run="evr_a", suite="qa", **fields):
    return EvalStart(time.time_ns(), eval_run, suite, DATASET, SCORERS, **fields)


def result(example, score, passed=None, eval_run="evr_a", scorer="exact", at=None, **fields):
    return EvalResult(time.time_ns() if at is None else at, eval_run, example, scorer, score, passed, **fields)


@pytest.fixture
def evaluate(send_to):
    """Makes a run of kind eval that says these things: ``evaluate(run_id, *events, project=...)``."""

    def make(run_id, *events, project="digits", key=None):
        sender = send_to(run_id, project=project, key=key)
        sender.start(kind="eval", resume="allow")
        reply = sender.send(*events)
        assert reply.status_code == 200, reply.text
        return reply.json()

    return make


@pytest.fixture
def read(server):
    """Asks for results: ``read(eval_run_id, ...)``."""

    def ask(eval_run, **body):
        answer = server.post("/api/v1/query/evals/results", json={"evalRunId": eval_run, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


def test_a_suite_comes_into_being_with_its_first_run(server, evaluate):
    """The second run of the name joins it, and the list has both with what they amount to."""
    evaluate("run_a", start(config={"prompt": 1}), result("1", 1.0, True), result("2", 0.0, False))
    evaluate("run_b", start("evr_b"), result("1", 0.5, None, "evr_b"), RunEnd(time.time_ns(), "completed"))

    (suite,) = server.get("/api/v1/projects/digits/evals").json()["suites"]
    newest, first = suite["runs"]

    assert (suite["name"], suite["dataset"], suite["scorers"], suite["runCount"]) == ("qa", DATASET, SCORERS, 2)
    assert (first["evalRunId"], first["runId"], first["config"]) == ("evr_a", "run_a", {"prompt": 1})
    assert first["summary"] == {"exact": {"count": 2, "mean": 0.5, "passed": 1, "judged": 2, "passRate": 0.5}}
    assert newest["summary"]["exact"]["passRate"] is None
    assert (newest["status"], first["status"]) == ("completed", "running")
    assert server.get("/api/v1/runs/run_a/evals").json() == {"evalRuns": [first]}


def test_a_suite_may_have_an_id_of_its_own(server, evaluate):
    """The id finds it first, then the name."""
    evaluate("run_a", start(suite_id="evs_mine"), start("evr_b", suite="renamed", suite_id="evs_mine"), start("evr_c"))

    (suite,) = server.get("/api/v1/projects/digits/evals").json()["suites"]

    assert (suite["suiteId"], suite["name"], suite["runCount"]) == ("evs_mine", "qa", 3)


def test_the_last_result_counts(evaluate, read):
    """By its own time, also when an older one arrives later."""
    evaluate("run_a", start(), result("1", 0.2, at=20), result("1", 0.9, True, at=30), result("1", 0.1, False, at=10))

    found = read("evr_a")

    assert [(row["score"], row["passed"], row["timestampMs"]) for row in found["rows"]] == [(0.9, True, 0)]
    assert found["evalRun"]["summary"]["exact"]["count"] == 1


def test_results_carry_what_was_said(evaluate, read):
    """Trace, evidence and meta as they came."""
    evidence, meta = {"artifactId": "art_1", "path": "a.txt"}, {"answer": "Paris", "deep": [1, {"b": None}]}
    evaluate("run_a", start(), result("1", 1.0, True, trace_id="ab" * 16, evidence=evidence, meta=meta))

    (row,) = read("evr_a")["rows"]

    assert (row["traceId"], row["evidenceRef"], row["meta"], row["runId"]) == ("ab" * 16, evidence, meta, "run_a")


def test_pages_follow_one_another_and_filters_apply(evaluate, read):
    """Every row once, in order of example and scorer."""
    events = [
        result(f"ex-{i:03}", i / 100, i % 10 > 0, scorer=scorer) for i in range(50) for scorer in ("exact", "judge")
    ]
    evaluate("run_a", start(), *events)

    rows, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = read("evr_a", limit=33, cursor=cursor)
        rows += page["rows"]
        cursor, pages = page["page"]["nextCursor"], pages + 1

    assert pages == 4
    assert [(row["exampleId"], row["scorer"]) for row in rows] == [(event.example_id, event.scorer) for event in events]
    assert [row["exampleId"] for row in read("evr_a", failedOnly=True, scorer="judge")["rows"]] == [
        "ex-000",
        "ex-010",
        "ex-020",
        "ex-030",
        "ex-040",
    ]
    assert len(read("evr_a", text="EX-04")["rows"]) == 20
    assert read("evr_a", text="%")["rows"] == []


def test_workers_share_an_eval_run(server, evaluate, read):
    """Results of another run under the same id join those of the run that named it first."""
    evaluate("run_a", start(), result("1", 1.0))
    evaluate("run_b", result("2", 0.5))

    assert [(row["exampleId"], row["runId"]) for row in read("evr_a")["rows"]] == [("1", "run_a"), ("2", "run_b")]
    assert server.get("/api/v1/runs/run_b/evals").json() == {"evalRuns": []}


def test_results_without_a_suite_are_kept(server, evaluate):
    """A training run may score examples under an id of its own choice; a suite can be named later."""
    evaluate("run_a", result("1", 1.0))

    (nameless,) = server.get("/api/v1/projects/digits/evals").json()["suites"]
    evaluate("run_a", start())
    (named,) = server.get("/api/v1/projects/digits/evals").json()["suites"]

    assert (nameless["suiteId"], nameless["runCount"]) == (None, 1)
    assert (named["name"], named["runs"][0]["summary"]["exact"]["count"]) == ("qa", 1)


@pytest.mark.parametrize(
    "bad",
    [
        result("1", float("nan")),
        result("1", float("inf")),
        result("", 1.0),
        result("x" * 300, 1.0),
        result("1", 1.0, scorer=""),
        result("1", 1.0, trace_id="no trace"),
        result("1", 1.0, meta={"text": "x" * 70_000}),
        result("1", 1.0, eval_run=""),
        result("1", 1.0, at=-1),
        start(suite=" "),
        start("bad\nid"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_bad_event_costs_only_itself(evaluate, read, bad):
    """What comes before and after it is stored."""
    reply = evaluate("run_a", start(), result("before", 1.0), bad, result("after", 1.0))

    assert [(row["seq"], row["code"]) for row in reply["rejected"]] == [(3, "INVALID_RECORD")]
    assert [row["exampleId"] for row in read("evr_a")["rows"]] == ["after", "before"]


def diff(server, **options):
    body = {"projectId": "digits", "baselineEvalRunId": "evr_a", "candidateEvalRunId": "evr_b", **options}
    answer = server.post("/api/v1/query/evals/diff", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_diff_says_what_regressed(server, evaluate):
    """Verdicts decide; where neither side has one, the score does."""
    old = {"passes": (1, True), "breaks": (1, True), "heals": (0, False), "drops": (0.9, None), "grows": (0.1, None)}
    old |= {"equal": (0.5, None), "gone": (1, True), "lower but passes": (0.9, True), "unjudged": (1, True)}
    new = {"passes": (1, True), "breaks": (0, False), "heals": (1, True), "drops": (0.8, None), "grows": (0.3, None)}
    new |= {"equal": (0.5, None), "new": (1, True), "lower but passes": (0.8, True), "unjudged": (0, None)}
    evaluate("run_a", start(), *[result(name, *value) for name, value in old.items()])
    evaluate("run_b", start("evr_b"), *[result(name, *value, eval_run="evr_b") for name, value in new.items()])

    found = diff(server)
    rows = {row["exampleId"]: row for row in found["rows"]}

    assert {name: row["status"] for name, row in rows.items()} == {
        "passes": "same",
        "breaks": "regressed",
        "heals": "improved",
        "drops": "regressed",
        "grows": "improved",
        "equal": "same",
        "gone": "removed",
        "new": "added",
        "lower but passes": "same",
        "unjudged": "same",
    }
    assert [name for name, row in rows.items() if row["regressed"]] == ["breaks", "drops"]
    assert (rows["grows"]["delta"], rows["gone"]["delta"]) == (pytest.approx(0.2), None)
    assert (rows["breaks"]["baselinePassed"], rows["breaks"]["candidatePassed"]) == (True, False)
    assert found["counts"] == {"same": 4, "regressed": 2, "improved": 2, "added": 1, "removed": 1}


def test_a_regression_on_the_last_page_is_counted_on_the_first(server, evaluate):
    """The counts are those of all pages, and the pages hold every row once."""
    evaluate("run_a", start(), *[result(f"{i:04}", 1.0, True) for i in range(250)])
    evaluate("run_b", start("evr_b"), *[result(f"{i:04}", 1.0, i != 249, eval_run="evr_b") for i in range(250)])

    rows, page = [], diff(server, limit=100)
    counts = page["counts"]
    rows += page["rows"]
    while page["page"]["hasMore"]:
        page = diff(server, limit=100, cursor=page["page"]["nextCursor"])
        rows += page["rows"]

    assert counts == page["counts"] == {"same": 249, "regressed": 1, "improved": 0, "added": 0, "removed": 0}
    assert [row["exampleId"] for row in rows] == [f"{i:04}" for i in range(250)]
    assert [row["exampleId"] for row in diff(server, statuses=["regressed"])["rows"]] == ["0249"]
    assert diff(server, scorer="other")["counts"]["regressed"] == 0


def test_other_projects_and_keys_see_nothing(server, evaluate):
    """Not visible and not there are the same answer on every route."""
    accounts = server.store.accounts
    evaluate("run_a", start(), result("1", 1.0))
    evaluate("run_b", start("evr_b"), project="other")
    project = server.get("/api/v1/runs/run_b").json()["projectId"]
    workspace = accounts.verify(server.key).workspace_id
    scopes = ["project:read", "evals:write"]
    _, guest = accounts.create_key(workspace, scopes=scopes, label="guest", project_id=project)

    def look(run, eval_run, project):
        body = {"projectId": project, "baselineEvalRunId": eval_run, "candidateEvalRunId": eval_run}
        rows = {"projectId": project, "evalRunId": eval_run, "rows": [{"exampleId": "1", "scorer": "s", "score": 1}]}
        answers = [
            server.get(f"/api/v1/runs/{run}/evals", key=guest),
            server.get(f"/api/v1/projects/{project}/evals", key=guest),
            server.post("/api/v1/query/evals/results", key=guest, json={"evalRunId": eval_run}),
            server.post("/api/v1/query/evals/diff", key=guest, json=body),
            server.post("/api/v1/evals/suites", key=guest, json={"projectId": project, "name": "qa"}),
            server.post("/api/v1/evals/runs", key=guest, json={"projectId": project, "suiteId": "qa"}),
            server.post("/api/v1/evals/results", key=guest, json=rows),
        ]
        return [answer.status_code for answer in answers]

    assert look("run_a", "evr_a", "digits") == look("run_x", "evr_x", "none") == [404] * 7
    assert look("run_b", "evr_b", "other")[:4] == [200] * 4
    assert diff(server, projectId="digits", candidateEvalRunId="evr_a")["counts"]["same"] == 1
    body = {"projectId": "other", "baselineEvalRunId": "evr_a", "candidateEvalRunId": "evr_b"}
    assert server.post("/api/v1/query/evals/diff", json=body).status_code == 404


def test_the_json_routes_make_suite_run_and_results(server, read):
    """As the older client calls them; the run behind it is one of kind eval and stays open until it is ended."""
    project = server.get("/api/v1/workspaces/default-workspace/projects").json()["projects"][0]["projectId"]
    asked = {"orgId": "org", "projectId": project, "name": "qa", "dataset": DATASET, "scorers": [{"name": "exact"}]}
    made = server.post("/api/v1/evals/suites", json=asked).json()
    body = {"orgId": "org", "projectId": project, "suiteId": made["suite"]["suiteId"], "config": {"prompt": "a"}}
    eval_run = server.post("/api/v1/evals/runs", json=body).json()["evalRun"]
    good = {"evalRunId": eval_run["evalRunId"], "exampleId": "1", "scorer": "exact", "score": 0.5, "passed": True}
    good |= {"traceId": None, "evidenceRef": {"artifactId": "a", "path": "p"}, "meta": {"k": 1}}
    rows = [good, {"exampleId": "2"}, good | {"exampleId": "3", "score": "high"}, good | {"exampleId": ""}]

    reply = server.post(
        "/api/v1/evals/results", json={"projectId": project, "evalRunId": eval_run["evalRunId"], "rows": rows}
    )
    run = server.get(f"/api/v1/runs/{eval_run['runId']}").json()

    assert made["dataset"] == DATASET
    assert reply.json()["accepted"] == 1
    assert [row["index"] for row in reply.json()["rejected"]] == [1, 2, 3]
    assert [row["meta"] for row in read(eval_run["evalRunId"])["rows"]] == [{"k": 1}]
    assert (run["kind"], run["status"], run["config"]) == ("eval", "running", {"prompt": "a"})
    assert server.post("/api/v1/evals/suites", json=asked).json()["suite"]["suiteId"] == made["suite"]["suiteId"]


def test_results_of_an_unknown_eval_run_get_a_run(server, read):
    """What a client sends late is stored, NaN in its meta becomes null, and gzip is taken."""
    import gzip

    body = b'{"projectId": "default-project", "evalRunId": "evr_late", "rows":'
    body += b' [{"exampleId": "1", "scorer": "s", "score": 1, "passed": true, "meta": {"p": NaN}}]}'
    headers = {"content-type": "application/json", "content-encoding": "gzip"}

    reply = server.post("/api/v1/evals/results", data=gzip.compress(body), headers=headers)
    found = read("evr_late")

    assert reply.json() == {"accepted": 1, "rejected": []}
    assert (found["rows"][0]["meta"], found["evalRun"]["runName"]) == ({"p": None}, "evr_late")


def test_an_eval_run_of_a_given_run(server, send_to):
    """It joins a run of the same project; one of another project does not exist for it."""
    send_to("run_a").start()
    send_to("run_b", project="other").start()
    server.post("/api/v1/evals/suites", json={"projectId": "digits", "name": "qa"})

    def begin(**options):
        return server.post("/api/v1/evals/runs", json={"projectId": "digits", "suiteId": "qa", **options})

    assert begin(runId="run_a", evalRunId="evr_1").json()["evalRun"]["runId"] == "run_a"
    assert begin(runId="run_a", evalRunId="evr_1").status_code == 200
    assert begin(evalRunId="evr_1").status_code == 409
    assert begin(runId="run_b").status_code == 404
    assert begin(suiteId="none").status_code == 404
    assert server.get("/api/v1/projects/digits/evals").json()["suites"][0]["runCount"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"projectId": "digits", "evalRunId": "e", "rows": {}}',
        b"\xff",
        b'{"projectId": "\\ud800", "evalRunId": "e", "rows": []}',
        b"[" * 100_000,
        b'{"projectId": "digits", "evalRunId": "e", "rows": [' + b"[" * 50_000,
    ],
    ids=range(7),
)
def test_what_is_no_request_answers_400(server, body):
    """Never a 500."""
    headers = {"content-type": "application/json"}

    assert server.post("/api/v1/evals/results", data=body, headers=headers).status_code == 400


@pytest.mark.parametrize(
    "row",
    [
        b'{"exampleId": "\\ud800", "scorer": "s", "score": 1}',
        b'{"exampleId": "1", "scorer": "s", "score": 1e999}',
        b'{"exampleId": "1", "scorer": "s", "score": 1, "meta": {"a": "\\ud800"}}',
        b'{"exampleId": "1", "scorer": "s", "score": 1, "meta": {"a": 1180591620717411303424}}',
        b'{"exampleId": "1", "scorer": "\\u0000", "score": 1, "evidenceRef": {"a": "\\ud800"}}',
        b'{"exampleId": "1", "scorer": "s", "score": 1, "traceId": "\\ud800"}',
        b"null",
    ],
    ids=range(7),
)
def test_a_strange_row_costs_only_itself(server, row):
    """It is stored readable or refused, and its neighbour is stored."""
    good = b'{"exampleId": "good", "scorer": "s", "score": 1}'
    body = b'{"projectId": "default-project", "evalRunId": "evr_1", "rows": [' + row + b", " + good + b"]}"

    reply = server.post("/api/v1/evals/results", data=body, headers={"content-type": "application/json"})

    assert reply.status_code == 200, reply.text
    assert reply.json()["accepted"] >= 1
    assert 1 not in [refused["index"] for refused in reply.json()["rejected"]]


def test_deep_meta_and_cursors_of_others_are_refused(server, evaluate):
    """By their own message."""
    evaluate("run_a", start(), result("1", 1.0))
    deep: dict = {}
    for _ in range(MAX_DEPTH + 5):
        deep = {"a": deep}
    row = {"exampleId": "1", "scorer": "s", "score": 1, "meta": deep}
    reply = server.post("/api/v1/evals/results", json={"projectId": "digits", "evalRunId": "evr_a", "rows": [row]})

    assert "nested deeper" in reply.json()["rejected"][0]["reason"]
    for cursor in ("x", "e30", "WzFd", "WyJhIl0"):
        body = {"evalRunId": "evr_a", "cursor": cursor}
        assert server.post("/api/v1/query/evals/results", json=body).status_code == 400


def test_the_page_hears_of_more_results(server, evaluate):
    """One event for the run, from the records as from the JSON routes."""
    import threading

    evaluate("run_a", start())
    heard = []
    arrived = threading.Event()

    def note(change):
        heard.append((change.run_id, change.kinds))
        arrived.set()

    stop = server.store.subscribe(note)
    row = {"exampleId": "1", "scorer": "s", "score": 1}
    server.post("/api/v1/evals/results", json={"projectId": "digits", "evalRunId": "evr_a", "rows": [row]})
    assert arrived.wait(5)
    stop()

    assert heard == [("run_a", frozenset({"evals"}))]
