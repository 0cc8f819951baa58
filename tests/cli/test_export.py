"""`rundial export` and `rundial import rundial`: everything out, and in again without loss."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from rundial.exports.tables import FORMATS, METRICS, Format, read_table, write_table
from tests.cli.conftest import COMMAND, rundial
from tests.flows.conftest import Script, ServerProcess

EVERYTHING = """
    import math, os, sys, time
    from pathlib import Path
    import rundial as rd

    endpoint, key = sys.argv[1:3]
    here = dict(project="out", endpoint=endpoint, api_key=key, quiet=True, system_metrics=False)
    Path("model").mkdir()
    Path("model/weights.bin").write_bytes(bytes(range(256)) * 400)
    Path("model/deep").mkdir()
    Path("model/deep/a b.txt").write_text("hello")
    rich = dict(name="=rich, \\"quoted\\"", tags=["a", "'b"], group="g", job_type="train",
                notes="lines\\nof notes", path="x/y")
    config = {"lr": 1e-3, "n": 2**60, "deep": {"list": [1, None, {"x": "é"}], "empty": {}}, "text": "=1+1",
              "long": {str(i): "x" * 1000 for i in range(300)}}
    with rd.init(run_id="run_rich", config=config, **here, **rich) as run:
        run.set_primary_metric("acc", "max")
        for step in range(30):
            run.log({"loss": 1 / (step + 1) ** 3, "acc": step, "tiny": 5e-324 if step else -0.0}, step=step)
        run.log({"loss": 0.25}, step=3, time_ms=1_700_000_000_000)  # later, but of an earlier time
        run.log({"big": 2**53 - 1, "mixed": 1.5, "txt": "'quoted"}, step=-7)
        run.log({"mixed": "two", "txt": "", "nan": math.nan, "inf": -math.inf}, step=8)
        run.log({"staged": 1}, step=31, stage="warm up")
        run.log({"staged": 2}, step=32, stage="main", context={"split": "a", "fold": "2"})
        run.log_text("=cmd|' /C calc'!A0", level="warn")
        run.log_text("tab\\tand\\x1b[31mcolour")
        run.log_text("x" * 9000, level="error")
        run.alert("look", "here", "warn")
        run.event("moved", step=4, where={"a": [1]})
        with run.trace("outer", attrs={"k": [1, {"v": None}]}) as span:
            span.event("first", n=1)
            with run.trace("inner", kind="client", model="m", system="s") as call:
                call.set_usage(tokens_in=3, tokens_out=4, cost_usd=0.1 + 0.2)
        run.log({"pic": [rd.Image([[[0, 255, 0]] * 4] * 3, caption="<b>hi</b>")] * 2}, step=2)
        run.log({"tab": rd.Table(columns=["a", "b"], data=[[1, "=x"], [None, 2.5]])}, step=2)
        run.log_artifact("model", name="model", type="checkpoint", aliases=["first"], metadata={"acc": 0.5}, step=9)
        run.flush(20)
        Path("model/weights.bin").write_bytes(b"second")
        run.log_artifact("model", name="model", type="checkpoint", aliases=["best"])
        run.log_artifact("https://example.org/data.csv", name="remote")
        run.summary["own"] = {"value": 3}
        run.finish(30)
    with rd.init(run_id="run_rich", resume="must", **here) as run:
        run.log({"loss": 0.01}, step=100)
        run.finish(30)
    user = rd.init(run_id="run_user", name="user", endpoint=endpoint, api_key=key, project="out", quiet=True)
    user.use_artifact("model:v1")
    user.log({"loss": 1.0})
    suite = rd.eval.suite("sums", scorers=["exact", {"name": "len", "kind": "code", "config": {"n": 1}}],
                          dataset="d:v1", project="out", endpoint=endpoint, api_key=key, quiet=True)
    with suite.run(run_id="run_user", eval_run_id="evr_1", config={"k": 1}) as judged:
        judged.log_result("'ex", scores={"exact": True, "len": 3.25}, meta={"a": "=b"})
    user.finish(30, status="failed", reason="no more money")
"""
KEYS = {"lastSeenMs", "received", "duplicate", "rejected", "dropped", "stream"}
"""Of an attempt: what is of the way it came."""


@pytest.fixture(scope="module")
def full(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """A server with one run that has everything, in two attempts, and one that used and judged it."""
    folder = tmp_path_factory.mktemp("train")
    before = Path.cwd()
    os.chdir(folder)
    try:
        Script(EVERYTHING, server.url, server.key).output()
    finally:
        os.chdir(before)
    post(server, "/api/v1/runs/edit", {"runIds": ["run_user"], "archived": True})
    return server


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Another server, empty at first."""
    running = ServerProcess(tmp_path_factory.mktemp("other") / "data", watched=False)
    yield running
    running.stop()


