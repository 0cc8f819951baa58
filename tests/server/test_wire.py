"""The JSON wire of clients in the field, spoken by a client that knows nothing of this project."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rundial.server.store.compactor import compact
from tests.server.outside import Outside

WORKSPACE, PROJECT = "default-workspace", "default-project"
NOW = int(time.time() * 1000)
TRACE, SPAN = "ab" * 16, "cd" * 8


@pytest.fixture
def outside(server):
    """A client with the owner's key."""
    return Outside(server.url, server.key)


@pytest.fixture
def target(outside):
    """Route 1."""
    return outside.post("runs", "resolve-target", body={"workspace": WORKSPACE, "project": PROJECT})


@pytest.fixture
def run(outside, target):
    """Route 2: a run that has begun."""
    body = {
        "projectId": target["projectId"],
        "kind": "training",
        "resume": "never",
        "client": {"name": "rundial-sdk-python", "version": "1.0.0-rc.1"},
        "runId": "run_outside",
        "runName": "baseline",
        "group": "g",
        "jobType": "train",
        "tags": ["a", "b"],
        "config": {"lr": 0.1, "model.depth": 4.0},
    }
    return outside.post("runs", "start", body=body)


def point(run, key="loss", step=0, value=1.0, at=NOW, **fields):
    return {
        "projectId": run["projectId"],
        "runId": run["runId"],
        "metricKey": key,
        "step": step,
        "timestampMs": at,
        "value": value,
        **fields,
    }


def line(run, sequence, message, at=NOW, level="info"):
    own = {"projectId": run["projectId"], "runId": run["runId"], "timestampMs": at, "sequence": sequence}
    return {**own, "level": level, "message": message, "truncated": False}


def span(run, name="step", span_id=SPAN, attrs="{}", **fields):
    return {
        "projectId": run["projectId"],
        "runId": run["runId"],
        "traceId": TRACE,
        "spanId": span_id,
        "parentSpanId": None,
        "name": name,
        "kind": "internal",
        "startNs": str(NOW * 1_000_000),
        "endNs": str(NOW * 1_000_000 + 5),
        "status": "ok",
        "attrsJson": attrs,
        "events": [],
        "model": None,
        "genAiSystem": None,
        "tokensIn": None,
        "tokensOut": None,
        "costUsd": None,
        **fields,
    }


def series(outside, run, *keys, points=25):
    body = {"projectId": run["projectId"], "runId": run["runId"], "metricKeys": list(keys), "range": "full_run"}
    answer = outside.post("query", "series", body=body | {"maxPointsPerSeries": points, "order": "asc"})
    return {one["metricKey"]: [(p["step"], p["value"]) for p in one["points"]] for one in answer["series"]}


def exported(outside, run, what, limit=1000, start=NOW - 300_000, end=NOW + 300_000, **more):
    """All rows, page by page, as the command line of such a client reads them."""
    rows, cursor = [], None
    while True:
        body = {"projectId": run["projectId"], "runId": run["runId"], "startMs": start, "endMs": end, "limit": limit}
        page = outside.post(
            "export", what, body=body | {"format": "json"} | more | ({"cursor": cursor} if cursor else {})
        )
        rows += page["rows"]
        cursor = page["page"]["nextCursor"]
        if not page["page"]["hasMore"]:
            return rows


def test_a_target_has_six_names(target):
    """Routes 1: all of them texts that are not empty."""
    assert {"orgId", "workspaceSlug", "workspaceName", "projectSlug", "projectName", "projectId"} <= target.keys()
    assert all(isinstance(value, str) and value for value in target.values())
    assert (target["workspaceSlug"], target["projectSlug"]) == (WORKSPACE, PROJECT)


@pytest.mark.parametrize(("workspace", "project"), [("nope", PROJECT), (WORKSPACE, "nope")])
def test_a_target_that_is_not_there_is_404_in_the_envelope(server, outside, workspace, project):
    """Without the envelope such a client would call the server outdated. Who may not write makes nothing by asking."""
    home = server.store.accounts.verify(server.key).workspace_id
    _, reader = server.store.accounts.create_key(home, scopes=["project:read", "metrics:write"], label="reader")
    status, answer, _ = Outside(server.url, reader).ask(
        "POST", ("runs", "resolve-target"), {"workspace": workspace, "project": project}
    )

    assert (status, answer["error"]["code"]) == (404, "NOT_FOUND")
    assert answer["error"]["details"]["hint"]
    assert len(outside.get("workspaces", WORKSPACE, "projects")["projects"]) == 1


