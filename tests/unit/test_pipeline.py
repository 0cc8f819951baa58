"""The narrow waist: what goes into the stream, what does not, and who is told which key."""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest

import rundial as rd
from rundial.config import config_path, server_file
from rundial.events import Metrics, RunStart, RunUpdate
from rundial.pipeline import MAX_WAITING
from rundial.recovery import sync
from rundial.testing import MemoryTransport, capture_run

SECRET = "rdk_4f9c-not-to-be-found"


class Collector(ThreadingHTTPServer):
    """A server in this process that takes every record and notes which key came with it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taker)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.taken = MemoryTransport()
        self.keys: set[str | None] = set()


class Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.keys.add(self.headers["authorization"])
        reply = self.server.taken.deliver(self.headers["x-rundial-stream"], body).reply
        self.send_response(200)
        self.end_headers()
        self.wfile.write(msgspec.json.encode(reply))

    def log_message(self, *args: object) -> None:
        """Tests have an output of their own."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def left_on_disk(run):
    """The events that a run left in its spool directory, as a server would get them."""
    server = MemoryTransport()
    spool = Path(run.diagnostics().spool_directory)
    list(sync([spool], lambda meta: server, lambda meta: meta["run_id"] == run.id, frozenset()))
    return server.events


# -- keys -----------------------------------------------------------------------------------------------------------

ELSEWHERE = "https://elsewhere.example"
SOURCES = {
    "environment": (f"RUNDIAL_ENDPOINT={ELSEWHERE} RUNDIAL_API_KEY={SECRET}", ""),
    "config.toml": ("", f"endpoint = '{ELSEWHERE}'\napi_key = '{SECRET}'\n"),
    "profile": ("", f"[profiles.default]\nendpoint = '{ELSEWHERE}'\napi_key = '{SECRET}'\n"),
    "key in the environment, its server in config.toml": (f"RUNDIAL_API_KEY={SECRET}", f"endpoint = '{ELSEWHERE}'\n"),
}


def configure(monkeypatch, source):
    environment, file = SOURCES[source]
    for setting in environment.split():
        monkeypatch.setenv(*setting.split("=", 1))
    config_path().write_text(file)


@pytest.mark.parametrize("source", SOURCES)
def test_the_key_of_one_server_is_not_sent_to_another(monkeypatch, collector, source):
    """init(endpoint=...) names a server for which no key was set: it gets none, wherever another one's key stands."""
    configure(monkeypatch, source)
    run = rd.init(endpoint=collector.url, quiet=True)
    run.finish(5)
    assert collector.keys == {None}


def test_an_endpoint_in_the_environment_does_not_get_the_key_of_the_file(monkeypatch, collector):
    """RUNDIAL_ENDPOINT leads away from the server in config.toml, whose key stays behind."""
    configure(monkeypatch, "config.toml")
    monkeypatch.setenv("RUNDIAL_ENDPOINT", collector.url)
    rd.init(quiet=True).finish(5)
    assert collector.keys == {None}


def test_the_key_that_belongs_to_a_server_is_sent_to_it(monkeypatch, collector):
    """Given to init, or configured with the very same address."""
    monkeypatch.setenv("RUNDIAL_API_KEY", "rdk_configured")
    config_path().write_text(f"endpoint = '{collector.url}/'\n")
    rd.init(quiet=True).finish(5)
    rd.init(endpoint=collector.url, api_key="rdk_given", quiet=True).finish(5)
    assert collector.keys == {"Bearer rdk_configured", "Bearer rdk_given"}


def test_the_local_server_gets_the_key_it_announced(monkeypatch, collector):
    """And not the one that is configured for another server."""
    monkeypatch.setenv("RUNDIAL_API_KEY", SECRET)
    document = {"url": collector.url, "apiKey": "rdk_owner", "host": os.uname().nodename, "pid": os.getpid()}
    server_file().parent.mkdir(parents=True)
    server_file().write_text(json.dumps(document))
    run = rd.init(quiet=True)
    run.log({"loss": 0.5})
    assert run.finish(5)
    assert collector.keys == {"Bearer rdk_owner"}
    assert collector.taken.series("loss") == [0.5]


def test_no_key_lies_in_queue_or_spool(tmp_path):
    """Both outlive the process, and a spool may be copied to other machines."""
    with pytest.warns(RuntimeWarning, match="Training goes on"):
        run = rd.init(endpoint="http://127.0.0.1:9", api_key=SECRET, quiet=True)
    run.log({"loss": 0.5})
    ring = run._pipeline.queue.path.read_bytes()
    run.finish(0)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".seg" for path in files)
    assert run.id.encode() in ring
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET.encode() not in ring


# -- what goes into the stream ----------------------------------------------------------------------------------------


def test_a_stream_begins_with_its_run_however_large_the_configuration():
    """A configuration beyond the size of a record arrives in parts, behind the record that says whose it is."""
    config = {f"layer/{number}": "x" * 8000 for number in range(60)}
    run = rd.init(config=config, mode="offline", quiet=True)
    run.log({"loss": 0.5})
    run.finish()
    events = left_on_disk(run)
    known = {}
    for event in events:
        if isinstance(event, (RunStart, RunUpdate)):
            known |= event.config or {}
    assert isinstance(events[0], RunStart)
    assert known == config