def post(server: ServerProcess, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = requests.post(server.url + path, json=body, headers={"authorization": f"Bearer {server.key}"}, timeout=20)
    answer.raise_for_status()
    return dict(answer.json())


def environment(server: ServerProcess) -> dict[str, str]:
    return {"RUNDIAL_ENDPOINT": server.url, "RUNDIAL_API_KEY": server.key}


def everything(server: ServerProcess, run_id: str) -> dict[str, Any]:
    """All that a server says of a run, without what is of the server: ids it made, and times of arrival."""
    run = server.get(f"/api/v1/runs/{run_id}")
    attempts = [{key: it[key] for key in it if key not in KEYS} for it in run.pop("attempts")]
    run["archived"] = run.pop("archivedAtMs") is not None
    del run["updatedAtMs"], run["projectId"]
    rows = post(server, "/api/v1/export/metrics", {"runId": run_id, "limit": 10_000, "details": True})["rows"]
    keys = sorted({row["metricKey"] for row in rows})
    series = post(server, "/api/v1/query/series", {"runId": run_id, "metricKeys": keys})["series"]
    logs = post(server, "/api/v1/export/logs", {"runId": run_id})["rows"]
    traces = post(server, "/api/v1/query/traces", {"runId": run_id})["traces"]
    spans = [server.get(f"/api/v1/runs/{run_id}/traces/{it['traceId']}") for it in traces]
    markers = server.get(f"/api/v1/runs/{run_id}/markers")["markers"]
    evals = server.get(f"/api/v1/runs/{run_id}/evals")["evalRuns"]
    results = [post(server, "/api/v1/query/evals/results", {"evalRunId": it["evalRunId"]})["rows"] for it in evals]
    media = server.get(f"/api/v1/runs/{run_id}/media")["items"]
    artifacts = []
    for it in server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"]:
        found = server.get(f"/api/v1/artifacts/{it['artifactId']}")
        artifacts.append((it["role"], {k: v for k, v in found.items() if k not in ("artifactId", "projectId")}))
    return {
        "run": run,
        "attempts": attempts,
        # By kind of number, too: JSON shows 1.0 and 1 differently, and -0.0 as it is.
        "metrics": [json.dumps(row, sort_keys=True) for row in rows],
        "series": series,
        "logs": logs,
        "spans": spans,
        "markers": sorted(markers, key=lambda it: json.dumps(it, sort_keys=True)),
        "evals": [{k: v for k, v in it.items() if k != "projectId"} for it in evals],
        "results": results,
        "media": [{k: v for k, v in it.items() if k not in ("mediaId", "url")} for it in media],
        "artifacts": sorted(artifacts, key=lambda it: (it[1]["name"], it[1]["version"])),
    }


@pytest.mark.parametrize("form", FORMATS)
def test_everything_comes_out_and_in_again(full: ServerProcess, other: ServerProcess, form: Format) -> None:
    """Both ways, twice: another server then says the same of every run, and a repetition changes nothing."""
    before = {run_id: everything(full, run_id) for run_id in ("run_rich", "run_user")}
    assert [len(before["run_rich"][it]) for it in ("attempts", "logs", "media", "artifacts")] == [2, 4, 3, 3]
    assert before["run_user"]["results"][0] and before["run_user"]["run"]["archived"]

    out = rundial("export", "out", "--format", form, "-o", "files", "--json", **environment(full)).json
    place = ("import", "rundial", "files", "--json")
    first = rundial(*place, **environment(other)).json["runs"]
    again = rundial(*place, **environment(other)).json["runs"]

    assert (out["runs"], out["artifacts"], out["leftOut"]) == (2, 3, {"files that artifacts only refer to": 1})
    assert [run["leftOut"] for run in first] == [{}, {}]
    assert {run["status"] for run in again} == {"there"}
    for run_id, was in before.items():
        now = everything(other, run_id)
        for part in was:
            assert now[part] == was[part], part

    rundial("export", "run_rich", "run_user", "--format", form, "-o", "back", **environment(other))
    back = rundial("import", "rundial", "back", "--json", **environment(full)).json["runs"]
    assert [run["status"] for run in back] == ["exists", "exists"]
    assert {run_id: everything(full, run_id) for run_id in before} == before
    for table in ("metrics", "logs", "spans", "results", "markers", "media"):
        for run_id in before:
            place_of = [Path(where, "runs", run_id, f"{table}.{form}").read_bytes() for where in ("files", "back")]
            assert place_of[0] == place_of[1] or form == "parquet" or table == "markers", table


LONG = """
    import sys
    import rundial as rd

    with rd.init(project="long", run_id="run_long", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True) as run:
        for step in range(40_000):
            run.log({"a": step * 0.1, "b": -step, "c": 1.0}, step=step)
            if step % 1000 == 0:
                run.flush(20)
        run.finish(60)
"""


def killed_when(ready: Path | None, server: ServerProcess | None, *arguments: str, **more: str) -> None:
    """Begin a command and kill it in the middle: when a file is there, or a server has points of the run."""
    process = subprocess.Popen([*COMMAND, *arguments], env=os.environ | more, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        if ready is not None and ready.exists():
            break
        if server is not None and any(run["points"] for run in server.runs("long")):
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def test_what_was_killed_goes_on(server: ServerProcess, other: ServerProcess) -> None:
    """An export and an import that end in the middle lose nothing and double nothing when they are run again."""
    Script(LONG, server.url, server.key).output()
    points = {key: server.points("run_long", key) for key in "abc"}

    killed_when(
        Path("files/runs/run_long/.metrics.part.json"), None, "export", "run_long", "-o", "files", **environment(server)
    )
    assert not Path("files/runs/run_long/run.json").exists()
    early = rundial("import", "rundial", "files", code=1, **environment(other))
    assert "broke off" in early.err
    rundial("export", "run_long", "-o", "files", **environment(server))
    assert not list(Path("files").rglob(".*"))

    killed_when(None, other, "import", "rundial", "files", **environment(other))
    assert other.runs("long")[0]["status"] == "running"
    done = rundial("import", "rundial", "files", "--json", **environment(other)).json["runs"]

    assert (done[0]["status"], done[0]["leftOut"]) == ("imported", {})
    assert {key: other.points("run_long", key) for key in "abc"} == points
    assert other.get("/api/v1/runs/run_long")["points"] == 120_000
    assert other.get("/api/v1/runs/run_long")["status"] == "completed"


def test_hostile_folders_are_refused(full: ServerProcess, other: ServerProcess) -> None:
    """A folder that names files outside itself, or that holds something else, harms nothing."""
    rundial("export", "run_rich", "-o", "files", "--format", "jsonl", **environment(full))
    media = Path("files/runs/run_rich/media.jsonl")
    Path("secret").write_text("secret")
    rows = [json.loads(line) for line in media.read_text().splitlines()]
    media.write_text("".join(json.dumps({**row, "file": "../../../secret"}) + "\n" for row in rows))

    done = rundial("import", "rundial", "files", "--json", code=1, **environment(other)).json["runs"]
    stuff = rundial("export", "run_rich", "-o", ".", code=1, **environment(full))
    nothing = rundial("import", "rundial", ".", code=1, **environment(other))
    nobody = rundial("export", "run_nobody", code=1, **environment(full))

    assert "leads out" in done[0]["error"]
    assert other.get("/api/v1/runs/run_rich/media")["items"] == []
    assert "no export of Rundial" in stuff.err and "no export of Rundial" in nothing.err
    assert "neither a run nor a project 'run_nobody'" in nobody.err


def test_a_run_that_goes_on_is_marked_as_crashed(server: ServerProcess, other: ServerProcess) -> None:
    """Nobody here will ever end it; the report says so. A refused key is 2, as everywhere."""
    rundial("run", "start", "--id", "run_open", "--project", "open", **environment(server))
    rundial("export", "open", "-o", "files", "--format", "csv", **environment(server))

    done = rundial("import", "rundial", "files", "--project", "moved", "--json", **environment(other)).json["runs"]

    run = other.get("/api/v1/runs/run_open")
    assert (run["status"], run["reason"], run["projectSlug"]) == (
        "crashed",
        "it was still running when it was exported",
        "moved",
    )
    assert done[0]["leftOut"] == {"that it was still running: it is marked as crashed": 1}
    wrong = {**environment(other), "RUNDIAL_API_KEY": "rdk_wrong"}
    rundial("import", "rundial", "files", code=2, **wrong)


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_keeps_every_cell(form: Format, tmp_path: Path) -> None:
    """Extreme numbers, empty and strange texts, and what a spreadsheet would take for a formula."""
    texts = ["", "'", "'=1", "=1", "a\r\nb", "\r", "\x00", '"', "\u2028", "1.5", "true", None, "𝄞"]
    numbers = [-0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 2.0**60, None]
    rows = [dict.fromkeys(METRICS) | {"metricKey": "k", "step": -(2**63), "text": text} for text in texts]
    rows += [dict.fromkeys(METRICS) | {"metricKey": "k", "step": 2**63 - 1, "value": value} for value in numbers]
    rows += [dict.fromkeys(METRICS) | {"context": value} for value in ({}, {"": "=x"}, None)]

    write_table(rows, tmp_path / f"rows.{form}", METRICS, form)

    again = list(read_table(tmp_path / f"rows.{form}", METRICS))
    assert json.dumps(again) == json.dumps(rows)
    assert all(isinstance(row["value"], float | None) for row in again)
