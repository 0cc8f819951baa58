"""A training script logs through a proxy that misbehaves: nothing is lost, nothing comes twice, nothing is hurt.

Every *story* is a script in a process of its own with a proxy of its own before one real server. Many run side by side;
the tests look at what became of them. ``FAULT_SECONDS`` sets how long a fault lasts (default 6).
"""

import json
import math
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.flows.proxy import (
    HTML,
    Fault,
    Proxy,
    Seen,
    answering,
    at_date,
    black_hole,
    committing_then,
    envelope,
    half_open,
    in_seconds,
    limiting,
    passing,
    redirecting,
    refusing,
    rejecting,
    reset_in_answer,
    reset_in_request,
    slow,
    with_wrong_key,
)

SECONDS = float(os.environ.get("FAULT_SECONDS", "6"))
SIDE_BY_SIDE = 10
RATE = 300
WINDOW = 2
"""Seconds that a ``Retry-After`` asks for."""
CAUGHT_UP = 20.0
"""Generous: the goal is 10 seconds, and what it took is printed."""
PROBE_SECONDS = 60.0
"""A refused key is tried this often."""
SLACK = 1.5
"""Seconds a busy machine may add to what a call may take."""
pytestmark = pytest.mark.timeout(240 + 10 * SECONDS)

TRAINER = """
import json, os, select, sys, time, warnings
import msgspec
plan = json.loads(sys.argv[1])
warned = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, *rest: warned.append(str(message))
exec(plan["before"])
import rundial as rd

def empty(metrics):
    return True

calls = 0
longest = {"log": 0.0, "empty": 0.0}
over_a_millisecond = {"log": 0, "empty": 0}

def log(**metrics):
    global calls
    values = metrics or {"loss": calls / 7}
    for name, function in (("log", run.log), ("empty", empty)):
        begun = time.perf_counter()
        function(values)
        seconds = time.perf_counter() - begun
        longest[name] = max(longest[name], seconds)
        over_a_millisecond[name] += seconds > 1e-3
    calls += 1

def burst(count):
    for _ in range(count):
        log()
    return look()

def look():
    account = run.diagnostics()
    more = {"balanced": account.balanced, "calls": calls, "warned": warned}
    return msgspec.to_builtins(account) | more | {"longest": longest, "over_a_millisecond": over_a_millisecond}

def finish(seconds):
    global logging
    logging = False
    begun = time.monotonic()
    finished = run.finish(seconds)
    return {"finished": finished, "seconds": time.monotonic() - begun, "account": look()}

logging = True
following = begun = time.monotonic()
run = rd.init(**plan["options"])
print(json.dumps({"run_id": run.id, "init_seconds": time.monotonic() - begun}), flush=True)
while True:
    waits = max(0.0, following - time.monotonic()) if logging and plan["rate"] else None
    if select.select([sys.stdin], [], [], waits)[0]:
        line = sys.stdin.readline()
        if not line:
            break
        print(json.dumps(eval(line)), flush=True)
    else:
        log()
        following += 1 / plan["rate"]
"""


