"""The life of a run as a real server keeps it: names, the best value, markers, resumes and attempts."""

import json
import textwrap
from pathlib import Path

import pytest

from rundial.locks import holder

OPEN = """
    import json, sys
    import rundial as rd
    def init(**options):
        return rd.init(project="life", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True, **options)
"""


@pytest.fixture
def live(lasting_server, script):
    """Runs a script against the server; what it prints is JSON. Gives that."""

    def run(code, *arguments):
        out, _ = script(OPEN + code, lasting_server.url, lasting_server.key, *arguments).output()
        return json.loads(out.splitlines()[-1])

    return run


def of(server, run_id):
    return server.get(f"/api/v1/runs/{run_id}")


def test_names_are_kept(lasting_server, live):
    """Path, alias, notes, group, job type and tags as init got them, then as they were changed."""
    first, second = live(
        """
    one = init(path="cv/resnet50", alias="seed-42", notes="why", group="g", job_type="train", tags=["a"], name="one")
    one.finish(20)
    two = init(name="two", alias="seed-42")
    two.rename("renamed")
    two.set_tags(["x", "y"])
    two.set_notes("changed")
    two.finish(20)
    print(json.dumps([one.id, two.id]))
    """
    )
    stored = of(lasting_server, first)
    assert [stored[key] for key in ("path", "alias", "notes", "group", "jobType", "tags", "runName")] == [
        "cv/resnet50",
        "seed-42",
        "why",
        "g",
        "train",
        ["a"],
        "one",
    ]
    stored = of(lasting_server, second)
    assert [stored[key] for key in ("path", "alias", "notes", "tags", "runName")] == [
        "",
        "seed-42",
        "changed",
        ["x", "y"],
        "renamed",
    ]


@pytest.mark.parametrize(
    ("mode", "values", "best"),
    [
        ("max", ["nan", 0.5, 0.9, 0.9, 0.1], (0.9, 2)),
        ("min", ["nan", 0.5, 0.1, 0.1, 0.9], (0.1, 2)),
        ("max", [-3, -2, "inf", -2], (-2.0, 1)),
        ("min", [True, False], (0.0, 1)),
    ],
)
def test_the_best_value(lasting_server, live, mode, values, best):
    """NaN and infinities never count, of equal values the first does."""
    run_id = live(
        """
    import warnings
    warnings.simplefilter("ignore")
    run = init()
    run.set_primary_metric("acc", sys.argv[3])
    for value in json.loads(sys.argv[4]):
        run.log(acc=float(value) if isinstance(value, str) else value)
    run.finish(20)
    print(json.dumps(run.id))
    """,
        mode,
        json.dumps(values),
    )
    stored = of(lasting_server, run_id)
    assert stored["primaryMetric"] == {"name": "acc", "mode": mode, "value": best[0], "step": best[1]}
    assert (stored["summary"]["best_metric_value"], stored["summary"]["best_metric_step"]) == best


def test_the_best_value_survives_a_resume(lasting_server, live):
    """It is kept from attempt to attempt, and naming another metric begins anew."""
    run_id, between = live(
        """
    run = init()
    run.set_primary_metric("acc")
    run.log(acc=0.9)
    run.finish(20)
    again = init(run_id=run.id, resume="must")
    again.set_primary_metric("acc")
    again.log(acc=0.5)
    again.flush(20)
    import urllib.request
    request = urllib.request.Request(f"{sys.argv[1]}/api/v1/runs/{run.id}")
    request.add_header("authorization", f"Bearer {sys.argv[2]}")
    between = json.load(urllib.request.urlopen(request))["primaryMetric"]
    again.set_primary_metric("loss", "min")
    again.log(loss=3.0)
    again.log(loss=4.0)
    again.finish(20)
    print(json.dumps([run.id, between]))
    """
    )
    assert between == {"name": "acc", "mode": "max", "value": 0.9, "step": 0}
    stored = of(lasting_server, run_id)
    assert stored["primaryMetric"] == {"name": "loss", "mode": "min", "value": 3.0, "step": 2}
    assert stored["status"] == "completed"


