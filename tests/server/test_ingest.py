"""Ingest: sequence, admission, what is refused, and what survives a kill."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rundial import wire
from rundial.events import Ledger, Marker, Metrics, RunEnd, RunStart, RunUpdate
from rundial.server.store import Store
from rundial.server.store.batch import MAX_BODY_RECORDS
from rundial.server.store.changes import Change
from rundial.server.store.engine import Engine
from rundial.server.store.refusal import Refusal
from rundial.server.store.watch import mark_silent
from tests.server.streams import Stream


@pytest.fixture
def store(tmp_path: Path, open_store: Callable[[Path], Store]) -> Store:
    return open_store(tmp_path)


@pytest.fixture
def stream(store: Store) -> Stream:
    stream = Stream(store)
    stream.start()
    return stream


def run_of(stream: Stream) -> dict[str, Any]:
    run = stream.store.runs.get(stream.principal, stream.run_id)
    assert run is not None
    return run


def values(stream: Stream, key: str = "loss") -> list[tuple[int, Any]]:
    (series,) = stream.store.series.points(stream.run_id, [key], max_points=None, order="asc")
    return [(point["step"], point["value"]) for point in series["points"]]


def metrics(*steps: int) -> list[Metrics]:
    return [Metrics(time.time_ns(), step, {"loss": float(step)}) for step in steps]


def test_the_first_record_is_answered_with_its_run(store: Store) -> None:
    """The client learns where its data goes; a repetition gets the same answer."""
    stream = Stream(store)
    status, body = stream.start(project="My Project", config={"lr": 0.1})
    assert (status, body["next"], body["accepted"], body["duplicate"]) == (200, 1, 1, 0)
    run = body["run"]
    assert (run["runId"], run["project"], run["workspace"]) == ("run_a", "my-project", "default-workspace")
    assert (run["lastStep"], run["config"], run["created"]) == (None, {"lr": 0.1}, True)
    assert run["url"] == "http://127.0.0.1:8787/#/runs/run_a"
    stream.log(7, loss=1.0)
    stream.next = 0
    status, again = stream.start(project="My Project")
    assert (status, again["next"], again["duplicate"], again["run"]) == (200, 2, 1, run)


def test_a_repeated_batch_counts_once(stream: Stream) -> None:
    """Chunks that are known are skipped, and one that straddles is cut."""
    stream.send(*metrics(0, 1, 2))
    status, body = stream.send(*metrics(1, 2, 3, 4), first=2)
    assert (status, body["next"], body["accepted"], body["duplicate"]) == (200, 6, 2, 2)
    assert values(stream) == [(step, float(step)) for step in range(5)]
    assert run_of(stream)["points"] == 5


def test_a_hole_is_refused_by_naming_what_is_expected(stream: Stream) -> None:
    """409 with ``next``; what lies before the hole in the same request is kept."""
    assert stream.send(*metrics(0), first=5)[0] == 409
    before = wire.Chunk(stream.id, 1, 1, wire.encode(metrics(0)[0]))
    after = wire.Chunk(stream.id, 3, 1, wire.encode(metrics(2)[0]))
    status, body = stream.send_chunks(before, after)
    assert (status, body["next"], body["accepted"]) == (409, 2, 1)
    assert values(stream) == [(0, 0.0)]


def test_an_unknown_stream_begins_at_zero(store: Store) -> None:
    """A heartbeat or a late batch of a stream nobody knows is asked for its beginning."""
    stream = Stream(store)
    assert stream.send_chunks() == (409, stream.send(*metrics(1), first=3)[1])
    with pytest.raises(Refusal, match="RunStart"):
        stream.send(*metrics(1), first=0)


def test_a_gap_keeps_the_ledger_exact(stream: Stream) -> None:
    """What a bound had to drop is counted by its reason, and the sequence goes on behind it."""
    status, body = stream.send_chunks(wire.gap_chunk(stream.id, 1, 10, "spool_bytes"))
    assert (status, body["next"], body["accepted"]) == (200, 11, 0)
    stream.next = 11
    stream.send(*metrics(10), Ledger(1, 12, {"spool_bytes": 10}, {}))
    (attempt,) = run_of(stream)["attempts"]
    assert (attempt["received"], attempt["dropped"], attempt["logged"]) == (3, {"spool_bytes": 10}, 12)


def test_a_bad_record_costs_no_other(stream: Stream) -> None:
    """It is named by its number and reason, counted, and the stream goes on."""
    good = [wire.encode(record) for record in metrics(0, 1)]
    status, body = stream.send_raw(good[0], wire.encode([2, "no time", 1, {}]), b"\x05", good[1])
    assert (status, body["next"], body["accepted"]) == (200, 5, 2)
    assert [(bad["seq"], bad["code"]) for bad in body["rejected"]] == [(2, "INVALID_RECORD"), (3, "INVALID_RECORD")]
    assert values(stream) == [(0, 0.0), (1, 1.0)]
    assert run_of(stream)["attempts"][0]["rejected"] == {"INVALID_RECORD": 2}


HUGE = 2**63
HOSTILE = {
    "a step beyond 64 bits": [2, 1, HUGE, {"loss": 1.0}],
    "a time beyond 64 bits": [2, HUGE, 1, {"loss": 1.0}],
    "a second start": [1, 1, "run_b", "default-workspace", "digits", "x"],
    "a gap among records": [6, 0, 99, "why"],
    "an end that is none": [4, 1, "running"],
    "an update too deep": [3, 1, None, {"a": msgspec.json.decode("[" * 80 + "]" * 80)}],
    "an unknown tag": [99, 1],
    "a marker's step beyond 64 bits": [5, 1, "alert", "x", HUGE],
}


@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_records_are_set_apart(stream: Stream, record: list[Any]) -> None:
    """Whatever one record says, it is rejected alone and its neighbours stay."""
    status, body = stream.send_raw(wire.encode(metrics(0)[0]), msgspec.msgpack.encode(record))
    assert (status, body["next"], body["accepted"]) == (200, 3, 1)
    assert [bad["seq"] for bad in body["rejected"]] == [2]
    assert run_of(stream)["status"] == "running"


def test_a_record_nested_to_exhaust_the_decoder_is_set_apart(stream: Stream) -> None:
    """A hundred thousand levels are one bad record."""
    deep = b"\x93\x03\x01\x81\xa1a" + b"\x91" * 100_000 + b"\xc0"
    status, body = stream.send_raw(deep)
    assert (status, body["next"], len(body["rejected"])) == (200, 2, 1)


def test_headers_that_cannot_be_true_are_refused(stream: Stream) -> None:
    """Counts and sequences that no records could fill are answered before any memory is spent on them."""
    for chunk in (
        wire.Chunk(stream.id, 1, 1000, b"\x00" * 100),
        wire.Chunk(stream.id, 2**63 - 1, 1, wire.encode(metrics(0)[0])),
    ):
        with pytest.raises(Refusal) as caught:
            stream.send_chunks(chunk)
        assert caught.value.status == 400
    with pytest.raises(Refusal) as caught:
        stream.send_chunks(wire.Chunk(stream.id, 1, MAX_BODY_RECORDS + 1, b"\x00"))
    assert caught.value.status == 413


def test_values_that_are_not_finite_leave_the_series_and_are_counted(stream: Stream) -> None:
    """NaN and infinities are counted per key, whether the server met them or a marker tells of them."""
    stream.send(Metrics(1, 0, {"loss": float("nan"), "acc": 0.5}), Metrics(1, 1, {"loss": float("inf")}))
    stream.send(Marker(2, "non_finite", "loss", 2, {"value": "nan"}))
    run = run_of(stream)
    assert (run["nonFinite"], run["points"]) == ({"loss": 3}, 1)
    assert values(stream) == [] and values(stream, "acc") == [(0, 0.5)]
    assert stream.store.runs.markers(stream.principal, stream.run_id) == [
        {"timeMs": 0, "kind": "non_finite", "name": "loss", "step": 2, "attrs": {"value": "nan"}}
    ]


def test_strange_keys_and_values_are_kept(stream: Stream) -> None:
    """Keys are cleaned, numbers are numbers, texts are a series of their own, even when they look like numbers."""
    stream.send_raw(msgspec.msgpack.encode([2, 1, 5, {"": 1, "a\nb": True, 7: 2**64 - 1, "note": "1.5", "k" * 999: 1}]))
    keys = {item["metricKey"]: item for item in stream.store.series.keys(stream.run_id, 100)}
    assert {"(empty)", "a\ufffdb", "7", "note"} < keys.keys() and max(map(len, keys)) == 250
    assert values(stream, "note") == [(5, "1.5")] and keys["note"]["kind"] == "text"
    assert values(stream, "7") == [(5, float(2**64 - 1))]


def test_updates_merge_and_the_end_is_the_end(stream: Stream) -> None:
    """Mappings merge key by key, the terminal status stays, and a later end of another stream changes nothing."""
    stream.send(RunUpdate(1, config={"opt": {"lr": 1, "b": 2}}, tags=["x", "x"], notes="n", name="new"))
    stream.send(RunUpdate(1, config={"opt": {"lr": 3}}, summary={"best": 1}))
    stream.log(4, loss=0.5)
    stream.send(RunEnd(2_000_000, "failed", "ValueError: no", "Traceback ..."))
    run = run_of(stream)
    assert (run["config"], run["tags"], run["notes"]) == ({"opt": {"lr": 3, "b": 2}}, ["x"], "n")
    assert (run["runName"], run["summary"]) == ("new", {"best": 1, "loss": 0.5})
    assert (run["status"], run["reason"], run["traceback"]) == ("failed", "ValueError: no", "Traceback ...")
    assert (run["finishedAtMs"], run["lastStep"], run["attempts"][0]["endedAtMs"]) == (2, 4, 2)
    stream.send(RunEnd(3, "completed"))
    assert run_of(stream)["status"] == "failed"


@pytest.mark.parametrize(
    ("ended", "resume", "status"),
    [
        (False, "never", 409),
        (True, "never", 409),
        (False, "allow", 200),
        (True, "allow", 409),
        (False, "must", 200),
        (True, "must", 200),
        (False, "continue", 200),
        (True, "continue", 200),
    ],
)
def test_resume_decides_whether_a_run_is_continued(stream: Stream, ended: bool, resume: str, status: int) -> None:
    """``never`` wants a new run, ``allow`` a running one or none; ``must`` and ``continue`` reopen any."""
    stream.log(9, loss=1.0)
    if ended:
        stream.send(RunEnd(1, "completed"))
    second = Stream(stream.store)
    if status == 409:
        with pytest.raises(Refusal) as caught:
            second.start(resume=resume)
        assert (caught.value.status, caught.value.code) == (409, "CONFLICT")
        assert len(run_of(stream)["attempts"]) == 1
    else:
        run = second.start(resume=resume)[1]["run"]
        assert (run["lastStep"], run["created"]) == (9, False)
        assert (run_of(stream)["status"], run_of(stream)["finishedAtMs"]) == ("running", None)


def test_must_needs_a_run_and_allow_makes_one(store: Store) -> None:
    """A missing run is 404 for ``must``, and of the refused stream nothing is known."""
    stream = Stream(store, "run_new")
    with pytest.raises(Refusal) as caught:
        stream.start(resume="must")
    assert caught.value.status == 404
    stream.next = 0
    assert stream.start(resume="allow")[1]["run"]["created"] is True


def test_ranks_of_one_job_share_a_run(store: Store) -> None:
    """They may arrive in any order; the leading stream speaks for the end."""
    ranks = [Stream(store) for _ in range(3)]
    for rank in (1, 0, 2):
        ranks[rank].start(rank=rank, part=rank > 0)
    with pytest.raises(Refusal, match="exists already"):
        Stream(store).start(rank=0)
    ranks[2].send(RunEnd(1, "completed"))
    assert run_of(ranks[0])["status"] == "running"
    ranks[0].send(RunEnd(1, "completed"))
    assert run_of(ranks[0])["status"] == "completed"
    ranks[1].log(3, loss=1.0)
    ranks[1].send(RunEnd(1, "crashed"))
    assert (run_of(ranks[0])["status"], run_of(ranks[0])["points"]) == ("completed", 1)


def test_the_end_of_an_old_attempt_does_not_end_the_new_one(stream: Stream) -> None:
    """What an adopter finds of a dead process says nothing about the one that continues the run."""
    Stream(stream.store).start(resume="must")
    stream.send(RunEnd(1, "crashed"))
    assert run_of(stream)["status"] == "running"


def test_projects_are_made_only_by_keys_that_may(store: Store) -> None:
    """A key without project:write writes to what exists, one bound to a project to that alone."""
    owner = Stream(store).principal
    _, key = store.accounts.create_key(owner.workspace_id, scopes=["metrics:write"], label="ci")
    writer = store.accounts.verify(key)
    with pytest.raises(Refusal) as caught:
        Stream(store, "run_b", writer).start(project="unheard of")
    assert (caught.value.status, caught.value.code) == (404, "NOT_FOUND")
    Stream(store, "run_b", writer).start(project="default-project")
    project_id = store.runs.project_of(owner, "default-project")
    _, key = store.accounts.create_key(owner.workspace_id, scopes=["admin"], label="bound", project_id=project_id)
    bound = store.accounts.verify(key)
    for project in ("digits", "new"):
        with pytest.raises(Refusal, match="not found"):
            Stream(store, "run_c", bound).start(project=project)
    with pytest.raises(Refusal, match="not found"):
        Stream(store, "run_c", bound).start(workspace="elsewhere", project="default-project")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "x" * 300, "a\u202eb", "a\nb"])
def test_names_that_could_be_paths_are_refused(store: Store, name: str) -> None:
    """No user string is ever near a path or a terminal."""
    for fields in ({"project": name}, {"run_id": name}):
        stream = Stream(store, fields.pop("run_id", "run_a"))
        with pytest.raises(Refusal) as caught:
            stream.start(**fields)
        assert caught.value.status == 400


def test_strings_that_look_like_sql_are_strings(store: Store) -> None:
    """They are stored and found verbatim."""
    name = "'); DROP TABLE runs;--"
    stream = Stream(store, name)
    stream.start(name=name, project=name, config={name: name})
    assert (run_of(stream)["runName"], run_of(stream)["config"]) == (name, {name: name})
    assert store.runs.project_of(stream.principal, name) is not None


def test_project_names_get_slugs_of_their_own(store: Store) -> None:
    """The name is kept as it was given; names that would share a slug do not share a project."""
    for number, name in enumerate(("Été 2024", "t 2024", "t-2024")):
        Stream(store, f"run_{number}").start(project=name)
    page = store.runs.projects(Stream(store).principal, "default-workspace", limit=10, cursor=None)
    assert page is not None
    named = {item["name"]: item["projectSlug"] for item in page[0]}
    assert named["Été 2024"] == "t-2024" and named["t 2024"] == "t-2024-2" and "t-2024" not in named


def test_silence_is_a_crash_until_a_sign_of_life(
    tmp_path: Path, open_store: Callable[[Path], Store], database: Callable[[Path], str | None]
) -> None:
    """A run whose streams are all silent is crashed; the next heartbeat or record revives it."""
    store = open_store(tmp_path)
    stream = Stream(store)
    stream.start()
    store.close()

    engine = Engine(database(tmp_path) or tmp_path / "rundial.db")
    long_ago = time.time_ns() // 1_000_000 - 200_000
    engine.write(lambda db: db.execute("UPDATE streams SET last_seen_ms = ?", (long_ago,)).rowcount).result()
    assert engine.write(lambda db: mark_silent(db, time.time_ns() // 1_000_000)).result() == []
    (change,) = engine.write(lambda db: mark_silent(db, 0)).result()
    assert (change.run_id, change.run_changed) == ("run_a", True)
    engine.close()

    store = open_store(tmp_path)
    stream.store = store
    run = run_of(stream)
    assert (run["status"], run["finishedAtMs"], run["attempts"][0]["status"]) == ("crashed", long_ago, "crashed")
    stream.send_chunks()
    run = run_of(stream)
    assert (run["status"], run["reason"], run["finishedAtMs"]) == ("running", None, None)
    store.close()


def test_subscribers_hear_what_was_committed(store: Store) -> None:
    """Each commit is told once, readable already; unsubscribing ends it."""
    heard: list[tuple[Change, int]] = []
    stream = Stream(store)
    unsubscribe = store.subscribe(lambda change: heard.append((change, run_of(stream)["points"])))
    stream.start()
    stream.send(*metrics(0, 1), Marker(1, "alert", "x"))
    stream.send_chunks()
    unsubscribe()
    stream.log(5, loss=1.0)
    (first, _), (second, points) = heard
    assert (first.run_id, first.metrics, first.run_changed) == ("run_a", [], True)
    assert ([record.step for record in second.metrics], second.markers[0].kind, points) == ([0, 1], "alert", 2)


CHILD = """
import sys, time
from pathlib import Path
from rundial import wire
from rundial.events import Metrics, RunStart
from rundial.server.store import Store

