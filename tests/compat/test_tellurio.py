"""Tellurio's promises, by their numbers, kept by the door and read back from a real server."""

import inspect
import json
import re
from pathlib import Path

import pytest

from rundial.compat import tellurio
from rundial.compat.tellurio import RunStatus
from rundial.errors import RequestError, UnreachableError
from rundial.server.app import RULES

SPACE = "default-workspace"


def of(server, run):
    return server.get(f"/api/v1/runs/{run.uuid}")


def test_E1_statuses_are_four_and_upper_case():
    """RUNNING, COMPLETED, CRASHED and FAILED, as texts too."""
    assert [status.value for status in RunStatus] == ["RUNNING", "COMPLETED", "CRASHED", "FAILED"]
    assert RunStatus("CRASHED") is RunStatus.CRASHED


def test_E2_E15_a_run_knows_where_it_belongs(server):
    """A run shows its project, its organisation, its user and its dates."""
    run = tellurio.init(SPACE, "Belonging Here", name="one", description="why")
    run.finish()
    stored = of(server, run)
    assert (run.uuid, run.name, run.description, run.status) == (stored["runId"], "one", "why", RunStatus.COMPLETED)
    assert run.organization.slug == stored["workspaceSlug"] == SPACE
    assert (run.project.uuid, run.project.display_name) == (stored["projectId"], "Belonging Here")
    assert run.project.slug == stored["projectSlug"] == "belonging-here"
    assert run.user.uuid and run.user.username and run.user.slug
    assert run.date_created <= run.date_updated
    assert stored["notes"] == "why"


def test_E3_init_takes_its_parameters_in_order():
    """The names, their order and their defaults are the promised ones."""
    assert str(inspect.signature(tellurio.init)).startswith("(namespace_slug: 'str', project_display_name: 'str', name")
    parameters = inspect.signature(tellurio.init).parameters.values()
    assert [(p.name, p.default) for p in parameters][2:] == [
        ("name", None),
        ("description", None),
        ("status", RunStatus.RUNNING),
        ("client", None),
    ]


def test_E4_the_project_is_found_by_its_slug_or_made(server):
    """Two spellings with one slug are one project, which keeps the name it was made with."""
    for display_name in ("My  Project!", "my project", "MY-PROJECT"):
        run = tellurio.init(SPACE, display_name)
        run.finish()
        assert (run.project.slug, run.project.display_name) == ("my-project", "My  Project!")
    assert len(server.runs("my-project")) == 3


def test_E4_E7_an_unknown_namespace_is_an_error(server):
    """Namespaces are not made, and nothing is left of the run."""
    with pytest.raises(RequestError, match="404"):
        tellurio.init("nobody", "p")


def test_E5_a_run_without_a_name_gets_a_readable_one(server):
    """Two words and a number."""
    first, second = tellurio.init(SPACE, "named"), tellurio.init(SPACE, "named")
    assert re.fullmatch(r"[a-z]+_[a-z]+_\d+", first.name)
    assert first.name != second.name
    second.finish()


def test_E6_a_name_that_exists_gets_a_number(server):
    """test_run, test_run_1, test_run_2; a name that only begins the same is no clash."""
    names = []
    for name in ("test_run_long", "test_run", "test_run", "test_run", "test"):
        run = tellurio.init(SPACE, "Unique Names", name=name)
        run.finish()
        names.append(of(server, run)["runName"])
    assert names == ["test_run_long", "test_run", "test_run_1", "test_run_2", "test"]


def test_E6_names_are_unique_without_a_server_too():
    """This machine knows the runs that wait on it."""
    names = []
    for _ in range(3):
        run = tellurio.init("me", "Alone", name="test_run")
        run.finish()
        names.append(run.name)
    tellurio._known_names.clear()  # as in another process, which finds them on disk
    run = tellurio.init("me", "Alone", name="test_run")
    assert [*names, run.name] == ["test_run", "test_run_1", "test_run_2", "test_run_3"]


def test_E7_init_raises_when_the_server_is_away(monkeypatch):
    """A configured server that does not answer is an error at init."""
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        tellurio.init(SPACE, "p", client=tellurio.TellurioClient("http://127.0.0.1:9", "rdk_x"))
    with pytest.raises(ValueError, match="no active run"):
        tellurio.get_active_run()


@pytest.mark.parametrize(
    ("status", "stored"),
    [
        (RunStatus.COMPLETED, "completed"),
        (RunStatus.CRASHED, "crashed"),
        (RunStatus.FAILED, "failed"),
        (None, "completed"),
    ],
)
def test_E8_finish_stores_the_status_once(server, status, stored):
    """The first finish counts and ends the activity of this run."""
    run = tellurio.init(SPACE, "ends")
    run.finish(status=status)
    run.finish(status=RunStatus.FAILED)
    assert of(server, run)["status"] == stored
    assert run.status.value == stored.upper()
    with pytest.raises(ValueError, match="no active run"):
        tellurio.get_active_run()


def test_E8_finish_raises_when_the_server_is_away(start_server, monkeypatch):
    """A server that went away does not confirm the end: that is an error, and the data is on disk."""
    server = start_server()
    run = tellurio.init(SPACE, "gone", client=tellurio.TellurioClient(server.url, server.key))
    server.stop()
    run.log("loss", 1.0)
    with pytest.raises(UnreachableError, match="rundial sync"):
        run.finish()
    assert run.run.diagnostics().balanced
    assert run.run.diagnostics().pending > 0