def test_markers_are_kept(lasting_server, live):
    """Events and alerts stand in the run's markers, with their attributes."""
    run_id = live(
        """
    run = init()
    run.event("reshuffled", step=2, seed=7)
    run.alert("loss rises", "for 3 epochs", level="warn", step=3)
    run.finish(20)
    print(json.dumps(run.id))
    """
    )
    markers = lasting_server.get(f"/api/v1/runs/{run_id}/markers")["markers"]
    assert [(m["kind"], m["name"], m["step"], m["attrs"]) for m in markers] == [
        ("event", "reshuffled", 2, {"seed": 7}),
        ("alert", "loss rises", 3, {"text": "for 3 epochs", "level": "warn"}),
    ]


def test_configuration_and_summary_are_kept_typed(lasting_server, live):
    """Ints stay ints, lists stay lists, nesting merges, secrets never arrive, what the summary says wins."""
    run_id = live(
        """
    run = init(config={"lr": 1, "sizes": [1, 2.5], "opt": {"name": "sgd"}, "api_key": "hush"})
    run.log_config(args={"depth": 3}, extra={"opt": {"momentum": 0.9, "auth_token": "hush"}})
    run.log(loss=0.5)
    run.summary({"loss": 0.1, "note": "baseline", "counts": {"a": 1}})
    run.summary["counts"] = {"b": 2}
    run.finish(20)
    print(json.dumps(run.id))
    """
    )
    stored = of(lasting_server, run_id)
    assert stored["config"] == {
        "lr": 1,
        "sizes": [1, 2.5],
        "opt": {"name": "sgd", "momentum": 0.9, "auth_token": "[redacted]"},
        "api_key": "[redacted]",
        "depth": 3,
    }
    assert type(stored["config"]["lr"]) is int
    assert (stored["summary"]["loss"], stored["summary"]["note"]) == (0.1, "baseline")


def test_steps_and_attempts_go_on_after_a_crash(start_server, script):
    """A killed run is resumed under its id: steps continue, both attempts stay, the status is that of the last."""
    server = start_server()
    code = """
        import os, sys
        import rundial as rd
        run = rd.init(project="again", run_id="the-run", resume="allow", quiet=True,
                      endpoint=sys.argv[1], api_key=sys.argv[2])
        for _ in range(100):
            run.log(loss=1)
        run.flush(20)
        if sys.argv[3] == "die":
            os.kill(os.getpid(), 9)
        run.finish(20)
    """
    script(code, server.url, server.key, "die").wait(60)
    script(code, server.url, server.key, "end").output()
    run = server.wait_for("again", lambda row: row["status"] == "completed")
    assert [step for step, _ in server.points(run["runId"], "loss")] == list(range(200))
    attempts = of(server, "the-run")["attempts"]
    assert len(attempts) == 2
    assert attempts[0]["pid"] != attempts[1]["pid"]
    assert attempts[1]["status"] == "completed"


def test_a_run_of_the_local_server_goes_on_at_its_step(start_server, script):
    """Without an endpoint, too, steps continue, and a run that must be there and is not is an error."""
    server = start_server()
    code = """
        import sys
        import rundial as rd
        run = rd.init(project="local", run_id=sys.argv[1], resume=sys.argv[2], quiet=True)
        for _ in range(5):
            run.log(loss=1)
        run.finish(20)
    """
    for resume in ("never", "continue", "must"):
        script(code, "the-run", resume).output()
    assert [step for step, _ in server.points("the-run", "loss")] == list(range(15))
    refused = script(code, "nowhere", "must")
    assert b"RequestError" in refused.communicate(timeout=60)[1] and refused.returncode == 1