def test_a_run_from_start_to_end(outside, target, run):
    """Routes 2, 3, 4, 21, 22: what was said of it is what is read."""
    assert (run["runId"], run["projectId"], run["kind"]) == ("run_outside", target["projectId"], "training")
    patched = outside.post("runs", "run_outside", "config", body={"config": {"lr": 0.2, "seed": None}})
    ended = outside.post(
        "runs", "run_outside", "status", body={"status": "completed", "finishedAtMs": NOW + 5, "reason": "done"}
    )
    found = outside.get("workspaces", WORKSPACE, "projects", PROJECT, "runs", "run_outside")
    listed = outside.get(
        "workspaces", WORKSPACE, "projects", PROJECT, "runs", "query",
        limit=25, order="desc", orderBy="startedAtMs", statuses="completed,failed", search="BASE",
    )  # fmt: skip

    assert patched["config"] == {"lr": 0.2, "model.depth": 4.0, "seed": None}
    assert (ended["runId"], ended["status"]) == ("run_outside", "completed")
    assert found["config"] == patched["config"]
    assert (found["runName"], found["group"], found["jobType"], found["tags"]) == ("baseline", "g", "train", ["a", "b"])
    assert (found["status"], found["reason"], found["finishedAtMs"]) == ("completed", "done", NOW + 5)
    assert all(type(found[name]) is int for name in ("startedAtMs", "finishedAtMs", "updatedAtMs"))
    assert [one["runId"] for one in listed["runs"]] == ["run_outside"]


def test_how_runs_are_resumed(outside, target, run):
    """never, allow and must, with 409 for what is there or over and 404 for what is not."""

    def start(run_id, resume):
        body = {"projectId": target["projectId"], "kind": "training", "resume": resume, "runId": run_id}
        status, answer, _ = outside.ask("POST", ("runs", "start"), body)
        return status if status != 200 else answer["status"]

    def end(status):
        return outside.ask("POST", ("runs", "run_outside", "status"), {"status": status})[0]

    assert [start("run_outside", how) for how in ("never", "allow", "must")] == [409, "running", "running"]
    assert [end("completed"), end("completed"), end("failed")] == [200, 200, 409]
    assert start("run_outside", "allow") == 409
    assert outside.ask("POST", ("runs", "run_outside", "config"), {"config": {"a": 1}})[0] == 409
    assert start("run_outside", "must") == "running"
    assert end("failed") == 200
    assert [start("run_none", "must"), start("run_new", "allow")] == [404, "running"]


def test_metrics_go_in_and_come_out(outside, run):
    """Routes 5, 23, 24, 25: gzip, a batch sent twice, and the last value of a step."""
    points = [point(run, "loss", step, 1.0 / (step + 1), NOW + step, context={"subset": "val"}) for step in range(60)]
    points += [point(run, "naïve/ключ", 2**53, -0.0)]
    body = {"points": points, "clientDiagnostics": {"queueDepth": 1}}

    assert [outside.post("ingest", "metrics", body=body, packed=packed)["accepted"] for packed in (True, False)] == [
        61,
        61,
    ]
    outside.post("ingest", "metrics", body={"points": [point(run, "loss", 59, 0.5, NOW + 100)]})

    keys = outside.get("metrics", "keys", projectId=run["projectId"], runId=run["runId"], limit=8)["keys"]
    tail = series(outside, run, "loss", points=10)["loss"]
    assert [key["metricKey"] for key in keys] == ["loss", "naïve/ключ"]
    assert series(outside, run, "loss", points=100)["loss"] == [*((s, 1.0 / (s + 1)) for s in range(59)), (59, 0.5)]
    assert len(tail) == 10 and tail[-1] == (59, 0.5)
    rows = exported(outside, run, "metrics", limit=7, metricKeys=["loss"])
    assert len(rows) == 121
    assert [row["timestampMs"] for row in rows] == sorted(row["timestampMs"] for row in rows)
    assert rows == exported(outside, run, "metrics", metricKeys=["loss"])
    assert {(row["step"], row["value"]) for row in rows} == {(s, 1.0 / (s + 1)) for s in range(60)} | {(59, 0.5)}
    assert exported(outside, run, "metrics", start=NOW + 100, end=NOW + 100) == [
        {"metricKey": "loss", "step": 59, "timestampMs": NOW + 100, "value": 0.5}
    ]


