"""Several servers on one PostgreSQL database: what one takes in is everybody's, once, whoever else is killed."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from rundial.events import Dial, Marker, Metrics
from rundial.server.store import Store
from rundial.server.store.blobs import Blobs
from rundial.server.store.changes import Change
from rundial.server.store.compactor import compact
from rundial.server.store.engine import Db, Engine, StoreError
from rundial.server.store.notices import MESSAGE_BYTES, Notices, _parts
from rundial.server.store.refusal import Refusal
from tests.server.conftest import RunningServer, Sender
from tests.server.postgres import Cluster
from tests.server.streams import Stream
from tests.server.test_stream import until, watching
from tests.server.uploader import download, finalize, initiate, put_missing

pytestmark = pytest.mark.postgres
COMMAND = [sys.executable, "-m", "rundial", "server", "--port", "0"]


@contextmanager
def running(data: Path, url: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], RunningServer]]:
    """``rundial server`` on a database, as a person starts it."""
    command = [*COMMAND, "--data", str(data), "--database", url, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip().rpartition(" ")[2]
        key = (data / "owner.key").read_text().strip()
        yield process, RunningServer(address, key, None)  # type: ignore[arg-type]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder and a database for the servers of this file."""
    return tmp_path_factory.mktemp("shared"), cluster.database()


@pytest.fixture(scope="module")
def pair(place: tuple[Path, str]) -> Iterator[tuple[RunningServer, RunningServer]]:
    """Two servers, each a process."""
    with ExitStack() as stack:
        first = stack.enter_context(running(*place))[1]
        yield first, stack.enter_context(running(*place))[1]


def series(server: RunningServer, run_id: str, key: str = "loss") -> list[tuple[int, float]]:
    body = {"runId": run_id, "metricKeys": [key]}
    (found,) = server.post("/api/v1/query/series", json=body).json()["series"]
    return [(point["step"], point["value"]) for point in found["points"]]


