"""Scripts in the words of the older client's description: each does what it says, and the server has all of it."""

import pytest

START = """
    import os, sys
    from pathlib import Path
    import rundial as rd
    HERE = {"workspace": "team-alpha", "project": "mnist-demo", "endpoint": sys.argv[1], "api_key": sys.argv[2]}
"""


@pytest.fixture
def done(start_server, script):
    """Run a script against a server of its own; the server and what the script printed."""

    def run(code):
        server = start_server(watched=False)
        out, _ = script(START + code, server.url, server.key).output(60)
        return server, out

    return run


def runs_of(server):
    """What a fresh server has of a workspace and a project that nobody made before."""
    return server.get("/api/v1/workspaces/team-alpha/projects/mnist-demo/runs/query")["runs"]


def only_run(server):
    (run,) = runs_of(server)
    return server.get(f"/api/v1/runs/{run['runId']}")


def rows(server, path, body):
    answer = server._session.post(server.url + path, json=body, timeout=20)
    answer.raise_for_status()
    return answer.json()


def artifacts(server, run):
    """The newest version of each."""
    found = server.get(f"/api/v1/runs/{run['runId']}/artifacts")["artifacts"]
    return {version["name"]: version for version in sorted(found, key=lambda version: version["version"])}


def test_the_quick_start(done):
    """Metrics, one with a time of its own, a line of text, a checkpoint, and the end as completed."""
    server, _ = done("""
    Path("checkpoints").mkdir()
    Path("checkpoints/model.pt").write_bytes(b"weights" * 1000)
    with rd.init(**HERE, name="baseline-001", kind="training", mode="online") as run:
        run.log({"train/loss": 0.42, "train/acc": 0.91}, step=1)
        run.log_metric("eval/loss", value=0.31, time_ms=1_760_000_000_000)
        run.log_text("starting eval loop", level="info")
        assert run.checkpoint("checkpoints/model.pt", step=1)
    """)
    run = only_run(server)
    assert (run["runName"], run["kind"], run["status"]) == ("baseline-001", "training", "completed")
    assert {key: run["summary"][key] for key in ("train/loss", "train/acc", "eval/loss")} == {
        "train/loss": 0.42,
        "train/acc": 0.91,
        "eval/loss": 0.31,
    }
    (series,) = rows(server, "/api/v1/query/series", {"runId": run["runId"], "metricKeys": ["eval/loss"]})["series"]
    assert series["points"][0]["timestampMs"] == 1_760_000_000_000
    (line,) = rows(server, "/api/v1/query/logs", {"runId": run["runId"]})["rows"]
    assert (line["level"], line["message"]) == ("info", "starting eval loop")
    stored = artifacts(server, run)["checkpoint"]
    assert (stored["type"], stored["aliases"], stored["sizeBytes"]) == ("checkpoint", ["latest"], 7000)


def test_console_capture(done):
    """What is printed is in the log and on the terminal, a manual line only in the log."""
    server, out = done("""
    with rd.init(**HERE, name="logs-demo", capture_console=True) as run:
        print("stdout is mirrored")
        run.log_text("manual warning", level="warn")
    """)
    found = rows(server, "/api/v1/query/logs", {"runId": only_run(server)["runId"], "order": "asc"})["rows"]
    assert [(row["level"], row["message"]) for row in found] == [
        ("info", "stdout is mirrored"),
        ("warn", "manual warning"),
    ]
    assert out == "stdout is mirrored\n"


def test_traces(done):
    """A span with an event and attributes; a tool call whose long answer is a file and a reference."""
    server, _ = done("""
    with rd.init(**HERE, name="agent-demo", kind="agent") as run:
        with run.trace("planner.step", attrs={"phase": "plan"}) as span:
            span.event("prompt.ready", {"tokens": 128})
            span.set_attrs({"model": "example-model"})
            run.tool_call("search", input={"q": "Ada Lovelace"}, output="x" * 100_000)
    """)
    run = only_run(server)
    (trace,) = rows(server, "/api/v1/query/traces", {"runId": run["runId"]})["traces"]
    spans = server.get(f"/api/v1/runs/{run['runId']}/traces/{trace['traceId']}")["spans"]
    planner, tool = sorted(spans, key=lambda span: span["name"])
    assert (planner["name"], tool["name"], tool["kind"]) == ("planner.step", "tool:search", "tool")
    assert tool["parentSpanId"] == planner["spanId"]
    assert planner["attrs"] == {"phase": "plan", "model": "example-model"}
    assert planner["events"][0]["attrs"] == {"tokens": 128}
    assert tool["attrs"]["tool.output"]["sizeBytes"] == 100_000
    assert any(found["type"] == "trace_evidence" for found in artifacts(server, run).values())


