"""Evaluations from the script to the server and back: with a server, without one, killed, and as a pytest session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests.flows.conftest import Script, ServerProcess

EVALUATE = """
    import sys
    import rundial as rd

    endpoint, key, good = sys.argv[1:4]
    suite = rd.eval.suite("qa", project="evals", dataset="squad:v2", scorers=["exact", "judge"],
                          endpoint=endpoint or None, api_key=key or None, quiet=True)
    with suite.run(config={"prompt": good}, eval_run_id=f"evr_{good}") as eval_run:
        for i in range(300):
            with eval_run.run.trace(f"example {i}"):
                eval_run.log_result(f"ex-{i:03}", scores={"exact": i < int(good), "judge": i / 300}, meta={"i": i})
    print(eval_run.run_id)
"""


def ask(server: ServerProcess, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {server.key}"}
    answer = requests.post(f"{server.url}/api/v1/{path}", json=body, headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def all_results(server: ServerProcess, eval_run: str) -> list[dict[str, Any]]:
    rows, cursor = [], None
    while True:
        page = ask(server, "query/evals/results", {"evalRunId": eval_run, "limit": 250, "cursor": cursor})
        rows += page["rows"]
        cursor = page["page"]["nextCursor"]
        if cursor is None:
            return rows


def test_two_runs_of_a_suite_are_compared(
    start_server: Callable[..., ServerProcess], script: Callable[..., Script]
) -> None:
    """Every score arrives with its trace, the summary says what came out, and the diff what regressed."""
    server = start_server()
    first, _ = script(EVALUATE, server.url, server.key, 200).output()
    script(EVALUATE, server.url, server.key, 190).output()

    rows = all_results(server, "evr_200")
    run = server.get(f"/api/v1/runs/{first.strip()}")
    (suite,) = server.get("/api/v1/projects/evals/evals")["suites"]
    diff = {"projectId": "evals", "baselineEvalRunId": "evr_200", "candidateEvalRunId": "evr_190"}
    changed = ask(server, "query/evals/diff", {**diff, "statuses": ["regressed"]})

    assert len(rows) == 600
    assert [(row["exampleId"], row["score"], row["passed"]) for row in rows if row["scorer"] == "exact"] == [
        (f"ex-{i:03}", float(i < 200), i < 200) for i in range(300)
    ]
    assert len({row["traceId"] for row in rows}) == 300 and None not in {row["traceId"] for row in rows}
    assert (run["kind"], run["status"], run["group"], run["config"]) == ("eval", "completed", "qa", {"prompt": "200"})
    assert run["summary"]["eval/exact/pass_rate"] == 200 / 300
    assert run["summary"]["eval/judge/count"] == 300
    assert [(one["evalRunId"], one["summary"]["exact"]["passed"]) for one in suite["runs"]] == [
        ("evr_190", 190),
        ("evr_200", 200),
    ]
    assert [row["exampleId"] for row in changed["rows"]] == [f"ex-{i:03}" for i in range(190, 200)]
    assert changed["counts"] == {"same": 590, "regressed": 10, "improved": 0, "added": 0, "removed": 0}


def test_without_a_server_a_later_one_has_it_all(
    start_server: Callable[..., ServerProcess], script: Callable[..., Script]
) -> None:
    """An evaluation with nothing configured is an evaluation like any other."""
    script(EVALUATE, "", "", 150).output()
    server = start_server()

    server.wait_for("evals", lambda run: run["status"] == "completed" and "eval/exact/mean" in run["summary"])

    assert sum(row["passed"] for row in all_results(server, "evr_150") if row["scorer"] == "exact") == 150


def test_a_killed_evaluation_keeps_its_results(
    start_server: Callable[..., ServerProcess], script: Callable[..., Script]
) -> None:
    """Nothing that was logged is lost, and a second try under the same ids goes on where it ended."""
    code = """
        import os, signal, sys
        import rundial as rd

        first, last, kill = map(int, sys.argv[1:4])
        suite = rd.eval.suite("qa", project="evals", quiet=True)
        with suite.run(run_id="run_mine", eval_run_id="evr_mine") as eval_run:
            for i in range(first, last):
                eval_run.log_result(f"{i:04}", scores={"exact": True})
            if kill:
                os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = script(code, 0, 1000, 1)
    assert killed.wait(30) == -signal.SIGKILL
    server = start_server()
    server.wait_for("evals", lambda run: run["status"] == "crashed" or run["points"] == 0)
    script(code, 900, 1500, 0).output()
    server.wait_for("evals", lambda run: run["status"] == "completed")

    rows = all_results(server, "evr_mine")

    assert [row["exampleId"] for row in rows] == [f"{i:04}" for i in range(1500)]
    assert len(server.runs("evals")) == 1