def test_a_bad_point_costs_only_itself(outside, run):
    """NaN, a text, no step, a step too large, a bool, no object; the rest counts."""
    bad = [
        point(run, value=float("nan")),
        point(run, value=float("inf")),
        point(run, value="1"),
        point(run, value=True),
        point(run, step=-1),
        point(run, step=2**63),
        point(run, step=1.5),
        point(run, at=2**62),
        point(run, key=""),
        {"runId": run["runId"]},
        7,
    ]

    answer = outside.post("ingest", "metrics", body={"points": [point(run, step=1), *bad, point(run, step=2)]})

    assert answer["accepted"] == 2
    assert [one["index"] for one in answer["rejected"]] == list(range(1, len(bad) + 1))
    assert [step for step, _ in series(outside, run, "loss")["loss"]] == [1, 2]


def test_log_lines_go_in_once(outside, run):
    """Routes 6, 26, 27: a batch that is sent again adds nothing; the same text at another time does."""
    lines = [line(run, n, f"Epoch {n}", NOW + n, "warn" if n % 2 else "info") for n in range(1, 41)]
    lines += [line(run, 41, "", NOW + 41), line(run, 42, "Epoch 1", NOW + 42)]

    assert [outside.post("ingest", "logs", body={"lines": lines}, packed=True)["accepted"] for _ in range(2)] == [
        42,
        42,
    ]
    # A client that was started again counts from 1 again.
    assert outside.post("ingest", "logs", body={"lines": [line(run, 1, "Epoch 1", NOW + 99)]})["accepted"] == 1
    wrong = outside.post(
        "ingest", "logs", body={"lines": [line(run, 9, "x", level="loud"), line(run, 50, "last", NOW + 50)]}
    )

    body = {"projectId": run["projectId"], "runId": run["runId"], "limit": 100, "minLevel": "trace", "order": "desc"}
    newest = outside.post("query", "logs", body=body)
    warnings = outside.post("query", "logs", body=body | {"minLevel": "warn", "text": "EPOCH 1"})
    assert wrong["accepted"] == 1
    assert newest["runId"] == run["runId"] and len(newest["rows"]) == 44
    assert newest["rows"][0]["message"] == "last"
    assert {row["message"] for row in warnings["rows"]} == {"Epoch 1", *(f"Epoch {n}" for n in range(11, 20, 2))}
    rows = exported(outside, run, "logs", limit=9)
    assert len(rows) == 44 and all(type(row["sequence"]) is int for row in rows)


def test_spans_go_in_and_come_out(outside, run, server):
    """Route 7: a span that is sent again replaces the one before; attributes may say NaN; bad ones are told apart."""
    attrs = json.dumps({"loss": float("nan"), "text": "é"})
    event = {"name": "token", "timestampNs": str(NOW * 1_000_000 + 1), "attrsJson": '{"n": 1}'}
    spans = [
        span(run, "first"),
        span(run, "renamed", attrs=attrs, events=[event], tokensIn=12, model="m"),
        span(run, "open", "ef" * 8, endNs=None, parentSpanId=SPAN),
        span(run, "bad", "not hex"),
        span(run, "bad", "12" * 8, attrs="[1]"),
        span(run, "bad", "34" * 8, kind="sideways"),
    ]

    answer = outside.post("ingest", "traces", body={"spans": spans}, packed=True)

    found = server.get(f"/api/v1/runs/{run['runId']}/traces/{TRACE}").json()
    assert answer["accepted"] == 3
    assert [one["index"] for one in answer["rejected"]] == [3, 4, 5]
    by_name = {one["name"]: one for one in found["spans"]}
    assert by_name.keys() == {"renamed", "open"}
    assert by_name["renamed"]["attrs"] == {"loss": None, "text": "é"}
    assert by_name["renamed"]["events"][0]["attrs"] == {"n": 1}
    assert (by_name["renamed"]["tokensIn"], by_name["renamed"]["model"]) == (12, "m")