class Trainer(subprocess.Popen[bytes]):
    """A script that logs ``rate`` times a second and does what it is asked in between."""

    def __init__(
        self, folder: Path, rate: float, before: str, variables: dict[str, str], options: dict[str, Any]
    ) -> None:
        self.folder = folder
        (folder / "work").mkdir(parents=True, exist_ok=True)
        self._errors = (folder / "errors.txt").open("a")
        super().__init__(
            [sys.executable, "-c", TRAINER, json.dumps({"rate": rate, "before": before, "options": options})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=folder / "work",
            env=os.environ | {"RUNDIAL_HOME": str(folder / "home")} | variables,
        )
        began = self._answer()
        self.run_id: str = began["run_id"]
        self.init_seconds: float = began["init_seconds"]

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.kill()
        super().__exit__(None, None, None)
        self._errors.close()

    @property
    def said(self) -> str:
        """What it said on standard error."""
        return (self.folder / "errors.txt").read_text()

    def ask(self, expression: str) -> Any:
        """What a Python expression is in the script."""
        assert self.stdin is not None
        self.stdin.write(expression.encode() + b"\n")
        self.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.stdout is not None
        line = self.stdout.readline()
        assert line, f"the script ended: {self.said}"
        return json.loads(line)

    def leave(self) -> float:
        """Let it end; the seconds that took."""
        assert self.stdin is not None
        began = time.monotonic()
        self.stdin.close()
        assert self.wait(30) == 0, self.said
        return time.monotonic() - began

    def catch_up(self, patience: float) -> float:
        """Seconds until everything logged before now is acknowledged; infinite when that is beyond ``patience``."""
        began = time.monotonic()
        target = self.ask("look()")["logged"]
        while time.monotonic() - began < patience:
            if self.ask("look()")["acknowledged_sequence"] >= target:
                return time.monotonic() - began
            time.sleep(0.1)
        return math.inf


def start_trainer(
    server: Any,
    folder: Path,
    endpoint: str,
    rate: float = RATE,
    before: str = "",
    variables: dict[str, str] | None = None,
    **options: Any,
) -> Trainer:
    """A trainer that logs to ``endpoint`` with the server's key."""
    options = {"project": "delivery", "endpoint": endpoint, "api_key": server.key, "quiet": True, **options}
    return Trainer(folder, rate, before, variables or {}, options)


class Story(NamedTuple):
    """What happened to one script."""

    run_id: str
    init_seconds: float
    middle: dict[str, Any]
    """The account in the middle of the fault."""
    requests: list[Seen]
    """What reached the proxy during the fault."""
    retries: int
    """Deliveries that failed during the fault."""
    catch_up: float
    end: dict[str, Any]
    """What ``finish`` answered, how long it took, and the account after it."""
    leaving: float
    """Seconds from the end of the script to the end of its process."""
    said: str

    @property
    def account(self) -> dict[str, Any]:
        return self.end["account"]

    def note(self, name: str) -> None:
        """Print what was measured."""
        longest, over = self.account["longest"], self.account["over_a_millisecond"]
        print(
            f"{name}: caught up in {self.catch_up:.1f} s, {len(self.requests)} requests and {self.retries} failures in "
            f"the fault, init {self.init_seconds:.2f} s, finish {self.end['seconds']:.2f} s, {self.account['calls']} "
            f"calls; longest log() {longest['log'] * 1e3:.2f} ms, {over['log']} over 1 ms; "
            f"empty function {longest['empty'] * 1e3:.2f} ms, {over['empty']} over 1 ms"
        )


def live_through(server: Any, folder: Path, fault: Fault, patience: float = CAUGHT_UP) -> Story:
    """A run that begins well, meets a fault in the middle, and finishes after it."""
    with Proxy(server.port) as proxy, start_trainer(server, folder, proxy.url) as trainer:
        assert trainer.catch_up(CAUGHT_UP) < CAUGHT_UP
        proxy.switch(fault)
        time.sleep(SECONDS)
        middle = trainer.ask("look()")
        requests = list(proxy.seen[fault])
        proxy.switch(passing)
        catch_up = trainer.catch_up(patience)
        end = trainer.ask("finish(20)")
        leaving = trainer.leave()
        begun = trainer.run_id, trainer.init_seconds
        return Story(*begun, middle, requests, middle["retry_attempts"], catch_up, end, leaving, trainer.said)


def leave_within(server: Any, folder: Path, fault: Fault) -> Story:
    """A run that finishes in the middle of a fault; the next one sends what it left."""
    with Proxy(server.port) as proxy:
        with start_trainer(server, folder, proxy.url) as trainer:
            assert trainer.catch_up(CAUGHT_UP) < CAUGHT_UP
            proxy.switch(fault)
            time.sleep(SECONDS / 2)
            middle = trainer.ask("look()")
            requests = list(proxy.seen[fault])
            end = trainer.ask("finish(1)")
            leaving = trainer.leave()
            begun = trainer.run_id, trainer.init_seconds
        proxy.switch(passing)
        with start_trainer(server, folder, proxy.url, rate=1) as following:
            began = time.monotonic()
            while any((folder / "work/.rundial_spool").glob("*/*.seg")) and time.monotonic() - began < CAUGHT_UP:
                time.sleep(0.1)
            catch_up = time.monotonic() - began
            assert following.ask("finish(10)")["finished"]
            following.leave()
        return Story(*begun, middle, requests, middle["retry_attempts"], catch_up, end, leaving, trainer.said)


def begin_within(
    server: Any,
    folder: Path,
    fault: Fault = passing,
    tls: ssl.SSLContext | None = None,
    endpoint: str = "{url}",
    before: str = "",
    mend: str = "None",
    variables: Callable[[Proxy], dict[str, str]] = lambda proxy: {},
    mended_tls: ssl.SSLContext | None = None,
) -> Story:
    """A run that begins in a fault; the real server appears behind its endpoint later."""
    with Proxy(server.port, tls) as proxy:
        proxy.switch(fault)
        place = endpoint.format(url=proxy.url, port=proxy.port)
        with start_trainer(server, folder, place, RATE, before, variables(proxy)) as trainer:
            time.sleep(SECONDS / 3)
            middle = trainer.ask("look()")
            requests = list(proxy.seen[fault])
            trainer.ask(mend)
            proxy.tls = mended_tls
            proxy.switch(passing)
            catch_up = trainer.catch_up(CAUGHT_UP)
            end = trainer.ask("finish(20)")
            leaving = trainer.leave()
            begun = trainer.run_id, trainer.init_seconds
            return Story(*begun, middle, requests, middle["retry_attempts"], catch_up, end, leaving, trainer.said)


WINDOWED = {
    "429, Retry-After in seconds": answering(429, envelope("RATE_LIMITED"), in_seconds(WINDOW)),
    "503 of a proxy, Retry-After in seconds": answering(503, HTML, in_seconds(WINDOW)),
    "503, Retry-After as a date": answering(503, envelope("INTERNAL_ERROR"), at_date(WINDOW + 1)),
}
DENYING = {
    "401 of the server, key rotated": with_wrong_key,
    "403 of a proxy": answering(403, HTML),
}
REFUSING = {"400 to everything": answering(400, envelope("INVALID_REQUEST"))}
FAILING = {
    "refused": refusing,
    "500": answering(500, envelope("INTERNAL_ERROR")),
    "502 of a proxy": answering(502, HTML),
    "reset in the request": reset_in_request,
    "reset in the answer": reset_in_answer,
    "committed, then 500": committing_then(answering(500, envelope("INTERNAL_ERROR"))),
    "200 of a login page": answering(200, HTML),
    "200 of somebody else": answering(200, b'{"stream": "00000000000000000000000000000000", "next": 1000000}'),
    "404 of a proxy": answering(404, HTML),
}
SILENT = {
    "black hole": black_hole,
    "committed, then silence": committing_then(black_hole),
    "half-open": half_open,
}
SLOW = {"slow, 5 s": slow(5)}
FAULTS = WINDOWED | FAILING | SILENT | SLOW
LEAVING = {
    name: (FAULTS | DENYING)[name]
    for name in (
        "refused",
        "black hole",
        "committed, then 500",
        "committed, then silence",
        "200 of a login page",
        "401 of the server, key rotated",
        "429, Retry-After in seconds",
        "slow, 5 s",
    )
}
NAMES_BEFORE = """
import socket
look_up, hosts = socket.getaddrinfo, {}
socket.getaddrinfo = lambda host, *rest, **more: look_up(hosts.get(host, host), *rest, **more)
"""
BEGINNINGS = (
    "refused",
    "black hole",
    "500",
    "login page",
    "unknown name",
    "proxy refused",
    "TLS to a plain port",
    "TLS self-signed",
)


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A fresh self-signed certificate for 127.0.0.1, in ``folder/name.pem``."""
    pem = folder / f"{name}.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", pem, "-out", folder / "alone.pem"], check=True, capture_output=True)
    with pem.open("a") as file:
        file.write((folder / "alone.pem").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def beginnings(folder: Path) -> dict[str, dict[str, Any]]:
    """What is wrong at the start, as arguments of :func:`begin_within`."""
    trusted, stranger = certificate(folder, "trusted"), certificate(folder, "stranger")
    trust = {"REQUESTS_CA_BUNDLE": str(folder / "trusted.pem")}
    secure = {"variables": lambda proxy: trust, "mended_tls": trusted}
    by_proxy = {"variables": lambda proxy: {"http_proxy": proxy.url}}
    return {
        "refused": {"fault": refusing},
        "black hole": {"fault": black_hole},
        "500": {"fault": answering(500, envelope("INTERNAL_ERROR"))},
        "login page": {"fault": answering(200, HTML)},
        "unknown name": {
            "endpoint": "http://nowhere.invalid:{port}",
            "before": NAMES_BEFORE,
            "mend": "hosts.update({'nowhere.invalid': '127.0.0.1'})",
        },
        "proxy refused": {"fault": refusing, "endpoint": "http://nowhere.invalid", **by_proxy},
        "TLS to a plain port": {"endpoint": "https://127.0.0.1:{port}", **secure},
        "TLS self-signed": {"tls": stranger, **secure},
    }


Stories = Callable[[str, str], Story]


@pytest.fixture(scope="module")
def stories(lasting_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stories]:
    """``stories(kind, name)``: waits for one of all the stories, which run side by side from the first question on."""
    folder = tmp_path_factory.mktemp("stories")
    started: dict[tuple[str, str], Future[Story]] = {}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:

        def tell(kind: str, name: str, how: Callable[..., Story], *arguments: Any, **options: Any) -> None:
            place = folder / f"story-{len(started)}"
            started[kind, name] = pool.submit(how, lasting_server, place, *arguments, **options)

        for name, fault in (DENYING | REFUSING).items():
            tell("through", name, live_through, fault, PROBE_SECONDS + CAUGHT_UP)
        for name, fault in FAULTS.items():
            tell("through", name, live_through, fault)
        for name, fault in LEAVING.items():
            tell("leave", name, leave_within, fault)
        for name, options in beginnings(folder).items():
            tell("begin", name, begin_within, **options)
        yield lambda kind, name: started[kind, name].result()


def check_arrived(server: Any, run_id: str, calls: int) -> None:
    """Every point is there once, with its exact value, and every record was taken once."""
    assert server.points(run_id, "loss") == [(step, step / 7) for step in range(calls)]
    keys = {key["metricKey"]: key["count"] for key in server.get(f"/api/v1/metrics/keys?runId={run_id}")["keys"]}
    assert keys == {"loss": calls}
    run = server.get(f"/api/v1/runs/{run_id}")
    assert run["status"] == "completed"
    attempt = run["attempts"][0]
    # The start, the ledger and the end come with the calls.
    assert (attempt["received"], attempt["rejected"], attempt["dropped"]) == (calls + 3, {}, {})


def check_account(story: Story) -> None:
    """The account adds up to what the script counted itself, in the fault and at the end."""
    middle, end = story.middle, story.account
    assert middle["balanced"] and end["balanced"]
    assert (middle["logged"], middle["dropped"]) == (middle["calls"] + 1, {})
    assert middle["acknowledged"] == middle["acknowledged_sequence"]
    assert (end["logged"], end["dropped"]) == (end["calls"] + 3, {})
    assert end["acknowledged"] == end["acknowledged_sequence"]


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_and_nothing_comes_twice(lasting_server, stories, name):
    """Whatever the fault, the server has every point once when it is over."""
    story = stories("through", name)
    story.note(name)
    assert story.account["calls"] > RATE * SECONDS / 2
    check_arrived(lasting_server, story.run_id, story.account["calls"])


@pytest.mark.parametrize("name", FAULTS)
def test_the_backlog_is_gone_soon_after_the_fault(stories, name):
    """Nobody waits long for the curves once the server is well."""
    assert stories("through", name).catch_up < CAUGHT_UP


@pytest.mark.parametrize("name", FAULTS)
def test_the_account_adds_up_in_the_fault_and_after_it(stories, name):
    """What was logged is acknowledged, pending or dropped, and here nothing was dropped."""
    story = stories("through", name)
    check_account(story)
    assert story.middle["pending"] > 0
    assert story.account["pending"] == 0


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_said_once(stories, name):
    """One warning for the whole outage, whose every delivery fails; none for a server that is only slow."""
    story = stories("through", name)
    expected = 0 if name in SLOW else 1
    assert len(story.account["warned"]) == expected, story.account["warned"]
    assert story.said == ""


@pytest.mark.parametrize("name", FAILING | WINDOWED)
def test_an_unhealthy_delivery_is_called_degraded(stories, name):
    """Whoever looks in the middle of the fault is told, and why."""
    story = stories("through", name)
    assert story.middle["health"] == "degraded"
    assert story.middle["last_error"]
    assert story.account["health"] == "healthy"


@pytest.mark.parametrize("name", FAILING)
def test_a_failing_server_is_left_in_peace(stories, name):
    """Attempts back off: a handful in the first seconds, then one in a few seconds."""
    story = stories("through", name)
    assert 1 <= story.retries <= 8 + SECONDS / 2.5
    assert len(story.requests) <= story.retries + 1


@pytest.mark.parametrize("name", WINDOWED)
def test_retry_after_is_obeyed(stories, name):
    """At most one request in each window the server asked for."""
    times = [seen.at for seen in stories("through", name).requests]
    assert times
    # A date names a whole second, so a window of three seconds may be two and a bit.
    assert all(after - before >= WINDOW - 0.05 for before, after in pairwise(times))


@pytest.mark.parametrize("name", FAULTS)
def test_finish_is_true_once_all_is_acknowledged(stories, name):
    """After the fault the end of the run is delivered like everything else, and the process ends at once."""
    story = stories("through", name)
    assert story.end["finished"] is True
    assert story.leaving < SLACK


@pytest.mark.parametrize("name", LEAVING)
def test_finish_in_a_fault_returns_in_time_and_tells_the_truth(stories, name):
    """It answers within half a second of its timeout: not everything is acknowledged, and nothing is dropped."""
    story = stories("leave", name)
    assert story.end["seconds"] <= 1 + 0.5 + SLACK
    assert story.end["finished"] is (story.account["pending"] == 0)
    assert story.end["finished"] is False
    check_account(story)
    assert story.leaving < 1 + SLACK


@pytest.mark.parametrize("name", LEAVING)
def test_what_a_run_left_is_sent_by_the_next_one(lasting_server, stories, name):
    """The next process that logs to the same server from the same place brings it in, each record once."""
    story = stories("leave", name)
    story.note(f"left: {name}")
    check_arrived(lasting_server, story.run_id, story.account["calls"])


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_run_begins_without_its_server(lasting_server, stories, name):
    """init raises nothing and returns soon; everything arrives once the server is there."""
    story = stories("begin", name)
    story.note(f"begun: {name}")
    assert story.init_seconds < 3
    assert story.middle["acknowledged"] == 0
    check_account(story)
    assert story.end["finished"] is True
    assert story.catch_up < CAUGHT_UP
    check_arrived(lasting_server, story.run_id, story.account["calls"])
    assert len(story.account["warned"]) == 1, story.account["warned"]


@pytest.mark.parametrize(("name", "word"), [("TLS self-signed", "certificate"), ("unknown name", "nowhere.invalid")])
def test_the_warning_names_the_cause(stories, name, word):
    """A mistake in a certificate or a name is seen in the first line."""
    assert word in stories("begin", name).account["warned"][0]


def test_a_redirect_gets_neither_records_nor_key(lasting_server, tmp_path):
    """Another host is never asked, so no key arrives there; the records wait for the right one."""
    with Proxy(lasting_server.port) as elsewhere, Proxy(lasting_server.port) as proxy:
        with start_trainer(lasting_server, tmp_path, proxy.url) as trainer:
            assert trainer.catch_up(CAUGHT_UP) < CAUGHT_UP
            moved = redirecting(f"http://localhost:{elsewhere.port}")
            proxy.switch(moved)
            time.sleep(SECONDS / 2)
            assert trainer.ask("look()")["pending"] > 0
            proxy.switch(passing)
            end = trainer.ask("finish(20)")
        assert proxy.seen[moved]
        assert [seen for seen in elsewhere.seen[passing] if seen.authorized] == []
    assert end["finished"] is True
    assert "redirect" in end["account"]["warned"][0]
    check_arrived(lasting_server, trainer.run_id, end["account"]["calls"])


def test_a_record_that_gets_a_400_costs_itself_alone(lasting_server, tmp_path):
    """It is found among a thousand others, set aside where one can look at it, and counted."""
    with Proxy(lasting_server.port) as proxy, start_trainer(lasting_server, tmp_path, proxy.url, rate=0) as trainer:
        assert trainer.catch_up(CAUGHT_UP) < CAUGHT_UP
        fault = rejecting(b"poison")
        proxy.switch(fault)
        trainer.ask("burst(600)")
        trainer.ask("log(poison=1.0)")
        trainer.ask("burst(399)")
        end = trainer.ask("finish(20)")
        trainer.leave()
        requests = len(proxy.seen[fault])
    account = end["account"]
    assert end["finished"] is True
    assert account["balanced"]
    assert (account["logged"], account["acknowledged"], account["dropped"]) == (1003, 1002, {"rejected": 1})
    assert len(account["warned"]) == 1
    assert requests < 60
    points = lasting_server.points(trainer.run_id, "loss")
    assert points == [(step, step / 7) for step in range(1000) if step != 600]
    attempt = lasting_server.get(f"/api/v1/runs/{trainer.run_id}")["attempts"][0]
    assert (attempt["received"], attempt["dropped"]) == (1002, {"rejected": 1})
    kept = list((tmp_path / "work/.rundial_spool/rejected").iterdir())
    assert [b"poison" in path.read_bytes() for path in kept] == [True]


@pytest.mark.parametrize("body", [envelope("PAYLOAD_TOO_LARGE"), HTML], ids=["the server's", "a proxy's"])
def test_a_body_that_is_too_large_is_split(lasting_server, tmp_path, body):
    """A 413, also from a proxy with a limit of its own, makes the requests smaller and costs nothing."""
    with Proxy(lasting_server.port) as proxy, start_trainer(lasting_server, tmp_path, proxy.url, rate=0) as trainer:
        assert trainer.catch_up(CAUGHT_UP) < CAUGHT_UP
        proxy.switch(limiting(20_000, body))
        trainer.ask("burst(5000)")
        end = trainer.ask("finish(10)")
        trainer.leave()
    assert end["finished"] is True, end["account"]["last_error"]
    assert end["account"]["dropped"] == {}
    check_arrived(lasting_server, trainer.run_id, 5000)


@pytest.mark.parametrize("first_seen", ["before the outage", "after the outage"])
def test_an_outage_beyond_the_byte_bound_costs_the_oldest_records_and_says_how_many(
    lasting_server, tmp_path, first_seen
):
    """The spool keeps to its bound; what is missing is counted at both ends, and the newest points are all there."""
    with Proxy(lasting_server.port) as proxy:
        if first_seen == "after the outage":
            proxy.switch(refusing)
        with start_trainer(lasting_server, tmp_path, proxy.url, rate=0, spool_max_bytes=1 << 20) as trainer:
            if first_seen == "before the outage":
                assert trainer.catch_up(CAUGHT_UP) < CAUGHT_UP
                proxy.switch(refusing)
            for _ in range(10):
                middle = trainer.ask("burst(40_000)")
                assert middle["balanced"]
                time.sleep(0.3)
            proxy.switch(passing)
            began = time.monotonic()
            caught_up = trainer.catch_up(CAUGHT_UP)
            end = trainer.ask("finish(20)")
            trainer.leave()
    account = end["account"]
    sent = account["acknowledged"]
    print(f"drained {sent:,} records in {time.monotonic() - began:.2f} s, caught up in {caught_up:.2f} s")
    assert end["finished"] is True
    assert account["balanced"]
    assert account["logged"] == 400_003
    assert set(account["dropped"]) == {"spool_bytes"}
    points = lasting_server.points(trainer.run_id, "loss")
    steps = [step for step, _ in points]
    assert steps[-1] == 399_999
    assert len(set(steps)) == len(steps)
    assert all(value == step / 7 for step, value in points)
    attempt = lasting_server.get(f"/api/v1/runs/{trainer.run_id}")["attempts"][0]
    assert (attempt["received"], attempt["dropped"]) == (sent, account["dropped"])


def test_a_long_backlog_drains(lasting_server, tmp_path):
    """A hundred thousand records logged without a server are there soon after it."""
    with Proxy(lasting_server.port) as proxy:
        proxy.switch(refusing)
        with start_trainer(lasting_server, tmp_path, proxy.url, rate=0) as trainer:
            for _ in range(10):
                trainer.ask("burst(10_000)")
            proxy.switch(passing)
            caught_up = trainer.catch_up(CAUGHT_UP)
            end = trainer.ask("finish(20)")
            trainer.leave()
    print(f"100,000 records caught up in {caught_up:.2f} s")
    assert caught_up < CAUGHT_UP
    assert end["finished"] is True
    check_arrived(lasting_server, trainer.run_id, 100_000)


CLOCK_BEFORE = """
offset, now, now_ns = [0], time.time, time.time_ns
time.time = lambda: now() + offset[0]
time.time_ns = lambda: now_ns() + offset[0] * 1_000_000_000
"""


def test_a_clock_that_jumps_loses_and_evicts_nothing(lasting_server, tmp_path):
    """An hour or a day to either side, or back to 1970, while the server is away: the sequence decides."""
    with (
        Proxy(lasting_server.port) as proxy,
        start_trainer(lasting_server, tmp_path, proxy.url, before=CLOCK_BEFORE) as trainer,
    ):
        assert trainer.catch_up(CAUGHT_UP) < CAUGHT_UP
        proxy.switch(refusing)
        for seconds in (3600, -3600, 25 * 3600, -25 * 3600, -int(time.time()), 0):
            trainer.ask(f"offset.__setitem__(0, {seconds})")
            time.sleep(SECONDS / 6)
        middle = trainer.ask("look()")
        trainer.ask(f"offset.__setitem__(0, {25 * 3600})")
        proxy.switch(passing)
        caught_up = trainer.catch_up(CAUGHT_UP)
        end = trainer.ask("finish(20)")
        trainer.leave()
    assert middle["balanced"]
    assert caught_up < CAUGHT_UP
    assert end["finished"] is True
    check_arrived(lasting_server, trainer.run_id, end["account"]["calls"])


@pytest.mark.parametrize("name", DENYING)
def test_a_refused_key_holds_everything_and_is_tried_once_a_minute(lasting_server, stories, name):
    """One warning, hardly a request, nothing lost: when the key is right again, the run goes on as if nothing was."""
    story = stories("through", name)
    story.note(name)
    check_account(story)
    assert 1 <= len(story.requests) <= 1 + math.ceil(SECONDS / PROBE_SECONDS)
    assert story.middle["health"] == "degraded"
    assert len(story.account["warned"]) == 1
    assert "RUNDIAL_API_KEY" in story.account["warned"][0]
    assert story.catch_up < PROBE_SECONDS + CAUGHT_UP
    assert story.end["finished"] is True
    check_arrived(lasting_server, story.run_id, story.account["calls"])


@pytest.mark.parametrize("name", REFUSING)
def test_a_server_that_refuses_everything_costs_no_record(lasting_server, stories, name):
    """The search for one bad record ends when even a gap is refused; all is held and tried again each minute."""
    story = stories("through", name)
    story.note(name)
    check_account(story)
    assert 1 <= len(story.requests) <= 20 * (1 + math.ceil(SECONDS / PROBE_SECONDS))
    assert len(story.account["warned"]) == 1
    assert story.catch_up < PROBE_SECONDS + CAUGHT_UP
    assert story.end["finished"] is True
    check_arrived(lasting_server, story.run_id, story.account["calls"])
