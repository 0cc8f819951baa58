"""The SDK against servers in the field, which have no route for records: what a run logs arrives as JSON, once."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import rundial as rd
from rundial import protocols
from rundial.errors import AuthError, RequestError
from tests.flows.proxy import HTML, Answer, Proxy, envelope, passing
from tests.server.older_server import KEY, OlderServer

COUNT = 5000
EVERYTHING = [(step, step / 7) for step in range(COUNT)]
TRAINER = """
    import os, signal, sys, time
    import rundial as rd
    url, key, name, how = sys.argv[1:5]
    run = rd.init(project="p", endpoint=url, api_key=key, run_id=name, quiet=True, init_timeout=3)
    print("begun", flush=True)
    for step in range(5000):
        run.log({"loss": step / 7})
        if step % 100 == 0:
            run.log_text(f"step {step}")
            time.sleep(0.02)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    finished = run.finish(30)
    account = run.diagnostics()
    print(finished, account.balanced, account.logged == account.acknowledged, account.dropped, flush=True)
"""
TEXTS = [f"step {step}" for step in range(0, COUNT, 100)]


class OlderProcess:
    """The older server in a process of its own, which can be killed."""

    def __init__(self, folder, port=0):
        command = [sys.executable, "-m", "tests.server.older_server", str(folder), str(port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = self.process.stdout.readline().decode().strip()
        self.port = int(self.url.rsplit(":", 1)[1])

    def dump(self):
        with urllib.request.urlopen(f"{self.url}/dump", timeout=20) as answer:
            return json.load(answer)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def processes(tmp_path):
    """Starts older servers of one folder, each in the place of the one before."""
    started = []

    def begin(port=0):
        started.append(OlderProcess(tmp_path / "older", port))
        return started[-1]

    yield begin
    for server in started:
        server.kill()


@pytest.fixture
def older(tmp_path):
    with OlderServer(tmp_path / "older") as server:
        yield server


@pytest.fixture(autouse=True)
def unknown_endpoints(monkeypatch):
    """Ports are used again; what was found out about one server is not true of the next."""
    monkeypatch.setattr(protocols, "_found", {})


def start(url, **options):
    return rd.init(**{"project": "p", "endpoint": url, "api_key": KEY, "quiet": True, **options})


def check_account(run, **dropped):
    account = run.diagnostics()
    assert account.balanced
    assert account.pending == 0
    assert account.dropped == dropped
    return account


def series_of(dump, key="loss"):
    return sorted((point["step"], point["value"]) for point in dump["points"] if point["metricKey"] == key)


def messages_of(dump):
    return [line["message"] for line in sorted(dump["lines"], key=lambda line: line["sequence"])]


def sync():
    command = [sys.executable, "-m", "rundial", "sync"]
    variables = os.environ | {"RUNDIAL_API_KEY": KEY}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables)


def test_all_that_a_run_logs_is_read_back_equal(older):
    """Points, lines, spans, config, summary, an artifact in parts and media: each where the wire has a place for it."""
    older.files_for_ended_runs = False
    Path("model.bin").write_bytes(os.urandom(300_000))
    run = start(older.url, name="whole", config={"lr": 0.1, "model": {"depth": 4, "widths": [8, 8]}}, tags=["a", "b"])
    for step in range(COUNT):
        run.log({"loss": step / 7, "flag": step % 2 == 0})
    run.log_text("hello", level="warn")
    run.alert("it is hot")
    with run.trace("work", kind="tool", attrs={"n": 1}):
        pass
    run.summary["best"] = 3
    run.checkpoint("model.bin", step=7)
    run.log({"picture": rd.Image(np.zeros((8, 8, 3), dtype="uint8"), caption="black")}, step=7)
    assert run.finish(30)
    check_account(run)
    assert older.series(run.id, "loss") == EVERYTHING
    assert older.series(run.id, "flag") == [(step, int(step % 2 == 0)) for step in range(COUNT)]
    assert older.rows == 2 * COUNT  # not one came twice
    told = older.runs[run.id]
    assert (told["runName"], told["status"], told["tags"]) == ("whole", "completed", ["a", "b"])
    assert told["config"] == {"lr": 0.1, "model.depth": 4, "model.widths": "[8,8]", "rundial.summary.best": 3}
    hello, *markers = older.messages(run.id)
    assert hello == "hello"
    assert [text for text in markers if text.startswith("alert ") and "it is hot" in text]
    [span] = older.spans.values()
    assert (span["name"], span["kind"], json.loads(span["attrsJson"])) == ("work", "tool", {"n": 1})
    made = {artifact["name"]: artifact for artifact in older.artifacts}
    assert made["checkpoint"]["metadata"]["step"] == 7
    assert made["checkpoint"]["aliases"] == ["latest"]
    [media] = older.media
    assert (media["mediaKey"], media["step"], media["caption"], media["width"]) == ("picture", 7, "black", 8)
    assert media["artifactId"] == made["media-picture"]["artifactId"]
    assert (run.diagnostics().artifacts_uploaded, run.diagnostics().media_uploaded) == (1, 1)


def test_an_artifact_comes_back(older):
    """A run uses what another one made: found by name, and the same bytes."""
    content = os.urandom(300_000)
    Path("model.bin").write_bytes(content)
    maker = start(older.url)
    maker.log_artifact("model.bin", name="model")
    assert maker.finish(20)
    user = start(older.url)
    used = user.use_artifact("model:latest")
    folder = used.download("there")
    assert user.finish(20)
    assert (Path(folder) / "model.bin").read_bytes() == content


def test_results_of_an_evaluation_arrive(older):
    """A suite, its run and each score; what the wire wants and nobody said is marked as such."""
    suite = rd.eval.suite("squad", dataset="squad:v2", scorers=["exact"], project="p", endpoint=older.url, api_key=KEY)
    with suite.run() as evaluated:
        evaluated.log_result("one", scores={"exact": 1.0}, passed=True)
        evaluated.log_result("two", scores={"exact": 0.5})
    rows = {row["exampleId"]: row for row in older.results.values()}
    assert {name: (row["score"], row["passed"]) for name, row in rows.items()} == {
        "one": (1.0, True),
        "two": (0.5, False),
    }
    assert rows["two"]["meta"]["rundial.verdict"] == "none"
    assert [entry["name"] for entry in older.suites.values()] == ["squad"]
    assert [entry["runId"] for entry in older.evals.values()] == [evaluated.run.id]
    check_account(evaluated.run)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_the_wire_has_no_place_for_is_counted(older):
    """A dial is a record that is dropped for a reason; of a call with a text only the text is missing."""
    run = start(older.url)
    run.dial("lr", get=lambda: 0.1, set=lambda value: None, min=0, max=1)
    run.log({"loss": 1.0, "note": "fine"})
    run.log({"note": "alone"})
    run.log({"loss": 1.0}, step=-1)
    run.log({"loss": 2.0}, step=5)
    assert run.finish(20)
    account = check_account(run, unsupported=3)
    assert account.invalid_values == 1
    assert older.series(run.id, "loss") == [(0, 1.0), (5, 2.0)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_server_that_is_killed_in_the_middle(processes, script):
    """SIGKILL of the server while it takes points, a second without it, a restart: all is there, and finish is True."""
    server = processes()
    trainer = script(TRAINER, server.url, KEY, "through", "finishes")
    assert trainer.stdout.readline() == b"begun\n"
    while len(server.dump()["points"]) < 500:
        time.sleep(0.02)
    server.kill()
    time.sleep(1)
    server = processes(server.port)
    out, _ = trainer.output()
    dump = server.dump()
    assert out.strip() == "True True True {}"
    assert series_of(dump) == EVERYTHING
    assert messages_of(dump) == TEXTS
    assert dump["runs"]["through"]["status"] == "completed"


def test_a_killed_trainer_is_sent_by_sync(older, script):
    """SIGKILL with half of it at the server: sync brings the rest under the same id, and the run has failed."""
    seen = Counter()

    def away_after_some(method, path, body):
        seen[path] += 1
        return (503, {}, {}) if seen["/api/v1/ingest/metrics"] > 3 else None

    older.fault = away_after_some
    assert script(TRAINER, older.url, KEY, "given", "killed").wait(60) == -signal.SIGKILL
    before = len(older.points)
    older.fault = lambda method, path, body: None
    done = sync()
    assert done.returncode == 0, done.stderr
    assert 0 < before < COUNT
    assert older.series("given", "loss") == EVERYTHING
    assert older.messages("given") == TEXTS
    assert older.rows == COUNT  # what was there before was not sent again
    assert older.runs["given"]["status"] == "failed"
    assert sync().stdout == "Nothing is waiting to be sent.\n"


def verify(url, run_id, *options):
    command = [sys.executable, "-m", "rundial", "verify", run_id, "--endpoint", url, *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | {"RUNDIAL_API_KEY": KEY}
    )


def test_verify_compares_what_such_a_server_has_acknowledged(older):
    """It which keeps no account: the client's is held against what was acknowledged, and the answer says so."""
    run = start(older.url)
    for step in range(1000):
        run.log({"loss": step})
    run.log({"loss": 0.5}, step=-1)  # the wire has no place for it
    assert run.finish(30)
    shown, told = verify(older.url, run.id), verify(older.url, run.id, "--json")
    assert shown.returncode == told.returncode == 0, shown.stderr
    assert "which keeps no account" in shown.stdout and "whole" in shown.stdout
    assert shown.stdout.splitlines()[0].split()[:4] == ["attempt", "process", "logged", "acknowledged"]
    document = json.loads(told.stdout)
    assert (document["receivedBy"], document["missing"]) == ("client", 0)
    (attempt,) = document["attempts"]
    # The ledger and the end come on top of what was logged.
    assert attempt["received"] + attempt["rejected"] == attempt["logged"] + 2 >= 1003
    assert attempt["rejected"] == run.diagnostics().dropped["unsupported"] == 1