def test_artifacts_in_and_out(done):
    """A folder and checkpoints go in; another run uses the newest and downloads it."""
    server, out = done("""
    Path("outputs/eval-report").mkdir(parents=True)
    Path("outputs/eval-report/report.txt").write_text("fine")
    Path("model.pt").write_bytes(b"a")
    with rd.init(**HERE, name="maker") as run:
        run.log_artifact("outputs/eval-report", name="eval-report")
        run.checkpoint("model.pt", step=100, keep_last=5)
        run.flush(20)
        Path("model.pt").write_bytes(b"b")
        rd.checkpoint("model.pt", step=101)
    with rd.init(**HERE, name="user") as run:
        artifact = run.use_artifact("checkpoint:latest")
        print(Path(artifact.download("inputs/checkpoint"), "model.pt").read_text())
    """)
    assert out == "b\n"
    runs = {run["runName"]: run for run in runs_of(server)}
    stored = artifacts(server, runs["maker"])
    assert stored["eval-report"]["sizeBytes"] == 4
    latest = server.get(f"/api/v1/artifacts/{stored['checkpoint']['artifactId']}")
    assert (latest["version"], [user["runName"] for user in latest["usedBy"]]) == (2, ["user"])


def test_media(done):
    """A picture from a file and a table, at their step."""
    server, _ = done("""
    from PIL import Image
    Path("outputs").mkdir()
    Image.new("RGB", (8, 6), "navy").save("outputs/sample-grid.png")
    with rd.init(**HERE, name="media-demo") as run:
        run.log({"samples": rd.Image("outputs/sample-grid.png", caption="validation samples")}, step=10)
        run.log({"predictions": rd.Table(columns=["id", "label", "score"], rows=[["img-1", "cat", 0.91]])}, step=10)
    """)
    found = server.get(f"/api/v1/runs/{only_run(server)['runId']}/media")["items"]
    items = {item["key"]: item for item in found}
    assert (items["samples"]["mediaType"], items["samples"]["step"], items["samples"]["caption"]) == (
        "image",
        10,
        "validation samples",
    )
    assert (items["predictions"]["tableRows"], items["predictions"]["tableColumns"]) == (1, 3)
    table = server._session.get(server.url + items["predictions"]["url"], timeout=20).json()
    assert table["rows"] == [["img-1", "cat", 0.91]]


def test_resume_and_discovery(done):
    """A run goes on under its id; the client finds workspaces and projects."""
    server, out = done("""
    run = rd.init(**HERE, run_id="run_abc123")
    run.log({"train/loss": 0.5}, step=49)
    run.flush(20)
    again = rd.init(**HERE, run_id="run_abc123", resume="allow")
    again.log({"train/loss": 0.38}, step=50)
    again.finish(20)
    client = rd.Client(endpoint=sys.argv[1], api_key=sys.argv[2], spool_enabled=False, start_worker_on_init=False)
    print(client.whoami()["principal"])
    print([found["workspaceSlug"] for found in client.list_workspaces()])
    print(sorted(found["projectSlug"] for found in client.list_projects("team-alpha")))
    client.close(timeout_seconds=0.1, drain=False)
    """)
    assert out == "api_key\n['default-workspace', 'team-alpha']\n['mnist-demo']\n"
    (series,) = rows(server, "/api/v1/query/series", {"runId": "run_abc123", "metricKeys": ["train/loss"]})["series"]
    assert [(point["step"], point["value"]) for point in series["points"]] == [(49, 0.5), (50, 0.38)]
