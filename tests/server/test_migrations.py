"""From one version to the next: databases of every earlier schema, and what an older or newer version sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from rundial import events, wire
from rundial.server.store import Store
from rundial.server.store.engine import Db, Engine, StoreError
from rundial.server.store.schema import MIGRATIONS, _apply, _version, migrate
from tests.server.conftest import RunningServer, Sender
from tests.server.introspection import columns, tables
from tests.server.streams import Stream

SAMPLES = Path(__file__).parent / "samples"
RECORDS = sorted(SAMPLES.glob("records-*.bin"))
REQUESTS = sorted(SAMPLES.glob("requests-*.json"))
_JSON = {
    "tags": "[]",
    "scorers": "[]",
    "events": "[]",
    "delivered_to": "",
    "ledger": '{"logged": 1, "dropped": {}, "nonFinite": {}}',
    "deleted_ms": None,
}
_OBJECTS = {
    *("config", "summary", "environment", "system", "rejected", "dropped", "non_finite", "attrs", "metadata", "meta"),
    *("dataset", "spec", "former", "plan"),
}
_KNOWN = {"slug": "default-workspace", "status": "completed", "kind": "training", "value": "1"}


def value_of(column: str, kind: str) -> Any:
    """Something that may stand in a column; ids are the same everywhere, so that rows refer to each other."""
    kind = kind.lower()
    if column in _JSON or column in _OBJECTS:
        return _JSON.get(column, "{}")
    if kind in ("bigint", "integer"):
        return 1
    if kind.startswith("double"):
        return 0.5
    return b"\x90" if kind in ("blob", "bytea") else _KNOWN.get(column, f"{column}_1")


def fill(db: Db, shared: bool) -> dict[str, dict[str, Any]]:
    """A row in every table; what was put into each."""
    filled = {}
    for table in tables(db, shared):
        row = {name: value_of(name, kind) for name, kind in columns(db, shared, table).items()}
        if table == "settings":
            row = {"name": "greeting", "value": "hello"}
        marks = ", ".join("?" * len(row))
        db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
        filled[table] = row
    return filled


@pytest.mark.parametrize("number", range(1, len(MIGRATIONS)))
def test_every_earlier_schema_becomes_the_newest(
    number: int, tmp_path: Path, database: Callable[[Path], str | None], request: pytest.FixtureRequest
) -> None:
    """With a row in each of its tables: nothing is lost or changed, and a store opens it and reads the run."""
    url = None if database(tmp_path) is None else request.getfixturevalue("cluster").empty()
    engine = Engine(url or tmp_path / "rundial.db")
    try:
        engine.write(_version).result()
        for step in range(1, number + 1):
            engine.write(lambda db, step=step: _apply(db, step, engine.types)).result()  # type: ignore[misc]
        filled = engine.write(lambda db: fill(db, engine.shared)).result()
        migrate(engine)
        with engine.read() as db:
            assert db.execute("SELECT max(number) FROM migrations").fetchone()[0] == len(MIGRATIONS)
            assert set(tables(db, engine.shared)) >= filled.keys()
            for table, row in filled.items():
                found = db.execute(f"SELECT {', '.join(row)} FROM {table}").fetchall()
                assert tuple(row.values()) in found, table
    finally:
        engine.close()
    store = Store(tmp_path, url)
    try:
        stream = Stream(store, "run_id_1")
        run = store.runs.get(stream.principal._replace(workspace_id="workspace_id_1"), "run_id_1")
        assert run is not None and (run["runName"], run["status"], run["points"]) == ("name_1", "completed", 1)
        stream.run_id = "run_new"
        assert stream.start()[0] == 200
    finally:
        store.close()


def test_a_newer_database_is_refused(
    tmp_path: Path, open_store: Callable[[Path], Store], database: Callable[[Path], str | None]
) -> None:
    """By name of both schemas, and nothing in it is touched."""
    store = open_store(tmp_path)
    newer = len(MIGRATIONS) + 1
    store._engine.write(lambda db: db.execute("INSERT INTO migrations VALUES (?, 0)", (newer,)).rowcount).result()
    store.close()
    with pytest.raises(StoreError, match=f"at schema {newer}, this version knows {newer - 1}.*Install"):
        open_store(tmp_path)
    engine = Engine(database(tmp_path) or tmp_path / "rundial.db")
    assert engine.write(lambda db: db.execute("DELETE FROM migrations WHERE number = ?", (newer,)).rowcount).result()
    engine.close()


@pytest.mark.postgres
def test_two_servers_that_start_at_once_migrate_once(cluster: Any, tmp_path: Path) -> None:
    """Both find the same tables, the same owner and the same secret."""
    from concurrent.futures import ThreadPoolExecutor

    url = cluster.empty()
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: Store(tmp_path, url), range(4)))
    try:
        assert len({store.owner_key for store in stores}) == 1
        assert len({store.signer.sign("GET", "/x", {}, 10).split("?")[0] for store in stores}) == 1
        assert all(store.accounts.verify(stores[0].owner_key) for store in stores)
    finally:
        for store in stores:
            store.close()


def test_the_samples_have_every_kind_of_event() -> None:
    """A kind that is new needs a new sample at the next release."""
    kinds = set()
    for chunk in wire.unpack_chunks(RECORDS[-1].read_bytes()):
        kinds |= {type(event) for event in wire.decode_chunk(chunk)[0]}
    assert kinds == set(get_args(events.Event))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_records_of_earlier_versions_are_taken_in(path: Path, server: RunningServer) -> None:
    """All of them, and each is read back where it belongs."""
    body = path.read_bytes()
    (first, *_), count = list(wire.unpack_chunks(body)), 16
    sender = Sender(server, "run_sample")
    sender.stream = first.stream
    answer = sender.post(body).json()
    assert (answer["next"], answer["accepted"], answer["rejected"]) == (count, 13, [])
    assert sender.post(body).json()["duplicate"] == count
    run = server.get("/api/v1/runs/run_sample").json()
    assert (run["status"], run["tags"], run["config"]["model"], run["config"]["seed"]) == (
        *("completed", ["a", "b"], {"depth": 4}),
        1,
    )
    assert (run["summary"]["best"], run["primaryMetric"]["value"], run["points"]) == (0.75, 0.75, 6)
    assert (run["attempts"][0]["dropped"], run["attempts"][0]["logged"]) == ({"queue full": 3}, 16)
    asked = {"runId": "run_sample", "metricKeys": ["loss", "note"]}
    loss, note = server.post("/api/v1/query/series", json=asked).json()["series"]
    assert [point["value"] for point in loss["points"]] == [1.0, 0.5]
    assert [point["value"] for point in note["points"]] == ["begun"]
    assert {"alert", "stage"} <= {
        item["kind"] for item in server.get("/api/v1/runs/run_sample/markers").json()["markers"]
    }
    lines = server.post("/api/v1/query/logs", json={"runId": "run_sample"}).json()["rows"]
    assert [line["message"] for line in lines] == ["Epoch 1"]
    assert server.get(f"/api/v1/runs/run_sample/traces/{'ab' * 16}").json()["tokensIn"] == 3
    (evaluation,) = server.get("/api/v1/runs/run_sample/evals").json()["evalRuns"]
    assert (evaluation["suiteName"], evaluation["summary"]["exact"]["passRate"]) == ("arithmetic", 1.0)
    (dial,) = server.get("/api/v1/runs/run_sample/dials").json()["dials"]
    assert (dial["name"], dial["unit"], dial["value"]) == ("lr", "1/step", 0.05)


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)
def test_requests_of_earlier_versions_are_answered(path: Path, server: RunningServer) -> None:
    """In their order, each with success, and the run is there in the end."""
    for asked in json.loads(path.read_text()):
        answer = server.post(asked["path"], json=asked["body"])
        assert answer.status_code == 200, (asked["path"], answer.text)
    run = server.get("/api/v1/runs/run_json").json()
    assert (run["status"], run["points"], run["config"]) == ("completed", 3, {"lr": 0.1, "seed": 1})
    lines = server.post("/api/v1/query/logs", json={"runId": "run_json"}).json()["rows"]
    assert [line["message"] for line in lines] == ["Epoch 1"]


def test_a_kind_of_event_from_the_future_costs_only_itself(server: RunningServer) -> None:
    """It is set apart with its sequence, counted, and what stands around it is taken in."""
    sender = Sender(server, "run_a")
    sender.start()
    unknown = msgspec.msgpack.encode([99, 1, "of a version to come", {"a": [1, 2]}])
    around = [wire.encode(events.Metrics(step, step, {"loss": 1.0})) for step in range(2)]
    answer = sender.post(
        wire.pack_chunk(wire.Chunk(sender.stream, 1, 3, b"".join([around[0], unknown, around[1]])))
    ).json()
    assert (answer["next"], answer["accepted"]) == (4, 2)
    assert [(bad["seq"], bad["code"]) for bad in answer["rejected"]] == [(2, "INVALID_RECORD")]
    (attempt,) = server.get("/api/v1/runs/run_a").json()["attempts"]
    assert attempt["rejected"] == {"INVALID_RECORD": 1}


def test_a_known_event_with_more_in_it_is_taken_in(server: RunningServer) -> None:
    """What a later version adds to an event stands behind what is known, and is passed over."""
    sender = Sender(server, "run_a")
    sender.start()
    longer = msgspec.msgpack.encode([2, 1_000_000, 0, {"loss": 0.5}, None, None, "new", {"field": 1}])
    answer = sender.post(wire.pack_chunk(wire.Chunk(sender.stream, 1, 1, longer))).json()
    assert (answer["next"], answer["accepted"], answer["rejected"]) == (2, 1, [])


def test_the_present_sdk_reads_chunks_and_answers_of_other_versions() -> None:
    """Unknown records in a spool are counted one by one; unknown fields of an answer are passed over."""
    unknown = msgspec.msgpack.encode([99, "of a version to come"])
    known = wire.encode(events.Metrics(1, 0, {"loss": 1.0}))
    found, bad = wire.decode_chunk(wire.Chunk("5a" * 16, 10, 3, known + unknown + known))
    assert (len(found), [record.seq for record in bad]) == (2, [11])
    answer = b'{"stream":"5a","next":3,"accepted":1,"duplicate":0,"rejected":[],"commands":[],"novel":{"a":1}}'
    assert msgspec.json.decode(answer, type=wire.IngestReply).next == 3
    assert msgspec.json.decode(b'{"stream":"5a","next":3}', type=wire.IngestReply).commands == []