def test_a_resume_without_a_server_arrives_as_one_run(start_server, script):
    """Two processes log into one run id while nobody listens; a later server has one run with two attempts."""
    code = """
        import sys
        import rundial as rd
        run = rd.init(project="offline", run_id="the-run", resume="allow", quiet=True)
        run.log({"loss": float(sys.argv[1])}, step=int(sys.argv[1]))
        run.finish(status="failed") if sys.argv[1] == "0" else run.finish()
    """
    for step in range(2):
        script(code.replace("allow", "must" if step else "allow"), step).output()
    server = start_server()
    run = server.wait_for("offline", lambda row: row["status"] == "completed" and row["points"] == 2)
    assert server.points(run["runId"], "loss") == [(0, 0.0), (1, 1.0)]
    assert len(of(server, "the-run")["attempts"]) == 2


@pytest.mark.parametrize("end", ["run.finish()", "os.kill(os.getpid(), 9)", "run.flush(1); os._exit(1)"])
def test_steps_go_on_without_a_server(start_server, script, end):
    """Finished, killed or gone with its records on the disk: the next goes on after the last step that is here."""
    code = """
        import os
        import rundial as rd
        run = rd.init(project="offline", run_id="the-run", resume="continue", quiet=True, mode="offline")
        for _ in range(5):
            run.log(loss=1)
    """
    for _ in range(3):
        script(f"{textwrap.dedent(code)}\n{end}").communicate(timeout=60)
    server = start_server()
    run = server.wait_for("offline", lambda row: row["points"] == 15)
    assert [step for step, _ in server.points(run["runId"], "loss")] == list(range(15))


def test_a_resumed_run_keeps_its_locks_and_counts_no_living_process(script):
    """Two processes attach to one run at a time: the second does not go on from the first, and both stay owners."""
    code = """
        import sys
        import rundial as rd
        run = rd.init(project="offline", run_id="the-run", resume="allow", quiet=True, mode="offline")
        for _ in range(5):
            run.log(loss=1)
        run.flush(1)
        print(next(run._steps), run._pipeline.queue.path, run._pipeline.spool.folder / "lock", flush=True)
        sys.stdin.read()
    """
    processes = [script(code), script(code)]
    for process in processes:
        step, *locked = process.stdout.readline().decode().split()
        assert step == "5"
        assert [holder(Path(path)) for path in locked] == ["owner", "owner"]
    for process in processes:
        process.communicate(timeout=30)


def test_a_run_that_is_brought_in_has_its_own_times(lasting_server, live):
    """Beginning and end are those that it is given; a strange beginning is a mistake in the call."""
    run_id, error = live("""
    run = init(time_ms=1_700_000_000_123)
    run.log({"loss": 1}, time_ms=1_700_000_001_000)
    run.finish(20, time_ms=1_700_000_060_000)
    try:
        init(time_ms="yesterday")
    except rd.ConfigError as error:
        print(json.dumps([run.id, str(error)]))
""")
    run = of(lasting_server, run_id)
    assert (run["startedAtMs"], run["finishedAtMs"]) == (1_700_000_000_123, 1_700_000_060_000)
    assert "whole milliseconds, not 'yesterday'" in error


@pytest.mark.parametrize("way", ["RUNDIAL_ON=0", "mode", "set_enabled"])
def test_switched_off_no_trace_is_left(script, tmp_path, way):
    """No file, no output, no thread: the same script runs as if nothing were logged."""
    process = script(
        """
        import os, sys, threading
        way = sys.argv[1]
        if way == "RUNDIAL_ON=0":
            os.environ["RUNDIAL_ON"] = "0"
        import rundial as rd
        if way == "set_enabled":
            rd.set_enabled(False)
        options = {"mode": "disabled"} if way == "mode" else {}
        run = rd.init(project="off", capture_console=True, snapshot_code=True, capture_env=True, **options)
        run.set_primary_metric("loss")
        run.log(loss=1)
        run.event("x")
        run.summary["x"] = 1
        run.finish()
        print(threading.active_count())
        """,
        way,
    )
    assert process.output() == ("1\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]
    assert not list((tmp_path / "work").iterdir())