def eventually(check: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_what_one_takes_in_the_other_gives_out(pair: tuple[RunningServer, RunningServer]) -> None:
    """At once, live and when asked; a stream may change servers in the middle."""
    first, second = pair
    sender = Sender(first, "run_shared")
    sender.start()
    with watching(second, "runId=run_shared") as events:
        next(events)
        sender.log(0, loss=1.0)
        assert until(events, "points")[2]["keys"]["loss"][0][::2] == [0, 1.0]
        sender.server = second
        assert sender.log(1, loss=0.5).json()["accepted"] == 1
        assert until(events, "points")[2]["keys"]["loss"][0][::2] == [1, 0.5]
        sender.send(Marker(1, "alert", "too hot", 1, {"value": 3}))
        assert until(events, "marker")[2]["marker"]["name"] == "too hot"
        assert until(events, "run")[2]["lastStep"] == 1
    assert series(first, "run_shared") == series(second, "run_shared") == [(0, 1.0), (1, 0.5)]


def test_more_points_than_a_message_holds_are_hinted_at(pair: tuple[RunningServer, RunningServer]) -> None:
    """The other server's pages learn which keys have more, and read them."""
    first, second = pair
    sender = Sender(first, "run_wide")
    sender.start()
    with watching(second, "runId=run_wide") as events:
        next(events)
        sender.send(*[Metrics(1, step, {f"key/{'x' * 50}/{n}": 1.0 for n in range(300)}) for step in range(2)])
        heard: set[str] = set()
        while len(heard) < 300:
            heard |= until(events, "points")[2]["keys"].keys()


def test_a_command_wakes_a_run_that_waits_elsewhere(pair: tuple[RunningServer, RunningServer]) -> None:
    """The answer comes with the command, not when the time is up."""
    first, second = pair
    sender = Sender(first, "run_dial")
    sender.start()
    sender.send(Dial(1, "lr", "float", 0.0, 1.0, value=0.1))
    answers: list[requests.Response] = []
    body = {"stream": sender.stream, "after": -1, "waitMs": 18_000}
    waiting = threading.Thread(target=lambda: answers.append(second.post("/api/v1/ingest/commands", json=body)))
    waiting.start()
    time.sleep(0.3)
    assert first.post("/api/v1/runs/run_dial/commands", json={"name": "lr", "value": 0.5}).status_code == 200
    waiting.join(12)
    assert [command["value"] for command in answers[0].json()["commands"]] == [0.5]


def test_a_key_that_is_revoked_is_good_for_nothing_elsewhere(pair: tuple[RunningServer, RunningServer]) -> None:
    """Also where it has just been used, and is known by heart."""
    first, second = pair
    base = "/api/v1/workspaces/default-workspace/projects/default-project/api-keys"
    made = first.post(base, json={"scopes": ["project:read"], "label": "ci"}).json()
    assert second.get("/api/v1/auth/whoami", key=made["apiKey"]).status_code == 200
    assert first.post(f"{base}/{made['keyId']}/revoke").status_code == 200
    eventually(lambda: second.get("/api/v1/auth/whoami", key=made["apiKey"]).status_code == 401)


def test_two_senders_of_one_stream_at_two_servers_count_once(pair: tuple[RunningServer, RunningServer]) -> None:
    """Both send everything, at the same time; each record is there once, and both are told so."""
    sender = Sender(pair[0], "run_twice")
    sender.start()

    def send_all(server: RunningServer) -> None:
        own = Sender(server, "run_twice")
        own.stream, own.next = sender.stream, 1
        for step in range(40):
            assert own.log(step, loss=float(step)).status_code == 200

    threads = [threading.Thread(target=send_all, args=(server,)) for server in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert series(pair[0], "run_twice") == [(step, float(step)) for step in range(40)]
    (attempt,) = pair[1].get("/api/v1/runs/run_twice").json()["attempts"]
    assert (attempt["received"], attempt["duplicate"]) == (41, 40)
    assert pair[1].get("/api/v1/runs/run_twice").json()["points"] == 40


def test_a_killed_server_loses_and_doubles_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Four writers, two servers, one of them killed in the middle: what was answered is there once, and all arrives."""
    url, rows = cluster.database(), 120
    with running(tmp_path, url) as (victim, first), running(tmp_path, url) as (_, second):
        servers = [first, second]
        failures: list[BaseException] = []
        underway = threading.Barrier(5)

        def write(number: int) -> None:
            sender = Sender(servers[number % 2], f"run_{number}")
            assert sender.start().status_code == 200
            for step in range(rows):
                if step == rows // 4:
                    underway.wait(60)
                while True:
                    at = sender.next
                    try:
                        answer = sender.send(Metrics(step, step, {"a": float(step), "b": -float(step)}), first=at)
                        assert answer.status_code == 200 and answer.json()["next"] == at + 1
                        break
                    except requests.RequestException:
                        sender.next = at
                        sender.server = second

        def guarded(number: int) -> None:
            try:
                write(number)
            except BaseException as error:  # noqa: BLE001 - told by the test's own thread
                failures.append(error)
                underway.abort()

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        underway.wait(60)
        time.sleep(random.uniform(0, 0.1))
        victim.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        assert not failures
        for number in range(4):
            run = second.get(f"/api/v1/runs/run_{number}").json()
            assert (run["points"], run["attempts"][0]["received"]) == (2 * rows, rows + 1)
            assert series(second, f"run_{number}", "a") == [(step, float(step)) for step in range(rows)]


def test_an_upload_may_go_through_several_servers(pair: tuple[RunningServer, RunningServer]) -> None:
    """Its parts at one and the other, finished at both at once: one version, and every byte of it."""
    first, second = pair
    Sender(first, "run_files").start()
    files = {"big.bin": os.urandom(1024 * 1024) * 65, "small.txt": b"hello"}
    begun = initiate(first, "run_files", files, uploadKey="once")
    servers = itertools.cycle(pair)
    for file in begun["files"]:
        for place in file.get("parts", [file]):
            place["url"] = place["url"].replace(first.url, next(servers).url)
    parts = put_missing(begun, files)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda it: finalize(it, "run_files", begun, multipartParts=parts), pair))
    assert [answer.status_code for answer in answers] == [200, 200], [answer.text for answer in answers]
    assert answers[0].json() == answers[1].json()
    artifact_id = answers[0].json()["artifact"]["artifactId"]
    for path, content in files.items():
        assert download(second, artifact_id, path).content == content


def test_the_lock_of_a_blob_keeps_other_processes_out(tmp_path: Path) -> None:
    """Another process waits for it, but not for that of another blob."""
    blobs = Blobs(tmp_path / "blobs", tmp_path / "lock")
    program = (
        "import sys; from pathlib import Path; from rundial.server.store.blobs import Blobs\n"
        "blobs = Blobs(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "for digest in sys.argv[3:]:\n"
        "    with blobs.lock(digest): print(digest, flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "blobs"), str(tmp_path / "lock"), "01", "00"]
    with blobs.lock("00"):
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "01\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.3)
    assert other.stdout.readline() == "00\n"
    assert other.wait(20) == 0
    other.stdout.close()
    blobs.close()


def test_a_file_is_not_finished_under_the_hands_of_another_process(tmp_path: Path) -> None:
    """What a writer elsewhere could still change is not taken for verified; once the writer is gone, it is."""
    blobs = Blobs(tmp_path / "blobs", tmp_path / "lock")
    program = (
        "import sys; from pathlib import Path; from rundial.server.store.blobs import Blobs\n"
        "receiver = Blobs(Path(sys.argv[1])).receive_part('upl', sys.argv[2], 1, 0, 5)\n"
        "receiver.write(b'hello'); print('written', flush=True); input()\n"
    )
    digest = hashlib.sha256(b"hello").hexdigest()
    command = [sys.executable, "-c", program, str(tmp_path / "blobs"), digest]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "written\n"
    with pytest.raises(Refusal, match="still arriving"):
        blobs.is_whole("upl", digest, 5)
    other.communicate("\n", timeout=20)
    assert blobs.is_whole("upl", digest, 5)
    blobs.close()


SCRIPT = """
import sys
import rundial as rd

run = rd.init(project="digits", run_id="run_sdk", endpoint=sys.argv[1], api_key=sys.argv[2])
for step in range(100):
    run.log({"loss": 1.0 / (step + 1)}, step=step)
run.log_text("done")
assert run.finish()
"""


def test_a_script_logs_to_it_and_the_page_is_there(pair: tuple[RunningServer, RunningServer], tmp_path: Path) -> None:
    """The SDK and the page know nothing of the database."""
    first, second = pair
    command = [sys.executable, "-c", SCRIPT, first.url, first.key]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = second.get("/api/v1/runs/run_sdk").json()
    assert (run["status"], run["lastStep"]) == ("completed", 99)
    assert [step for step, _ in series(second, "run_sdk")] == list(range(100))
    assert "<html" in second.call("GET", "/", key="").text


def test_workers_share_a_port_and_are_replaced(cluster: Cluster, tmp_path: Path) -> None:
    """One that is killed is followed by another; the end of the parent is the end of all."""
    with running(tmp_path, cluster.empty(), "--workers", "2") as (parent, server):
        sender = Sender(server, "run_a")
        assert sender.start().status_code == 200
        workers = eventually(lambda: children(parent.pid) if len(children(parent.pid)) == 2 else None)
        os.kill(workers[0], signal.SIGKILL)
        eventually(lambda: len(set(children(parent.pid)) - {workers[0]}) == 2)
        for step in range(20):
            assert sender.log(step, loss=1.0).status_code == 200
        assert len(series(server, "run_a")) == 20
        left = children(parent.pid)
        parent.terminate()
        assert parent.wait(20) == 0
        assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]


def children(pid: int) -> list[int]:
    """The server processes of a parent."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return [child for child in found if b"spawn_main" in _command(child)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_what_cannot_be_is_one_clear_sentence(tmp_path: Path) -> None:
    """Workers on a file, an address that is none, a database nobody answers for."""

    def said(*arguments: str) -> str:
        done = subprocess.run(
            [*COMMAND, "--data", str(tmp_path), *arguments], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        return done.stderr

    assert "--database postgresql://" in said("--workers", "2")
    assert "postgresql://" in said("--database", "mysql://somewhere/else")
    refused = said("--database", "postgresql://somebody:hunter2@127.0.0.1:1/nothing")
    assert "cannot be reached" in refused and "hunter2" not in refused


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[Engine]:
    url = cluster.database()
    engine = Engine(url)
    yield engine
    engine.close()
    cluster.give_back(url)


def kill_connections(cluster: Cluster, engine: Engine) -> None:
    """End every connection of the engine's database, as a restart of PostgreSQL does."""
    with engine.read() as db:
        name = db.execute("SELECT current_database()").fetchone()[0]
    cluster.admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def test_a_database_that_comes_back_is_used_again(cluster: Cluster, engine: Engine) -> None:
    """Connections that were cut are replaced, for reading and for writing."""
    kill_connections(cluster, engine)
    put = "INSERT INTO settings (name, value) VALUES ('a', 'b')"
    engine.write(lambda db: db.execute(put).rowcount).result()
    with engine.read() as db:
        assert db.execute("SELECT value FROM settings WHERE name = 'a'").fetchone() == ("b",)


def test_a_connection_cut_in_the_middle_fails_its_group(cluster: Cluster, engine: Engine) -> None:
    """Nothing of it is kept, the caller is told to send again, and the next one goes through."""

    def cut(db: Db) -> None:
        db.execute("INSERT INTO settings (name, value) VALUES ('half', 'done')")
        kill_connections(cluster, engine)
        db.execute("SELECT 1")

    with pytest.raises(StoreError, match="Nothing was kept"):
        engine.write(cut).result()
    assert engine.write(lambda db: db.execute("SELECT count(*) FROM settings").fetchone()[0]).result() == 0


def test_a_conflict_is_tried_again(engine: Engine) -> None:
    """What the database asks to repeat is repeated, with everything in its group, once in the end."""
    calls: list[int] = []

    def conflict(db: Db) -> int:
        calls.append(1)
        db.execute("INSERT INTO settings (name, value) VALUES (?, 'x')", (f"try {len(calls)}",))
        if len(calls) == 1:
            db.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40P01'; END $$")
        return len(calls)

    assert engine.write(conflict).result() == 2
    with engine.read() as db:
        assert db.execute("SELECT name FROM settings").fetchall() == [("try 2",)]


def test_a_refused_statement_costs_only_its_function(engine: Engine) -> None:
    """Alone or in a group: PostgreSQL gives up the whole transaction, and the others are there all the same."""

    def fail(db: Db) -> None:
        db.execute("INSERT INTO settings (name, value) VALUES ('half', 'done')")
        db.execute("INSERT INTO settings (name, value) VALUES ('half', 'again')")

    with pytest.raises(engine.error):
        engine.write(fail).result(10)
    go = threading.Event()
    engine.write(lambda db: go.wait(10))
    failing = engine.write(fail)
    kept = engine.write(lambda db: db.execute("INSERT INTO settings (name, value) VALUES ('kept', '1')").rowcount)
    go.set()
    with pytest.raises(engine.error):
        failing.result(10)
    assert kept.result(10) == 1
    with engine.read() as db:
        assert db.execute("SELECT name FROM settings WHERE name IN ('half', 'kept')").fetchall() == [("kept",)]


def test_writers_of_different_runs_do_not_wait(cluster: Cluster, engine: Engine) -> None:
    """Those of one run do, and whoever names no run waits for all."""
    with engine.read() as db:
        name = db.execute("SELECT current_database()").fetchone()[0]
    other = Engine(cluster.url(name))
    inside, go = threading.Event(), threading.Event()

    def hold(db: Db) -> None:
        inside.set()
        go.wait(20)

    try:
        engine.write(hold, run_id="run_a")
        assert inside.wait(10)
        assert other.write(lambda db: "done", run_id="run_b").result(10) == "done"
        waiting = other.write(lambda db: go.is_set(), run_id="run_a")
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        go.set()
        assert waiting.result(10)
        inside.clear(), go.clear()
        engine.write(hold, run_id="run_a")
        assert inside.wait(10)
        waiting = other.write(lambda db: go.is_set())
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        go.set()
        assert waiting.result(10)
    finally:
        go.set()
        other.close()


def test_a_claim_is_for_one_at_a_time(cluster: Cluster, engine: Engine) -> None:
    """The second is told so at once, and has it when the first is done."""
    with engine.read() as db:
        name = db.execute("SELECT current_database()").fetchone()[0]
    other = Engine(cluster.url(name))
    try:
        with engine.claim("compact run_a") as mine, other.claim("compact run_a") as theirs:
            assert (mine, theirs) == (True, False)
        with other.claim("compact run_a") as theirs:
            assert theirs
    finally:
        other.close()


def test_two_compactors_neither_lose_nor_double(cluster: Cluster, tmp_path: Path) -> None:
    """Even without the claim, of two passes over the same rows one is refused and changes nothing."""
    url = cluster.database()
    store = Store(tmp_path, url)
    other = Engine(url)
    try:
        stream = Stream(store)
        stream.start()
        for step in range(200):
            stream.log(step, loss=float(step), acc=1.0)
            if step % 20 == 19:
                passes = [threading.Thread(target=_pass, args=(engine,)) for engine in (store._engine, other)]
                for one in passes:
                    one.start()
                for one in passes:
                    one.join(20)
        (found,) = store.series.points("run_a", ["loss"], max_points=None, order="asc")
        assert [point["step"] for point in found["points"]] == list(range(200))
        assert [item["count"] for item in store.series.keys("run_a", 10)] == [200, 200]
    finally:
        other.close()
        store.close()


def _pass(engine: Engine) -> None:
    try:
        compact(engine, "run_a")
    except StoreError as error:
        assert "changed during compaction" in str(error)


def test_a_nul_in_a_text_does_not_end_a_request(cluster: Cluster, tmp_path: Path) -> None:
    """PostgreSQL has no such letter; SQLite keeps it, here it becomes the sign for what cannot be shown."""
    store = Store(tmp_path, cluster.database())
    try:
        stream = Stream(store)
        stream.start()
        assert stream.log(0, note="a\0b")[0] == 200
        compact(store._engine, "run_a")
        assert store.runs.query(
            stream.principal, "default-workspace", "digits", limit=10, order="asc", order_by="runId", cursor=None,
            search="\0", statuses=[],
        ) == ([], None)  # fmt: skip
        (found,) = store.series.keys("run_a", 10)
        assert found["lastValue"] in ("a\ufffdb", "a\0b")
    finally:
        store.close()


def test_names_are_found_in_any_case_and_ordered_by_code_point(cluster: Cluster, tmp_path: Path) -> None:
    """As with SQLite, whatever the language of the database."""
    store = Store(tmp_path, cluster.database())
    try:
        names = ["ß", "Äpfel", "a", "Z", "éclair"]
        for number, name in enumerate(names):
            Stream(store, f"run_{number}").start(name=name)
        principal = Stream(store).principal

        def query(search: str | None) -> list[str]:
            page = store.runs.query(
                principal, "default-workspace", "digits", limit=10, order="asc", order_by="runName", cursor=None,
                search=search, statuses=[],
            )  # fmt: skip
            assert page is not None
            return [run["runName"] for run in page[0]]

        assert query(None) == sorted(names)
        assert query("äPF") == ["Äpfel"] and query("ÉCL") == ["éclair"]
    finally:
        store.close()


def test_every_part_of_a_change_fits_into_a_message() -> None:
    """However much was committed at once, and the keys are all in there."""
    metrics = [Metrics(1, 1, {f"k{n}/{'ü' * 90}": 0.5 for n in range(2_000)})]
    markers = [Marker(1, "alert", "x" * 200, 1, {"text": "y" * 20_000}), Marker(2, "stage", "train", 1)]
    change = Change("r" * 200, "p" * 24, "w" * 24, metrics, markers, True, frozenset({"logs"}))
    parts = list(_parts(change))
    assert max(size for _, size in parts) < MESSAGE_BYTES
    assert [key for part, _ in parts for key in part.keys] == list(metrics[0].values)
    assert [marker.name for part, _ in parts for marker in part.markers] == ["x" * 200, "train"]


def test_a_lost_listener_catches_up(cluster: Cluster) -> None:
    """After its connection was cut it says that something may have been missed, and hears again."""
    url = cluster.database()
    engines = [Engine(url), Engine(url)]
    heard: list[str] = []
    missed: list[str] = []
    ends = [
        Notices(
            engine, lambda changes: heard.extend(it.run_id for it in changes), lambda: None, lambda: missed.append("")
        )
        for engine in engines
    ]
    try:
        for end in ends:
            end.start()
        eventually(lambda: all(end.hears for end in ends))
        before = len(missed)
        kill_connections(cluster, engines[0])
        eventually(lambda: len(missed) >= before + 2)
        ends[0].tell([Change("run_a", "p", "w", [], [], True)])
        eventually(lambda: heard == ["run_a"])
    finally:
        for end, engine in zip(ends, engines):
            end.close()
            engine.close()