def test_evaluations(outside, target):
    """Routes 28, 29, 8, 30: two runs of a suite, their results twice, and what became worse."""
    own = {"orgId": target["orgId"], "projectId": target["projectId"]}
    dataset = {"name": "squad", "version": "1", "artifactRef": "squad:latest"}
    made = outside.post(
        "evals", "suites", body=own | {"name": "qa", "dataset": dataset, "scorers": [{"name": "exact"}]}
    )
    suite_id = made["suite"]["suiteId"]

    def evaluate(scores):
        begun = outside.post("evals", "runs", body=own | {"suiteId": suite_id, "config": {}})["evalRun"]
        rows = [
            {
                "evalRunId": begun["evalRunId"],
                "exampleId": f"ex{n}",
                "scorer": "exact",
                "score": score,
                "passed": score > 0.5,
                "traceId": TRACE,
                "evidenceRef": None,
                "meta": {"n": n},
            }
            for n, score in enumerate(scores)
        ]
        body = {"projectId": target["projectId"], "evalRunId": begun["evalRunId"], "rows": rows}
        assert [outside.post("evals", "results", body=body, packed=True)["accepted"] for _ in range(2)] == [
            len(rows)
        ] * 2
        outside.post("runs", begun["runId"], "status", body={"status": "completed"})
        return begun["evalRunId"]

    baseline, candidate = evaluate([1.0, 1.0, 0.0]), evaluate([1.0, 0.0, 1.0])
    names = {"baselineEvalRunId": baseline, "candidateEvalRunId": candidate}
    diff = outside.post("query", "evals", "diff", body={"projectId": target["projectId"], "limit": 100, **names})

    assert isinstance(made["suite"]["dataset"] if "dataset" in made["suite"] else made["dataset"], dict)
    assert [(row["exampleId"], row["delta"], row["regressed"]) for row in diff["rows"]] == [
        ("ex0", 0.0, False),
        ("ex1", -1.0, True),
        ("ex2", 1.0, False),
    ]


