"""From log() to the server's answer, with real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rundial.client import HttpClient

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_a_script_without_a_server_ends_at_once_and_a_later_server_has_it_all(start_server):
    """Nothing configured, nothing running: one line is said, and the whole run is there when a server comes."""
    answer = subprocess.run([sys.executable, EXAMPLES / "quickstart.py"], capture_output=True, text=True, timeout=30)
    assert answer.returncode == 0
    assert len((answer.stdout + answer.stderr).strip().splitlines()) <= 1
    assert "rundial ui" in answer.stderr
    server = start_server()
    run = server.wait_for("quickstart", lambda run: run["status"] == "completed")
    keys = server.get(f"/api/v1/metrics/keys?runId={run['runId']}&limit=100")["keys"]
    assert keys
    assert {len(server.points(run["runId"], key["metricKey"])) for key in keys} == {key["count"] for key in keys}


def test_a_server_started_in_the_middle_gets_the_rest_live(start_server, script):
    """A run that began without a server is seen growing as soon as there is one."""
    process = script(
        """
        import sys
        import rundial as rd
        run = rd.init(project="middle", quiet=True)
        for step in range(100):
            run.log({"loss": step / 7})
        print("half", flush=True)
        sys.stdin.readline()
        for step in range(100, 200):
            run.log({"loss": step / 7})
        print("more", flush=True)
        sys.stdin.readline()
        print(run.finish(10))
        """
    )
    assert process.stdout.readline() == b"half\n"
    server = start_server()
    run = server.wait_for("middle", lambda run: run["points"] == 100)
    assert run["status"] == "running"
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"more\n"
    server.wait_for("middle", lambda run: run["points"] == 200)
    assert process.output()[0] == "True\n"
    assert server.points(run["runId"], "loss") == [(step, step / 7) for step in range(200)]
    assert server.wait_for("middle", lambda run: run["status"] == "completed")


def test_two_processes_log_ten_thousand_steps_into_one_project(start_server, script):
    """Every step is readable, in order, with its exact value."""
    server = start_server()
    code = """
        import json, sys
        import rundial as rd
        run = rd.init(project="both", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
        factor = float(sys.argv[3])
        for step in range(10_000):
            run.log({"loss": factor / (step + 1), "acc": step * factor})
        assert run.finish(30)
        print(json.dumps([run.id, run.diagnostics().balanced]))
    """
    processes = [script(code, server.url, server.key, factor) for factor in (0.1, 0.7)]
    for process, factor in zip(processes, (0.1, 0.7), strict=True):
        run_id, balanced = json.loads(process.output()[0])
        assert balanced
        assert server.points(run_id, "loss") == [(step, factor / (step + 1)) for step in range(10_000)]
        assert server.points(run_id, "acc") == [(step, step * factor) for step in range(10_000)]
    assert [run["status"] for run in server.runs("both")] == ["completed", "completed"]


def test_the_latest_value_of_a_step_wins(start_server, script):
    """Logging a step again replaces what is shown; the order in which steps come does not matter."""
    server = start_server()
    process = script(
        """
        import sys
        import rundial as rd
        run = rd.init(project="again", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
        for value in (1.0, 2.0):
            for step in (3, 1, 2):
                run.log({"loss": step * value}, step=step)
        run.finish(10)
        print(run.id)
        """,
        server.url,
        server.key,
    )
    run_id = process.output()[0].strip()
    assert server.points(run_id, "loss") == [(1, 2.0), (2, 4.0), (3, 6.0)]


def test_what_a_run_is_reaches_the_server(start_server, script):
    """Name, kind, group, tags, config, summary and where it ran are all there."""
    server = start_server()
    process = script(
        """
        import sys
        import rundial as rd
        run = rd.init(
            project="Vision Models", name="first", kind="eval", group="sweep", job_type="train", tags=["a", "b"],
            config={"lr": 1e-3, "model": {"layers": [1, 2], "act": "relu"}, "seed": 7},
            endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True,
        )
        run.update_config({"model": {"act": "gelu"}})
        run.summary["best"] = 0.75
        run.log({"loss": 0.5, "note": "fine"})
        run.finish(10)
        print(run.id)
        """,
        server.url,
        server.key,
    )
    run = server.get(f"/api/v1/runs/{process.output()[0].strip()}")
    assert (run["runName"], run["kind"], run["group"], run["jobType"], run["tags"]) == (
        "first", "eval", "sweep", "train", ["a", "b"]
    )  # fmt: skip
    assert run["projectSlug"] == "vision-models"
    assert run["config"] == {"lr": 1e-3, "model": {"layers": [1, 2], "act": "gelu"}, "seed": 7}
    assert run["summary"] == {"best": 0.75, "loss": 0.5, "note": "fine"}
    assert run["attempts"][0]["pid"] == process.pid
    assert run["attempts"][0]["logged"] == run["attempts"][0]["received"] - 2


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ({"api_key": "rdk_wrong"}, "AuthError", "RUNDIAL_API_KEY"),
        ({"run_id": "run_gone", "resume": "must"}, "RequestError", "run_gone"),
        ({"workspace": "elsewhere"}, "RequestError", "elsewhere"),
    ],
)
def test_a_definite_no_is_one_error_at_init(start_server, script, options, code, says):
    """A server that refuses the run is heard before training starts, and nothing is left behind."""
    server = start_server()
    client = HttpClient(server.url, api_key=server.key)
    key = client.create_api_key("default-workspace", "default-project", ["admin"])["apiKey"]
    process = script(
        """
        import json, sys
        import rundial as rd
        options = {"api_key": sys.argv[2], **json.loads(sys.argv[3])}
        try:
            rd.init(project="refused", endpoint=sys.argv[1], **options)
        except rd.RundialError as error:
            print(type(error).__name__, error)
        """,
        server.url,
        key if "workspace" in options else server.key,
        json.dumps(options),
    )
    out, err = process.output()
    assert out.startswith(code)
    assert says in out
    assert err == ""
    assert not any(Path.cwd().glob(".rundial_spool/*/*"))


def test_an_unreachable_server_lets_training_start(script):
    """Nobody listens: one warning, and everything waits in the spool."""
    process = script(
        """
        import rundial as rd
        run = rd.init(project="later", endpoint="http://127.0.0.1:9", api_key="rdk_x")
        for step in range(1000):
            run.log({"loss": 0.5})
        print(run.finish(), run.diagnostics().pending, run.diagnostics().balanced)
        """
    )
    out, err = process.output()
    assert out == "False 1003 True\n"
    assert err.count("RuntimeWarning") == 1
    assert "1,003 records saved" in err
    assert "rundial sync" in err


def test_sync_sends_what_waits(start_server, script):
    """Records logged while the server was away are sent by one command, each once."""
    server = start_server()
    port = server.port
    server.stop()
    process = script(
        """
        import sys
        import rundial as rd
        run = rd.init(project="synced", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
        for step in range(5000):
            run.log({"loss": step / 3})
        run.finish()
        print(run.id)
        """,
        server.url,
        server.key,
    )
    run_id = process.output()[0].strip()
    os.environ.pop("RUNDIAL_ENDPOINT", None)
    again = start_server(port=port)
    environment = {**os.environ, "RUNDIAL_ENDPOINT": again.url, "RUNDIAL_API_KEY": again.key}
    for expected in ("5,003 records sent", "Nothing is waiting"):
        answer = subprocess.run(
            [sys.executable, "-m", "rundial", "sync"], capture_output=True, text=True, env=environment, timeout=60
        )
        if expected.startswith("5") and "Nothing is waiting" in answer.stdout:
            break  # the watcher beside the server was quicker
        assert expected in answer.stdout, answer.stderr
    assert again.points(run_id, "loss") == [(step, step / 3) for step in range(5000)]


def test_bursts_lose_nothing(start_server, script):
    """Twenty thousand calls in a tight loop, and a hundred thousand different keys: all of it arrives."""
    server = start_server()
    process = script(
        """
        import json, sys
        import rundial as rd
        run = rd.init(project="burst", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
        for step in range(20_000):
            run.log({"a": step, "b": step / 3, "c": -step})
        for part in range(100):
            run.log({f"key/{part}/{number}": number for number in range(1000)}, step=20_000 + part)
        print(json.dumps([run.id, run.finish(60), run.diagnostics().dropped]))
        """,
        server.url,
        server.key,
    )
    run_id, delivered, dropped = json.loads(process.output(100)[0])
    assert (delivered, dropped) == (True, {})
    assert server.get(f"/api/v1/runs/{run_id}")["points"] == 160_000
    assert server.points(run_id, "b") == [(step, step / 3) for step in range(20_000)]
    assert server.points(run_id, "key/99/999") == [(20_099, 999)]