def test_verify_knows_what_such_a_server_has_not_acknowledged(older, script):
    """What waits here counts as such; of a run that this machine never sent, it says what is to be done."""
    older.fault = lambda method, path, body: (503, {}, {}) if path.endswith("ingest/metrics") else None
    assert script(TRAINER, older.url, KEY, "held", "killed").wait(60) == -signal.SIGKILL
    older.fault = lambda method, path, body: None
    before = verify(older.url, "held")
    assert sync().returncode == 0
    after, unknown = verify(older.url, "held"), verify(older.url, "run_gone")
    assert (before.returncode, after.returncode, unknown.returncode) == (0, 0, 1), before.stdout + before.stderr
    assert "rundial sync" in before.stdout
    assert "whole up to its end" in after.stdout
    assert "which keeps no account" in unknown.stderr and "machine that logged it" in unknown.stderr
    assert unknown.stderr.count("\n") == 1


def test_a_run_that_is_gone_on_with_is_not_ended_by_what_came_before(older, script):
    """What a killed process left arrives while its successor trains: that one's steps follow on, its end counts."""
    assert script(TRAINER, older.url, KEY, "resumed", "killed").wait(60) == -signal.SIGKILL
    run = start(older.url, run_id="resumed", resume="allow")
    deadline = time.monotonic() + 20
    while len(older.series("resumed", "loss")) < COUNT:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.log({"later": 1.0})
    time.sleep(0.3)
    assert older.runs["resumed"]["status"] == "running"
    assert run.finish(20)
    assert older.series("resumed", "loss") == EVERYTHING
    [(step, _)] = older.series("resumed", "later")
    assert step > 0
    assert older.runs["resumed"]["status"] == "completed"