def upload(outside, run, name, files, **fields):
    """Routes 10, 11, 12: announce, put what is asked for, finish."""
    announced = [
        {"path": path, "sizeBytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in files.items()
    ]
    own = {"projectId": run["projectId"], "runId": run["runId"]}
    begun = outside.post("artifacts", "initiate", body=own | {"name": name, "files": announced} | fields)
    parts, asked = [], []
    for entry in begun["files"]:
        data = files[entry["path"]]
        asked.append(entry["path"])
        if entry["uploadStrategy"] == "single":
            outside.put(entry["url"], data, entry.get("requiredHeaders", {}))
        else:
            etags = []
            for part in entry["parts"]:
                piece = data[part["offsetBytes"] : part["offsetBytes"] + part["sizeBytes"]]
                etag = outside.put(part["url"], piece, part.get("requiredHeaders", {}))
                etags.append({"partNumber": part["partNumber"], "etag": etag})
            parts.append({"path": entry["path"], "parts": etags})
    body = own | {"artifactId": begun["artifactId"], "uploadId": begun["uploadId"]}
    finished = outside.post("artifacts", "finalize", body=body | ({"multipartParts": parts} if parts else {}))
    return finished["artifact"], asked, [len(one["parts"]) for one in parts]


def test_artifacts_go_up_and_come_down(outside, run):
    """Routes 10 to 15: a small file, an empty one and one in parts; used by another run; nothing is sent twice."""
    big = bytes(range(256)) * (256 * 1024 + 1)
    files = {"a/small.txt": b"hello", "empty": b"", "weights.bin": big}
    made, asked, parts = upload(
        outside,
        run,
        "model",
        files,
        artifactType="checkpoint",
        aliases=["latest"],
        metadata={"step": 3, "x": float("nan")},
        retentionPolicy={"strategy": "keep_last", "keepLast": 5},
    )
    again, asked_again, _ = upload(outside, run, "model", files | {"more": b"1"}, aliases=["latest"])

    assert type(made["version"]) is int and again["version"] == made["version"] + 1
    assert set(asked) == set(files) and parts and parts[0] > 1
    assert asked_again == ["more"]
    own = {"projectId": run["projectId"], "runId": run["runId"]}
    used = outside.post("artifacts", "use", body=own | {"artifactRef": f"model:v{made['version']}"})["artifact"]
    assert used["runId"] == run["runId"]
    got = {}
    for file in used["files"]:
        body = own | {"runId": used["runId"], "artifactId": used["artifactId"], "path": file["path"]}
        got[file["path"]] = outside.fetch(outside.post("artifacts", "download", body=body)["url"])
    assert got == files


def test_media_are_files_of_artifacts(outside, run, server):
    """Route 9."""
    picture = b"\x89PNG\r\n\x1a\n" + bytes(64)
    made, _, _ = upload(outside, run, "media-sample", {"image.png": picture}, artifactType="media_image")
    item = {
        "projectId": run["projectId"],
        "runId": run["runId"],
        "mediaKey": "sample",
        "mediaType": "image",
        "step": 3,
        "timestampMs": NOW,
        "artifactPath": "image.png",
        "caption": None,
        "width": 8,
        "height": 8,
        "tableRows": None,
        "tableColumns": None,
        "metadata": {},
        "artifactId": made["artifactId"],
        "artifactVersion": made["version"],
        "artifactSha256": hashlib.sha256(picture).hexdigest(),
    }

    outside.post("ingest", "media", body={"projectId": run["projectId"], "runId": run["runId"], "items": [item]})

    (found,) = server.get(f"/api/v1/runs/{run['runId']}/media").json()["items"]
    assert (found["key"], found["step"], found["sha256"]) == ("sample", 3, item["artifactSha256"])


def test_who_where_and_what(outside, server):
    """Routes 16, 19, 20, 37, 38."""
    me = outside.get("auth", "whoami")
    workspaces = outside.get("workspaces", limit=100)
    projects = outside.get("workspaces", WORKSPACE, "projects", limit=100)

    assert me["authenticated"] is True and me["principal"] == "api_key"
    assert [(one["workspaceSlug"], one["role"]) for one in workspaces["workspaces"]] == [(WORKSPACE, "owner")]
    assert [(one["projectSlug"], one["runCount"]) for one in projects["projects"]] == [(PROJECT, 0)]
    assert workspaces["page"] == projects["page"] == {"hasMore": False, "nextCursor": None}
    assert outside.get("cli", "capabilities")["version"]
    assert Outside(server.url).do("GET", "/health/ready")["status"] == "ok"


def test_a_person_signs_in_and_out(outside, server):
    """Routes 17, 18: a password becomes a cookie, with which one reads and, from the own origin, writes."""
    password = "correct horse battery"
    outside.post("workspaces", WORKSPACE, "users", body={"email": "Ann@Example.org", "password": password})
    origin = {"origin": server.url}

    status, _, headers = Outside(server.url).ask(
        "POST", ("auth", "login", "credentials"), {"email": "ann@example.org", "password": password}, headers=origin
    )
    cookie = headers["set-cookie"].partition(";")[0].partition("=")
    person = Outside(server.url, cookie=cookie[2])

    assert (status, cookie[0]) == (200, "rd_session")
    assert person.get("auth", "whoami")["principal"] == "user"
    assert person.post("auth", "logout", headers=origin) == {"authenticated": False}
    assert person.ask("GET", ("auth", "whoami"))[0] == 401
    wrong = {"email": "ann@example.org", "password": "wrong"}
    assert Outside(server.url).ask("POST", ("auth", "login", "credentials"), wrong, headers=origin)[0] == 401


def test_keys_agents_and_audit(outside, server):
    """Routes 31 to 36: made, listed, used, revoked, written down."""
    scopes = ["metrics:write", "project:read", "stream:read"]
    own = ("workspaces", WORKSPACE, "projects", PROJECT, "api-keys")
    made = outside.post(*own, body={"scopes": scopes, "label": "ci", "expiresAtMs": NOW + 3_600_000})
    agent = outside.post("workspaces", WORKSPACE, "agents", body={"name": "night shift"})
    agents = ("workspaces", WORKSPACE, "agents", agent["agentId"])
    second = outside.post(*agents, "api-keys", body={"projectSlug": PROJECT, "label": "night"})

    assert agent["agentId"].startswith("agt_")
    assert Outside(server.url, made["apiKey"]).get("auth", "whoami")["scopes"] == sorted(scopes)
    assert Outside(server.url, second["apiKey"]).get("auth", "whoami")["principal"] == "api_key"
    assert {one["keyId"] for one in outside.get(*own)["keys"]} == {made["keyId"], second["keyId"]}
    assert [one["keyId"] for one in outside.get(*agents, "api-keys")["keys"]] == [second["keyId"]]
    assert [one["status"] for one in outside.get("workspaces", WORKSPACE, "agents", limit=100)["agents"]] == ["active"]
    assert outside.post(*own, made["keyId"], "revoke")["revokedAtMs"]
    assert outside.post(*agents, "revoke")["status"] == "revoked"
    assert [Outside(server.url, one["apiKey"]).ask("GET", ("auth", "whoami"))[0] for one in (made, second)] == [
        401,
        401,
    ]
    assert outside.get("workspaces", WORKSPACE, "agents", status="active")["agents"] == []
    events = outside.get("workspaces", WORKSPACE, "audit", limit=50)["events"]
    assert [(one["action"], one["targetId"]) for one in events] == [
        ("agent.revoke", agent["agentId"]),
        ("api_key.revoke", made["keyId"]),
        ("api_key.create", second["keyId"]),
        ("agent.create", agent["agentId"]),
        ("api_key.create", made["keyId"]),
    ]
    assert {one["actorKind"] for one in events} == {"api_key"}


def test_what_an_agent_does_is_written_down_as_the_agents(outside, server):
    """Its key names it, and its entries can be asked for."""
    agent = outside.post("workspaces", WORKSPACE, "agents", body={"name": "bot"})
    body = {"projectSlug": PROJECT, "scopes": ["metrics:write", "project:read", "project:write"]}
    key = outside.post("workspaces", WORKSPACE, "agents", agent["agentId"], "api-keys", body=body)
    bot = Outside(server.url, key["apiKey"])
    bot.post("runs", "start", body={"projectId": PROJECT, "runId": "run_bot", "kind": "agent"})

    bot.do("PATCH", ("runs", "run_bot"), {"name": "renamed", "tags": ["x"]})
    denied = bot.ask("POST", ("workspaces", WORKSPACE, "agents"), {"name": "another"})[0]

    events = outside.get("workspaces", WORKSPACE, "audit", agentId=agent["agentId"], actorKind="agent")["events"]
    assert denied == 403
    assert [(one["action"], one["verdict"], one["targetId"]) for one in events] == [
        ("agent.create", "denied", WORKSPACE),
        ("run.edit", "allowed", "run_bot"),
    ]
    found = outside.get("workspaces", WORKSPACE, "projects", PROJECT, "runs", "run_bot")
    assert (found["runName"], found["tags"], found["kind"]) == ("renamed", ["x"], "agent")


def test_data_of_a_run_nobody_started_begins_it(outside, target):
    """A client that was offline never started its run. Its project may be named by its slug."""
    unknown = {"projectId": PROJECT, "runId": "run_offline"}
    outside.post("ingest", "metrics", body={"points": [point(unknown, value=2.0)]})
    outside.post("ingest", "logs", body={"lines": [line(unknown, 1, "hello")]})

    body = {"projectId": target["projectId"], "runId": "run_offline", "kind": "training", "resume": "never"}
    found = outside.get("workspaces", WORKSPACE, "projects", PROJECT, "runs", "run_offline")
    assert (found["status"], found["points"], found["projectId"]) == ("running", 1, target["projectId"])
    assert outside.post("runs", "start", body=body)["runId"] == "run_offline"
    assert series(outside, body, "loss")["loss"] == [(0, 2.0)]


def test_data_of_a_run_that_has_ended_is_taken(outside, run):
    """What comes late is stored, and the run stays as it ended."""
    outside.post("runs", run["runId"], "status", body={"status": "failed", "reason": "OOM"})
    outside.post("ingest", "metrics", body={"points": [point(run, step=9)]})
    outside.post("ingest", "logs", body={"lines": [line(run, 1, "late")]})
    outside.post("ingest", "traces", body={"spans": [span(run)]})

    found = outside.get("workspaces", WORKSPACE, "projects", PROJECT, "runs", run["runId"])
    assert (found["status"], found["reason"], found["points"]) == ("failed", "OOM", 1)


def test_a_batch_may_mix_runs(outside, run, server):
    """Points of what is not there are refused one by one; a batch of nothing else is 404."""
    home = server.store.accounts.verify(server.key).workspace_id
    bound = Outside(server.url, server.store.accounts.create_key(home, scopes=["admin"], label="bound")[1])
    other = outside.post("runs", "start", body={"projectId": PROJECT, "runId": "run_b"})
    theirs = outside.post("workspaces", body={"slug": "team-b"})
    stranger = Outside(server.url, theirs["apiKey"])
    foreign = stranger.post("runs", "start", body={"projectId": PROJECT, "runId": "run_theirs"})
    nowhere = {"projectId": "prj_none", "runId": "run_x"}
    stolen = {"projectId": PROJECT, "runId": foreign["runId"]}

    points = [point(run), point(nowhere), point(other, step=4), point(foreign), point(stolen)]
    answer = bound.post("ingest", "metrics", body={"points": points})

    assert answer["accepted"] == 2
    assert [one["index"] for one in answer["rejected"]] == [1, 3, 4]
    assert series(outside, other, "loss")["loss"] == [(4, 1.0)]
    assert series(stranger, foreign, "loss")["loss"] == []
    status, refused, _ = outside.ask("POST", ("ingest", "metrics"), {"points": [point(nowhere), point(stolen)]})
    assert (status, refused["error"]["code"]) == (404, "NOT_FOUND")


def test_a_run_led_by_records_can_be_ended_and_added_to(outside, server, send_to):
    """Both wires see the same run."""
    sender = send_to("run_records", project=PROJECT)
    own = {"projectId": sender.start().json()["run"]["projectId"], "runId": "run_records"}
    sender.log(1, loss=1.0)
    outside.post("ingest", "metrics", body={"points": [point(own, step=2, value=0.5)]})
    sender.log(3, loss=0.25)
    outside.post("runs", "run_records", "status", body={"status": "aborted"})

    assert series(outside, own, "loss")["loss"] == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert server.get("/api/v1/runs/run_records").json()["status"] == "aborted"


def test_requests_at_the_same_time_lose_nothing(outside, run):
    """Twenty batches from eight connections."""

    def send(batch):
        points = [point(run, "x", batch * 50 + n, float(n)) for n in range(50)]
        return outside.post("ingest", "metrics", body={"points": points})["accepted"]

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, range(20))) == 1000
    assert len(series(outside, run, "x", points=2000)["x"]) == 1000


def test_segments_of_a_path_are_decoded_after_they_are_split(outside):
    """A slash in a name stays in its segment."""
    assert outside.ask("GET", ("workspaces", "w/1", "projects"))[0] == 404
    assert outside.ask("GET", ("workspaces", WORKSPACE, "projects", "a/b c", "runs", "query"))[0] == 404


def test_exports_reach_what_is_compacted(outside, run, server):
    """Points that lie in columns and points that lie in the inbox are one export, in order, however it is paged."""
    for batch in range(3):
        points = [point(run, f"k{n % 3}", batch * 300 + n, float(n), NOW + batch * 300 + n) for n in range(300)]
        outside.post("ingest", "metrics", body={"points": points})
        if batch < 2:
            compact(server.store._engine, run["runId"])

    rows = exported(outside, run, "metrics", limit=101)

    assert [row["timestampMs"] for row in rows] == list(range(NOW, NOW + 900))
    assert [row["step"] for row in rows] == list(range(900))
