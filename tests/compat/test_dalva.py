"""Dalva's promises, by their numbers, kept by the door and read back from a real server."""

import inspect
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rundial.compat import dalva
from rundial.errors import ConfigError, RequestError
from rundial.segments import scan_segment, segment_paths


def of(server, run):
    return server.get(f"/api/v1/runs/{run.run_id}")


def test_D1_the_constructor_takes_its_parameters_in_order():
    """The names, their order and their defaults are the promised ones."""
    parameters = list(inspect.signature(dalva.Run).parameters.values())
    assert [(p.name, p.default) for p in parameters[1:]] == [
        ("name", None),
        ("config", None),
        ("resume", None),
        ("server_url", "http://localhost:8000"),
    ]
    assert parameters[0].name == "project"


def test_D2_the_server_must_be_there(server, capsys):
    """The run is made on the server and its id printed; a server that is away is a ConnectionError."""
    run = dalva.Run(project="dalva", name="shown", config={"lr": 0.001}, server_url=server.url)
    again = dalva.Run(project="dalva", name="shown")
    assert capsys.readouterr().out == f"Run created: {run.run_id}\nRun created: {again.run_id}\n"
    stored = of(server, run)
    assert (stored["projectSlug"], stored["runName"], stored["config"]) == ("dalva", "shown", {"lr": 0.001})
    assert run.run_id != again.run_id
    with pytest.raises(ConnectionError, match=r"cannot reach the server: no answer from http://127\.0\.0\.1:9"):
        dalva.Run(project="dalva", server_url="http://127.0.0.1:9")


def test_D2_nothing_answers_at_the_default_address(monkeypatch):
    """With nothing configured the default address counts."""
    monkeypatch.setattr(dalva, "ask", refuse)
    with pytest.raises(ConnectionError, match="asked http://localhost:8000"):
        dalva.Run("dalva")


def refuse(endpoint, *_):
    raise RequestError(f"asked {endpoint}")


def test_D3_a_run_is_resumed_by_its_id(server):
    """The same run goes on, with its config; an id nobody knows is an error that names it."""
    run = dalva.Run("resumed", config={"lr": 1})
    run.log({"loss": 0.5}, step=0)
    run.finish()
    again = dalva.Run("resumed", resume=run.run_id)
    again.log({"loss": 0.25}, step=1)
    with pytest.raises(ValueError, match="'lr'"):
        again.log_config({"lr": 2})
    again.finish()
    assert again.run_id == run.run_id
    assert server.points(run.run_id, "loss") == [(0, 0.5), (1, 0.25)]
    with pytest.raises(RequestError, match="no-such-run"):
        dalva.Run("resumed", resume="no-such-run")


def test_D4_with_a_step_a_point_without_one_a_single_value(server):
    """A single value stands in the summary and is no series; nested ones flatten, bad ones harm no neighbour."""
    run = dalva.Run("values")
    run.log({"accuracy": 0.85, "best": {"epoch": 3}})
    run.log({"loss": 0.5, "flag": True}, step=7)
    with pytest.warns(RuntimeWarning, match="'bad' was not stored"):
        run.log({"bad": [1, 2], "good": 1})
    run.finish()
    summary = of(server, run)["summary"]
    assert (summary["accuracy"], summary["best/epoch"], summary["good"]) == (0.85, 3, 1)
    assert server.points(run.run_id, "loss") == [(7, 0.5)]
    keys = server.get(f"/api/v1/metrics/keys?runId={run.run_id}")["keys"]
    assert {key["metricKey"] for key in keys} == {"loss", "flag"}


def test_D4_D5_a_server_that_went_away_is_a_connection_error(start_server):
    """log raises once the server is known to be away, and finish; nothing is lost, and a later server has it all."""
    server = start_server()
    port, url = server.port, server.url
    run = dalva.Run("away", server_url=url)
    run.log({"loss": 0.0}, step=0)
    server.stop()
    step = 0
    with pytest.raises(ConnectionError, match="does not answer"):
        while step < 600:
            step += 1
            run.log({"loss": step / 2}, step=step)
            time.sleep(0.05)
    with pytest.raises(ConnectionError, match="rundial sync"):
        run.finish()
    run.finish()
    server = start_server(port=port)
    found = server.wait_for("away", lambda row: row["status"] == "completed")
    assert server.points(found["runId"], "loss") == [(number, number / 2) for number in range(step + 1)]