class Faults:
    """The first requests to a route go wrong, each in its way."""

    def __init__(self, *answers, route="/api/v1/ingest/metrics"):
        self.left = list(answers)
        self.route = route
        self.at = []

    def __call__(self, method, path, body):
        if path != self.route:
            return None
        self.at.append(time.monotonic())
        return self.left.pop(0) if self.left else None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_server_in_trouble_is_asked_again(older):
    """429 with Retry-After, 500, 503 from a proxy, a page: everything arrives, and Retry-After is obeyed."""
    busy = json.loads(envelope("RATE_LIMITED"))
    older.fault = faults = Faults(
        (429, busy, {"retry-after": "1"}),
        (500, json.loads(envelope("INTERNAL_ERROR")), {}),
        (503, HTML, {}),
        (200, HTML, {}),
    )
    run = start(older.url)
    for step in range(COUNT):
        run.log({"loss": step / 7})
    assert run.finish(30)
    check_account(run)
    assert faults.at[1] - faults.at[0] >= 1
    assert older.series(run.id, "loss") == EVERYTHING
    assert older.rows == COUNT


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_body_that_is_too_large_goes_in_parts(older):
    """A proxy's limit in bytes: smaller requests pass, and the next ones are small at once."""
    refusals = []

    def limit(method, path, body):
        if path.endswith("/metrics") and len(body) > 20_000:
            refusals.append(len(body))
            return 413, HTML, {}
        return None

    older.fault = limit
    run = start(older.url, gzip_enabled=False)
    for step in range(COUNT):
        run.log({"loss": step / 7})
    assert run.finish(30)
    check_account(run)
    assert older.series(run.id, "loss") == EVERYTHING
    assert older.rows == COUNT
    assert len(refusals) < 20


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_bad_costs_only_itself(older):
    """Whether the server says how many it took or refuses the whole request: the good points are there."""

    def refuse(method, path, body):
        return (400, json.loads(envelope("INVALID_REQUEST")), {}) if b'"poison"' in body else None

    older.fault = refuse
    run = start(older.url)
    for step in range(1000):
        run.log({"loss": step / 7})
    run.log({"poison": 1.0}, step=3)
    run.log({"loss": 1000 / 7, "poison": 1.0}, step=1000)
    assert run.flush(20)
    run.log({"loss": 1001 / 7}, step=1001)
    run.log({"bad": 1.0}, step=1001)
    assert run.finish(30)
    account = check_account(run, rejected=2)
    assert account.invalid_values == 1
    assert older.series(run.id, "loss") == EVERYTHING[:1002]