store = Store(Path(sys.argv[1]), sys.argv[2] or None)
owner = store.accounts.verify(store.owner_key)
stream = "ab" * 16
status, body = store.ingest(owner, stream, [], "").result()
seq = body["next"]
if seq == 0:
    start = wire.encode(RunStart(time.time_ns(), "run_a", "default-workspace", "digits", "n"))
    seq = store.ingest(owner, stream, [wire.Chunk(stream, 0, 1, start)], "").result()[1]["next"]
while True:
    rows = [Metrics(time.time_ns(), seq + i, {f"k{k}": float(seq + i) for k in range(100)}) for i in range(20)]
    records = list(map(wire.encode, rows))
    seq = store.ingest(owner, stream, [wire.Chunk(stream, seq, 20, b"".join(records))], "").result()[1]["next"]
    print(seq, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(
    tmp_path: Path, open_store: Callable[[Path], Store], database: Callable[[Path], str | None]
) -> None:
    """Killed at random moments of ingest and compaction, every acknowledged record is there, once."""
    acknowledged = 0
    for _ in range(4):
        command = [sys.executable, "-c", CHILD, str(tmp_path), database(tmp_path) or ""]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        end = time.monotonic() + random.uniform(0.4, 1.2)
        for line in child.stdout:
            acknowledged = int(line)
            if time.monotonic() > end:
                os.kill(child.pid, signal.SIGKILL)
                break
        acknowledged = int((child.stdout.read().splitlines() or [acknowledged])[-1])
        child.stdout.close()
        child.wait()
        store = open_store(tmp_path)
        keys = store.series.keys("run_a", 1000)
        counts = {item["count"] for item in keys}
        series = store.series.points("run_a", ["k0", "k99"], max_points=None, order="asc")
        store.close()
        (count,) = counts
        assert len(keys) == 100 and count >= acknowledged - 1
        for item in series:
            assert [(p["step"], p["value"]) for p in item["points"]] == [(n, float(n)) for n in range(1, count + 1)]


def test_one_decoder_call_keeps_the_bytes(stream: Stream) -> None:
    """A chunk of metrics alone is stored as it came, one with other events in it as its metrics."""
    stream.send(*metrics(0, 1))
    stream.send(RunUpdate(1, notes="x"), *metrics(2))
    assert values(stream) == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert isinstance(run_of(stream)["notes"], str)


def test_a_stream_belongs_to_its_workspace(store: Store, stream: Stream) -> None:
    """A key of another workspace sees neither the stream nor the run."""
    stranger = stream.principal._replace(workspace_id="wsp_other", workspace_slug="other", everywhere=False)
    intruder = Stream(store, "run_a", stranger)
    intruder.id = stream.id
    with pytest.raises(Refusal) as caught:
        intruder.send(*metrics(0), first=1)
    assert caught.value.status == 404
    fresh = Stream(store, "run_a", stranger)
    with pytest.raises(Refusal) as caught:
        fresh.send(RunStart(1, "run_a", "other", "digits", "n", resume="must"))
    assert caught.value.status == 404