SESSION = """
    import pytest
    import rundial as rd

    def test_passes(): pass

    def test_fails(): assert 1 + 1 == 3

    @pytest.mark.parametrize("n", [1, 2])
    def test_each(n): assert n == 1

    @pytest.mark.skip(reason="not today")
    def test_skipped(): pass

    @pytest.mark.xfail
    def test_expected(): assert False

    @pytest.fixture
    def broken(): raise RuntimeError("no database")

    def test_setup(broken): pass

    @pytest.fixture
    def sticky():
        yield
        raise RuntimeError("does not come off")

    def test_teardown(sticky): pass

    def test_is_undisturbed(): assert rd.run is None
"""


def session(folder: Path, *options: str, **environment: str) -> str:
    """Runs the session above in a process of its own; what it printed."""
    tests = folder / "suite" / "test_it.py"
    tests.parent.mkdir(exist_ok=True)
    tests.write_text(textwrap.dedent(SESSION))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "rundial.eval_pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *options, "test_it.py"],
        cwd=tests.parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_a_pytest_session_is_an_eval_run(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """Passes, failures, skips, and errors in setup and teardown are all there, each with its span."""
    server = start_server()
    where = {"RUNDIAL_ENDPOINT": server.url, "RUNDIAL_API_KEY": server.key}

    output = session(tmp_path, "--rundial-project", "ci", **where)
    (suite,) = server.get("/api/v1/projects/ci/evals")["suites"]
    (eval_run,) = suite["runs"]
    rows = {row["exampleId"].partition("::")[2]: row for row in all_results(server, eval_run["evalRunId"])}
    (failed,) = [row for name, row in rows.items() if name == "test_fails"]
    run = server.get(f"/api/v1/runs/{eval_run['runId']}")

    assert {name: (row["passed"], row["meta"]["outcome"]) for name, row in rows.items()} == {
        "test_passes": (True, "passed"),
        "test_fails": (False, "failed"),
        "test_each[1]": (True, "passed"),
        "test_each[2]": (False, "failed"),
        "test_skipped": (None, "skipped"),
        "test_expected": (None, "xfailed"),
        "test_setup": (False, "failed"),
        "test_teardown": (False, "failed"),
        "test_is_undisturbed": (True, "passed"),
    }
    assert "assert (1 + 1) == 3" in failed["meta"]["message"]
    assert rows["test_setup"]["meta"]["pytestWhen"] == "setup"
    assert "no database" in rows["test_setup"]["meta"]["message"]
    assert rows["test_teardown"]["meta"]["pytestWhen"] == "teardown"
    assert "not today" in rows["test_skipped"]["meta"]["message"]
    assert (suite["name"], run["status"], run["kind"]) == ("suite", "completed", "eval")
    assert f"rundial: 9 results in {eval_run['evalRunId']} of suite suite" in output
    trace = server.get(f"/api/v1/runs/{eval_run['runId']}/traces/{failed['traceId']}")
    assert [(span["name"], span["status"]) for span in trace["spans"]] == [("pytest:test_it.py::test_fails", "error")]


def test_a_pytest_session_joins_a_run(
    start_server: Callable[..., ServerProcess], script: Callable[..., Script], tmp_path: Path
) -> None:
    """By the variables of the older client; the run is somebody else's and goes on."""
    server = start_server()
    where = {"RUNDIAL_ENDPOINT": server.url, "RUNDIAL_API_KEY": server.key}
    training = script(
        """
        import sys
        import rundial as rd

        with rd.init(project="ci", run_id="run_mine", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True) as run:
            run.log({"loss": 1}), run.flush(), print("ready", flush=True), sys.stdin.readline()
        """,
        server.url,
        server.key,
    )
    assert training.stdout is not None and training.stdout.readline() == b"ready\n"

    names = {"RUNDIAL_PROJECT_ID": "ci", "RUNDIAL_RUN_ID": "run_mine", "RUNDIAL_EVAL_RUN_ID": "evr_mine"}
    session(tmp_path, RUNDIAL_EVAL_SCORER="unit", **names, **where)
    (run,) = server.runs("ci")
    rows = all_results(server, "evr_mine")

    assert (run["runId"], run["status"]) == ("run_mine", "running")
    assert {(row["scorer"], row["runId"]) for row in rows} == {("unit", "run_mine")}
    assert len(rows) == 9
    training.output()
    assert server.runs("ci")[0]["status"] == "completed"


def test_a_refused_session_still_runs_its_tests(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """A wrong key is said at the end and costs no test; an unreachable server costs nothing but the wait at the end."""
    server = start_server(watched=False)

    output = session(tmp_path, "--rundial-project", "ci", RUNDIAL_ENDPOINT=server.url, RUNDIAL_API_KEY="rdk_wrong")
    assert "rundial: nothing was recorded" in output

    output = session(tmp_path, "--rundial-suite", "unit", RUNDIAL_ENDPOINT="http://127.0.0.1:9")
    assert "of suite unit: saved on disk" in output