@pytest.mark.parametrize("status", [200, 404, 405])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_page_of_a_guest_network_decides_nothing(older, status):
    """HTML for everything: no request of the JSON wire goes out, all is held, and arrives when the network is there."""
    older.fault = lambda method, path, body: (status, HTML, {})
    run = start(older.url, init_timeout=1)
    for step in range(100):
        run.log({"loss": step / 7})
    run.flush(0.5)
    asked = {call.rpartition("/")[2] for call in older.calls}
    assert asked <= {"records", "capabilities", "resolve-target"}
    assert older.url not in protocols._found
    assert run.diagnostics().acknowledged == 0
    older.fault = lambda method, path, body: None
    assert run.finish(20)
    check_account(run)
    assert older.series(run.id, "loss") == EVERYTHING[:100]


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_gateway_that_refuses_everything_decides_nothing(older, status, monkeypatch):
    """The API's own error for each and every route is no sign of an older server; once it is one, it is found out."""
    monkeypatch.setattr("rundial.transport.DENIED_DELAY_SECONDS", 0.2)
    older.fault = lambda method, path, body: (status, json.loads(envelope("NOT_FOUND")), {})
    run = start(older.url, run_id="waiting", mode="offline")
    run.log({"loss": 1.0})
    run.finish()
    assert sync().returncode == 1
    assert "POST /api/v1/runs/start" not in older.calls
    older.fault = lambda method, path, body: (404, {}, {}) if path.endswith("/capabilities") else None
    assert sync().returncode == 0
    assert older.series("waiting", "loss") == [(0, 1.0)]


def test_init_says_what_the_server_refuses(older):
    """An id that exists, a project that does not, a wrong key: one error that says so."""
    run = start(older.url, run_id="taken")
    assert run.finish(20)
    with pytest.raises(RequestError, match="run taken exists"):
        start(older.url, run_id="taken")
    with pytest.raises(RequestError, match="no run nowhere"):
        start(older.url, run_id="nowhere", resume="must")
    with pytest.raises(AuthError):
        start(older.url, api_key="rdk_wrong")
    again = start(older.url, run_id="taken", resume="must")
    assert again.finish(20, status="failed")
    assert older.runs["taken"]["status"] == "failed"