def test_D5_finish_prints_the_state(server, capsys):
    """The resulting state is printed once, and a block that raises fails the run."""
    run = dalva.Run("states")
    run.finish()
    run.finish()
    assert capsys.readouterr().out.endswith(f"Run created: {run.run_id}\n[Run] Run finished (state=completed)\n")
    assert (run.state, of(server, run)["status"]) == ("completed", "completed")
    with pytest.raises(ZeroDivisionError), dalva.Run("states") as failing:
        failing.log({"loss": 1 / 0}, step=0)
    assert (failing.state, of(server, failing)["status"]) == ("failed", "failed")


def test_D6_the_examples_run(server):
    """One scalar; a hundred steps; finish."""
    run = dalva.Run(project="my-project", config={"lr": 0.001})
    run.log({"accuracy": 0.85})
    for step in range(100):
        run.log({"loss": 0.5, "accuracy": 0.5}, step=step)
    run.finish()
    assert server.points(run.run_id, "loss") == [(step, 0.5) for step in range(100)]
    assert server.points(run.run_id, "accuracy") == [(step, 0.5) for step in range(100)]
    assert of(server, run)["summary"]["accuracy"] == 0.85


def test_D7_init_needs_no_server(start_server, capsys):
    """Later versions' init keeps the run on this machine, and a later server has it."""
    run = dalva.init("journal", name="later", config={"lr": 1}, durability="strict", segment_interval=0.1)
    run.log({"loss": 0.5}, step=3)
    run.finish()
    server = start_server()
    found = server.wait_for("journal", lambda row: row["status"] == "completed")
    assert (found["runId"], found["runName"]) == (run.run_id, "later")
    assert server.points(run.run_id, "loss") == [(3, 0.5)]