def test_whatever_init_was_told_the_first_record_can_be_read():
    """A group or job type that is a number, as sweeps like to have them, is a text for the server."""
    run = rd.init(mode="offline", quiet=True, name=7, group=5, job_type=3, tags=[1, None], run_id=12)
    run.finish()
    start = left_on_disk(run)[0]
    assert (start.run_id, start.name, start.group, start.job_type, start.tags) == ("12", "7", "5", "3", ["1", "None"])


def test_everything_a_call_says_is_in_its_record():
    """Step, time, stage and context go along; a keyword wins over the mapping; log_metric is a call with one name."""
    with capture_run() as (run, server):
        run.log({"loss": 1.0, "acc": 0.5}, step=3, time_ms=5, context={"fold": 2}, stage="epoch_1", loss=0.25)
        run.log_metric("eval/loss", 0.5, step=4, time_ms=6, context={"fold": "3"})
        run.finish(5)
    assert [event for event in server.events if isinstance(event, Metrics)] == [
        Metrics(5_000_000, 3, {"loss": 0.25, "acc": 0.5}, "epoch_1", {"fold": "2"}),
        Metrics(6_000_000, 4, {"eval/loss": 0.5}, None, {"fold": "3"}),
    ]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda run: run.finish(5), "completed"),
        (lambda run: run.finish(5, status="aborted"), "aborted"),
        (lambda run: run.close(5), "completed"),
        (lambda run: run.complete("good enough", 5), "completed"),
        (lambda run: run.fail("diverged", 5), "failed"),
        (lambda run: run.abort("no time", 5), "aborted"),
    ],
)
def test_every_way_to_end_has_its_status(end, status):
    """True once the server has everything, the end included."""
    with capture_run() as (run, server):
        run.log({"loss": 0.5})
        assert run.flush(5)
        assert server.series("loss") == [0.5]
        assert end(run) is True
    assert (run.status, server.events[-1].status) == (status, status)


@pytest.mark.parametrize("kind", ["training", "agent", "eval"])
def test_the_kind_is_in_the_first_record(kind):
    """The server learns it with the run."""
    run = rd.init(kind=kind, mode="offline", quiet=True)
    run.finish()
    assert left_on_disk(run)[0].kind == run.kind == kind


def test_a_record_that_is_too_large_is_counted():
    """It gets no place in the stream; what follows it does."""
    with pytest.warns(RuntimeWarning, match="262,144 is the most"), capture_run() as (run, server):
        run.summary({f"k{number}": "x" * 8000 for number in range(60)})
        run.log({"loss": 0.5})
        assert run.finish(5)
    account = run.diagnostics()
    assert (account.dropped, account.balanced) == ({"too_large": 1}, True)
    assert server.series("loss") == [0.5]


def test_calls_that_wait_for_a_device_have_a_bound():
    """A device that does not answer costs a bounded number of calls in memory; the others are counted."""
    with pytest.warns(RuntimeWarning, match="wait for values"), capture_run(mode="offline") as (run, _):
        pipeline = run._pipeline
        with pipeline._resolving:  # as the worker holds it while it reads from the device
            taken = [pipeline.defer(lambda: run.log({"loss": 0.5})) for _ in range(MAX_WAITING + 10)]
            account = run.diagnostics()
            assert taken.count(True) == MAX_WAITING
            assert (account.dropped, account.balanced) == ({"device_busy": 10}, True)
        assert run.flush(5)
        assert run.diagnostics().logged == 1 + MAX_WAITING + 10


# -- modes ------------------------------------------------------------------------------------------------------------


def test_offline_writes_to_the_spool_and_asks_nobody(collector):
    """Even with a server that would answer; the whole run lies on the disk, and can be sent from there."""
    run = rd.init(endpoint=collector.url, mode="offline", quiet=True)
    run.log({"loss": 0.5}, step=3)
    assert run.flush(5)
    assert run.diagnostics().health == "buffering"
    assert run.finish(5) is False
    assert collector.taken.deliveries == 0
    events = left_on_disk(run)
    assert [(event.step, event.values) for event in events if isinstance(event, Metrics)] == [(3, {"loss": 0.5})]
    assert left_on_disk(run) == []


def test_online_delivers_and_leaves_no_trace(collector, tmp_path):
    """A run whose server is there needs no spool."""
    with rd.init(endpoint=collector.url, api_key="rdk_x", quiet=True) as run:
        run.log({"loss": 0.5})
    assert collector.taken.series("loss") == [0.5]
    account = run.diagnostics()
    assert (account.acknowledged, account.pending, account.health) == (account.logged, 0, "healthy")
    assert list((tmp_path / "work").iterdir()) == []


def test_the_health_tells_what_is_wrong(collector):
    """In words: healthy, degraded once something was dropped."""
    with rd.init(endpoint=collector.url, quiet=True) as run:
        run.flush(5)
        assert run.diagnostics().health == "healthy"
        with pytest.warns(RuntimeWarning):
            run.summary({f"k{number}": "x" * 8000 for number in range(60)})
        assert run.diagnostics().health == "degraded"


def test_a_working_directory_that_is_gone_stops_no_training(tmp_path, monkeypatch):
    """Somebody removed it while the job waited in a queue; the spool has its place in the home then."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    run = rd.init(mode="offline", quiet=True)
    assert run.log({"loss": 0.5})
    run.finish()
    assert run.diagnostics().pending > 0