def test_an_answer_that_was_lost_makes_no_second_run(older):
    """The server starts the run and nobody hears of it: the second try finds its own run, and goes on."""
    lost = []

    def lose_first(method, path, body):
        if path == "/api/v1/runs/start" and not lost:
            lost.append(older.answer(method, path, json.loads(body), {}))
            return 502, HTML, {}
        return None

    older.fault = lose_first
    run = start(older.url, run_id="mine", init_timeout=10)
    run.log({"loss": 1.0})
    assert run.finish(20)
    assert lost
    assert older.series("mine", "loss") == [(0, 1.0)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_refused_key_and_a_lost_run_hold_everything(older, monkeypatch):
    """The key is revoked for a while, then the server comes back without the run: nothing that followed is missing."""
    monkeypatch.setattr("rundial.transport.DENIED_DELAY_SECONDS", 0.2)
    run = start(older.url)
    run.log({"loss": 0.0})
    assert run.flush(20)
    older.fault = lambda method, path, body: (401, json.loads(envelope("UNAUTHORIZED")), {})
    run.log({"loss": 1 / 7})
    assert not run.flush(0.5)
    assert run.diagnostics().health == "degraded"
    older.runs.clear()
    older.points.clear()
    older.fault = lambda method, path, body: None
    run.log({"loss": 2 / 7})
    assert run.finish(20)
    check_account(run)
    assert older.series(run.id, "loss") == EVERYTHING[1:3]
    assert older.runs[run.id]["status"] == "completed"


def test_further_ranks_add_to_the_run_and_do_not_end_it(older):
    """Rank 1 logs into the run of rank 0 and leaves first: the run goes on, and lines of both are there."""
    leader = start(older.url, run_id="ranks")
    follower = start(older.url, run_id="ranks", distributed="all", distributed_rank=1)
    for number, run in enumerate((leader, follower)):
        run.log({f"loss/{number}": 1.0})
        run.log_text("the same words")
    assert follower.finish(20)
    assert older.runs["ranks"]["status"] == "running"
    assert leader.finish(20)
    assert older.runs["ranks"]["status"] == "completed"
    assert (older.series("ranks", "loss/0"), older.series("ranks", "loss/1")) == ([(0, 1.0)], [(0, 1.0)])
    assert older.messages("ranks") == ["the same words"] * 2


def test_an_upload_goes_on_where_it_stopped(older, script):
    """SIGKILL between two parts: sync sends the others, and the file is whole."""
    Path("model.bin").write_bytes(os.urandom(1_000_000))
    code = """
        import os, signal, sys
        import rundial as rd
        from rundial.json_uploads import _OlderUpload
        run = rd.init(project="p", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
        write, notes = _OlderUpload._write, []
        def note(self, what):
            write(self, what)
            notes.append(what)
            if len(notes) == 4:
                os.kill(os.getpid(), signal.SIGKILL)
        _OlderUpload._write = note
        run.log_artifact("model.bin")
        run.finish(20)
    """
    assert script(code, older.url, KEY).wait(60) == -signal.SIGKILL
    assert not older.artifacts
    done = sync()
    assert done.returncode == 0, done.stderr
    assert older.calls.count("POST /api/v1/artifacts/initiate") == 1
    assert [(made["name"], made["version"]) for made in older.artifacts] == [("model.bin", 1)]


def without_records(exchange):
    """Our own server as it would be without its route for records."""
    if exchange._target.endswith("/ingest/records"):
        exchange.reply(Answer(404, {"content-type": "application/json"}, envelope("NOT_FOUND")))
    elif exchange._target.endswith("/cli/capabilities"):
        exchange.reply(Answer(200, {"content-type": "application/json"}, b'{"version": "0.9.0"}'))
    else:
        passing(exchange)


def test_a_server_that_learns_records_gets_them(lasting_server, monkeypatch):
    """It is replaced by a newer one while a run logs: that run ends as it began, the next one comes as records."""
    with Proxy(lasting_server.port) as proxy:
        proxy.switch(without_records)
        options = {"project": "default-project", "api_key": lasting_server.key}
        first = start(proxy.url, **options)
        for step in range(2000):
            first.log({"loss": step / 7})
        first.log_text("before")
        assert first.flush(20)
        proxy.switch(passing)
        monkeypatch.setattr(protocols, "RECHECK_SECONDS", 0.0)
        second = start(proxy.url, **options)
        for step in range(2000, COUNT):
            first.log({"loss": step / 7})
        first.log_text("after")
        second.log({"loss": 1.0})
        assert first.finish(20)
        assert second.finish(20)
    check_account(first)
    check_account(second)
    assert protocols._found[proxy.url].has_records
    assert lasting_server.points(first.id, "loss") == EVERYTHING
    assert lasting_server.points(second.id, "loss") == [(0, 1.0)]
    for run, points in ((first, COUNT), (second, 1)):
        found = lasting_server.get(f"/api/v1/workspaces/default-workspace/projects/default-project/runs/{run.id}")
        assert (found["status"], found["points"]) == ("completed", points)
    asked = {"runId": first.id, "order": "asc"}
    rows = lasting_server._session.post(f"{lasting_server.url}/api/v1/query/logs", json=asked, timeout=20).json()[
        "rows"
    ]
    assert [row["message"] for row in rows] == ["before", "after"]