def test_E9_one_metric_at_a_time(server):
    """Steps of each metric count from 0 and on from explicit ones; a value may be anything JSON can hold."""
    run = tellurio.init(SPACE, "metrics")
    for value in (1.0, 0.5):
        run.log("loss", value)
        run.log("accuracy", value / 2)
    run.log("loss", 0.25, step=10)
    run.log("loss", 0.125)
    run.log(name="answer", value={"text": "yes", "scores": [1, 2], "none": None}, step=3, client=None)
    run.log("tags", ["a", "b"])
    run.log("word", "good")
    run.finish()
    assert server.points(run.uuid, "loss") == [(0, 1.0), (1, 0.5), (10, 0.25), (11, 0.125)]
    assert server.points(run.uuid, "accuracy") == [(0, 0.5), (1, 0.25)]
    summary = of(server, run)["summary"]
    assert json.loads(summary["answer"]) == {"text": "yes", "scores": [1, 2], "none": None}
    assert (json.loads(summary["tags"]), summary["word"]) == (["a", "b"], "good")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "COMPLETED"),
        (ValueError("bad luck"), "CRASHED"),
        (KeyboardInterrupt(), "CRASHED"),
        (SystemExit(0), "COMPLETED"),
    ],
)
def test_E10_a_block_completes_or_crashes(server, error, status):
    """Entering gives the run; leaving ends it as it went, and the exception goes on."""
    made = tellurio.init(SPACE, "blocks")
    try:
        with made as run:
            assert run is made
            if error is not None:
                raise error
    except BaseException as caught:  # noqa: BLE001 - KeyboardInterrupt is one of the cases
        assert caught is error
    stored = of(server, made)
    assert (made.status.value, stored["status"]) == (status, status.lower())
    assert ("bad luck" in str(stored["traceback"])) == isinstance(error, ValueError)


def test_E11_an_unfinished_run_fails_when_the_next_begins(server):
    """The older one ends as FAILED, the newer one is active; ending one leaves the other active."""
    old = tellurio.init(SPACE, "safeguard")
    new = tellurio.init(SPACE, "safeguard")
    assert (old.status, tellurio.get_active_run()) == (RunStatus.FAILED, new)
    old.finish()
    assert tellurio.get_active_run() is new
    new.finish()
    assert (of(server, old)["status"], of(server, new)["status"]) == ("failed", "completed")


@pytest.mark.parametrize(
    ("end", "status"),
    [("", "completed"), ("raise ValueError('bad luck')", "crashed"), ("sys.exit(0)", "completed")],
)
def test_E11_at_the_end_of_the_process(start_server, script, end, status):
    """A run nobody finished is completed, or crashed with its traceback when an exception ends the process."""
    server = start_server()
    process = script(
        f"""
        import sys
        from rundial.compat import tellurio
        run = tellurio.init("default-workspace", "Exits")
        run.log("loss", 0.5)
        {end}
        """
    )
    process.communicate(timeout=60)
    found = server.wait_for("exits", lambda row: row["status"] != "running")
    assert found["status"] == status
    if status == "crashed":
        assert "bad luck" in server.get(f"/api/v1/runs/{found['runId']}")["traceback"]


def test_E12_the_active_run(server):
    """The module's log goes to the run begun last; without one it is a ValueError; a block makes its run active."""
    run = tellurio.init(SPACE, "active")
    tellurio.log("loss", 0.5)
    with run:
        tellurio.log("loss", 0.25)
    with pytest.raises(ValueError, match="no active run"):
        tellurio.log("loss", 1.0)
    assert server.points(run.uuid, "loss") == [(0, 0.5), (1, 0.25)]


def test_E13_the_address_is_announced(start_server, script):
    """One line on standard error, when the run begins; our variables choose the server, its own are not read."""
    server = start_server()
    process = script(
        """
        import os, sys
        os.environ.pop("RUNDIAL_QUIET", None)
        os.environ["RUNDIAL_ENDPOINT"], os.environ["RUNDIAL_API_KEY"] = sys.argv[1:]
        os.environ["TELLURIO_BACKEND_HTTP_BASE_URL"] = "http://127.0.0.1:9"
        os.environ["TELLURIO_API_KEY"] = "not for us"
        from rundial.compat import tellurio
        with tellurio.init("default-workspace", "Announced", name="here") as run:
            print(run.run.url, run.uuid)
        """,
        server.url,
        server.key,
    )
    out, err = process.output(60)
    url, run_id = out.split()
    assert url == f"{server.url}/#/runs/{run_id}"
    assert f"rundial: here {url}" in err


def test_E14_what_its_routes_do_ours_do():
    """Each route that docs/compat.md names in place of one of Tellurio's is served."""
    text = (Path(__file__).parents[2] / "docs/compat.md").read_text()
    named = re.findall(r"^\| (?:GET|POST|PATCH) \w+ \| `(\w+) (/api/[^`]+)` \|$", text, re.MULTILINE)
    served = {(method, rule.route.path) for rule in RULES for method in rule.route.methods or ()}
    assert len(named) == 7
    assert [route for route in named if route not in served] == []