def test_D7_init_finds_the_server_of_the_environment(lasting_server, monkeypatch):
    """DALVA_SERVER_URL names a server, which must answer."""
    monkeypatch.setenv("DALVA_SERVER_URL", lasting_server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", lasting_server.key)
    run = dalva.init("from-environment")
    run.finish()
    assert of(lasting_server, run)["status"] == "completed"
    monkeypatch.setenv("DALVA_SERVER_URL", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match="cannot reach"):
        dalva.init("from-environment")


def test_D8_the_journal_is_the_spool(tmp_path):
    """Without a server the run lies in a folder: checked segments that say whose they are, of numbered records."""
    run = dalva.init("journal", name="kept", config={"lr": 1}, runs_dir=tmp_path)
    for step in range(20):
        run.log({"loss": step / 2}, step=step)
    run.finish()
    (folder,) = {path.parent for path in tmp_path.rglob("*.seg")}
    (path,) = segment_paths(folder)
    meta, segment, damaged = scan_segment(path)
    assert (meta["run_id"], meta["project"], damaged) == (run.run_id, "journal", 0)
    assert (segment.first, segment.next) == (0, segment.next) and segment.next > 20


def test_D9_strict_is_on_the_disk_before_log_returns(tmp_path, script):
    """A process that kills itself right after log() has lost nothing of it."""
    code = """
    import os, signal, sys
    from rundial.compat import dalva
    run = dalva.init("strict", runs_dir=sys.argv[1], durability="strict")
    for step in range(10):
        run.log({"loss": step / 2}, step=step)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    script(code, str(tmp_path)).communicate(timeout=60)
    (path,) = tmp_path.rglob("*.seg")
    assert scan_segment(path)[1].next == 11  # the start and ten calls
    with pytest.raises(ConfigError, match="'balanced' or 'strict'"):
        dalva.init("strict", durability="careless")


def test_D10_sync_is_refused_rather_than_ignored(tmp_path):
    """It names what takes its place."""
    with pytest.raises(ConfigError, match="rundial sync"):
        dalva.init("copies", sync=str(tmp_path))


def test_D11_log_never_raises_and_everything_arrives(start_server):
    """While the server is away flush says so, finish warns or raises as asked, and a later server has it all."""
    server = start_server()
    port = server.port
    run = dalva.init("outbox", server_url=server.url)
    run.log({"loss": 0.0}, step=0)
    assert run.flush(20) == []
    server.stop()
    for step in range(1, 50):
        run.log({"loss": step / 2}, step=step)
    (error,) = run.flush(0.5)
    assert "does not answer" in error
    run.finish(on_error="warn", timeout=0.5)
    with pytest.raises(ValueError, match="on_error"):
        run.finish(on_error="ignore")
    server = start_server(port=port)
    found = server.wait_for("outbox", lambda row: row["status"] == "completed")
    assert server.points(found["runId"], "loss") == [(number, number / 2) for number in range(50)]


def test_D12_D13_a_step_logged_twice_takes_nothing_with_it(server):
    """The first value of a step stays, the second is refused, said and listed; its neighbours are stored."""
    run = dalva.Run("twice")
    run.log({"loss": 0.5}, step=1)
    with pytest.warns(RuntimeWarning, match="'loss' was not stored: step 1 has a value already"):
        run.log({"loss": 9.0, "acc": 1.5}, step=1)
    run.log({"loss": 1.5}, step=3)
    run.log({"loss": 1.0}, step=2)
    run.log({"loss": 9.0}, step=2)
    run.log({"acc": 1}, step=4)  # an int after floats is a number like any other
    with pytest.warns(RuntimeWarning, match="'loss' was not stored: it is a number metric, and this is text"):
        run.log({"loss": "high", "acc": 2.5}, step=5)
    assert len(run.flush(20)) == 3
    assert run.flush(20) == []
    run.finish()
    assert server.points(run.run_id, "loss") == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert server.points(run.run_id, "acc") == [(1, 1.5), (4, 1.0), (5, 2.5)]


def test_D14_what_is_no_value_harms_no_neighbour(server):
    """Bool, int, float, text and nested ones are stored; None, lists, NaN and huge numbers take nothing with them."""
    run = dalva.Run("kinds")
    with pytest.warns(RuntimeWarning, match="is nan at step 0"), pytest.warns(RuntimeWarning, match="was not stored"):
        run.log({"flag": True, "n": 1, "x": 0.5, "deep": {"y": 2, "none": None}, "list": [1], "nan": math.nan}, step=0)
    run.log({"n": 10**30, "x": 1.5, "nan": 1.0}, step=1)
    run.log({"word": "yes", "huge": 10**30, "inf": math.inf})
    assert [error.split(":")[0] for error in run.flush(20)] == [
        "value of 'deep/none' was not stored",
        "value of 'list' was not stored",
    ]
    run.finish()
    assert server.points(run.run_id, "x") == [(0, 0.5), (1, 1.5)]
    assert server.points(run.run_id, "deep/y") == [(0, 2.0)]
    assert server.points(run.run_id, "nan")[-1] == (1, 1.0)
    assert of(server, run)["summary"]["word"] == "yes"


def test_D15_values_and_config_are_read_back(server):
    """get gives the latest value or that of a step, also of what another process logged; config keys are added once."""
    run = dalva.Run("reading", config={"lr": 1})
    run.log({"accuracy": 0.75})
    for step in range(5):
        run.log({"loss": step / 2}, step=step)
    assert run.get("loss") == {"key": "loss", "value": 2.0, "step": 4}
    assert run.get("loss", step=1) == {"key": "loss", "value": 0.5, "step": 1}
    assert run.get("accuracy") == {"key": "accuracy", "value": 0.75, "step": None}
    assert run.get("nothing", default=7) == 7
    run.log_config({"depth": 3})
    with pytest.raises(ValueError, match="'lr'"):
        run.log_config({"width": 4, "lr": 2})
    assert (run.get_config("depth"), run.get_config("width", 0), run.get_config()) == (3, 0, {"lr": 1, "depth": 3})
    run.finish()
    other = dalva.Run("reading", resume=run.run_id)
    assert other.get("loss") == {"key": "loss", "value": 2.0, "step": 4}


def test_D16_a_script_that_raises_has_failed(start_server, script):
    """A run nobody finished is completed only if the process ended well."""
    server = start_server()
    for end in ("", "raise ValueError('bad luck')"):
        script(
            f"""
            import sys
            from rundial.compat import dalva
            run = dalva.init("ends", name={end!r} or "well")
            run.log({{"loss": 0.5}}, step=0)
            {end}
            """
        ).communicate(timeout=60)
    server.wait_for("ends", lambda row: row["runName"] == "well" and row["status"] == "completed")
    server.wait_for("ends", lambda row: row["runName"] != "well" and row["status"] == "failed")


def test_D15_single_values_and_config_can_be_taken_back(server):
    """A removed key may be added again; points stay, and that is said."""
    run = dalva.Run("taken-back", config={"lr": 1})
    run.log({"note": 0.5})
    run.remove("note")
    assert run.get("note", default="gone") == "gone"
    run.log({"note": "other kind"})
    run.remove_config("lr")
    assert run.get_config("lr", "gone") == "gone"
    run.log_config({"lr": 2})
    run.log({"loss": 0.5}, step=0)
    for ask in (lambda: run.remove("loss"), lambda: run.remove("loss", step=0), lambda: run.remove_config("none")):
        with pytest.raises(ValueError, match=r"'loss' stay|no 'none'"):
            ask()
    run.finish()
    stored = of(server, run)
    assert (stored["summary"]["note"], stored["config"]) == ("other kind", {"lr": 2})
    assert server.points(run.run_id, "loss") == [(0, 0.5)]


def test_D17_a_fork_begins_with_what_the_other_run_has(server):
    """Config, points at their steps and single values; it goes on from there, and the parent stays as it was."""
    parent = dalva.Run("forks", name="first", config={"lr": 1, "depth": 3})
    parent.log({"best": 0.25})
    for step in range(5):
        parent.log({"loss": step / 2}, step=step)
    parent.finish()
    run = dalva.init("forks", fork_from=parent.run_id, config={"lr": 2}, server_url=server.url)
    run.log({"loss": 9.0}, step=5)
    run.finish()
    stored = of(server, run)
    assert (stored["runName"], stored["notes"]) == ("fork of first", f"fork of {parent.run_id}")
    assert (stored["config"], stored["summary"]["best"]) == ({"lr": 2, "depth": 3}, 0.25)
    points = [(step, step / 2) for step in range(5)]
    assert server.points(run.run_id, "loss") == [*points, (5, 9.0)]
    assert server.points(parent.run_id, "loss") == points
    with pytest.raises(RequestError, match="no-such-run"):
        dalva.init("forks", fork_from="no-such-run", server_url=server.url)
    with pytest.raises(ConfigError, match="not its tables"):
        dalva.init("forks", fork_from=parent.run_id, copy_tables_on_fork=True)


def test_D19_its_commands_have_their_like():
    """Each command that docs/compat.md names in place of one of Dalva's is there."""
    text = (Path(__file__).parents[2] / "docs/compat.md").read_text()
    commands = re.findall(r"^\| `dalva [^|]*\| `rundial ([a-z -]+)", text, re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        words = command.split()
        asked = subprocess.run([sys.executable, "-m", "rundial", *words, "--help"], capture_output=True, check=False)
        assert asked.returncode == 0, command


class Prediction(dalva.DalvaSchema):
    """Rows of the table below."""

    sample: int
    label: str
    confidence: float | None = None


def test_D18_tables_check_their_rows(server):
    """Rows fit the schema or are refused, all or none, and the table is finished with its run."""
    run = dalva.Run("tables")
    table = run.create_table(schema=Prediction, name="predictions")
    table.log_row({"sample": 1, "label": "cat", "confidence": 0.5})
    table.log_rows([{"sample": 2, "label": "dog"}])
    for bad in ({"sample": "x", "label": "cat"}, {"sample": 3}, {"sample": 3, "label": "cat", "more": 1}):
        with pytest.raises(ValueError, match="table 'predictions'"):
            table.log_rows([{"sample": 9, "label": "owl"}, bad])
    assert [row["sample"] for row in table.get_table()] == [1, 2]
    run.finish()
    with pytest.raises(ValueError, match="is finished"):
        table.log_row({"sample": 3, "label": "fox"})
    items = server.get(f"/api/v1/runs/{run.run_id}/media")["items"]
    assert [(item["key"], item["tableRows"], item["tableColumns"]) for item in items] == [("predictions", 2, 3)]
