"""The bulk of the data on several machines: one database in front, three PostgreSQL servers behind it.

Points and log lines are nearly all that a store holds. Their tables, partitioned by a hash of the run and kept on the
three as foreign tables, are written, compacted and read by the very same SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rundial.events import LogLine, Metrics
from rundial.server.store import Store
from rundial.server.store.compactor import compact
from rundial.server.store.logs import Wanted
from tests.server.postgres import Cluster
from tests.server.streams import Stream

pytestmark = pytest.mark.postgres
SPREAD = ("chunks", "log_blobs")
RUNS = 12


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> Iterator[list[str]]:
    """Addresses of databases with all tables, on three servers of their own."""
    with ExitStack() as stack:
        yield [stack.enter_context(Cluster()).database() for _ in range(3)]


@pytest.fixture(scope="module")
def front(cluster: Cluster, nodes: list[str]) -> str:
    """A database whose bulk lies on the nodes."""
    url = cluster.database()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE EXTENSION postgres_fdw")
        for number, node in enumerate(nodes):
            place = psycopg.conninfo.conninfo_to_dict(node)
            db.execute(
                f"CREATE SERVER node{number} FOREIGN DATA WRAPPER postgres_fdw"
                f" OPTIONS (host '{place['host']}', port '{place['port']}', dbname '{place['dbname']}')"
            )
            db.execute(f"CREATE USER MAPPING FOR rundial SERVER node{number} OPTIONS (user 'rundial')")
        for table in SPREAD:
            db.execute(f"ALTER TABLE {table} RENAME TO {table}_alone")
            # Without the keys: each node keeps those of its own rows, and begins them with the run.
            db.execute(f"CREATE TABLE {table} (LIKE {table}_alone) PARTITION BY HASH (run_id)")
            for number in range(len(nodes)):
                db.execute(
                    f"CREATE FOREIGN TABLE {table}_{number} PARTITION OF {table}"
                    f" FOR VALUES WITH (MODULUS {len(nodes)}, REMAINDER {number})"
                    f" SERVER node{number} OPTIONS (table_name '{table}')"
                )
    return url


def counted(url: str, table: str) -> int:
    with psycopg.connect(url) as db:
        row: Any = db.execute(f"SELECT count(DISTINCT run_id) FROM {table}").fetchone()
        return int(row[0])


def test_points_and_lines_lie_on_three_servers(front: str, nodes: list[str], tmp_path: Path) -> None:
    """Each run on one of them, all of them used, and everything is read back as it was logged."""
    store = Store(tmp_path, front)
    try:
        streams = [Stream(store, f"run_{number}") for number in range(RUNS)]
        for stream in streams:
            stream.start()
            for part in range(3):
                steps = range(part * 50, part * 50 + 50)
                stream.send(*[Metrics(step, step, {"loss": float(step), "acc": 0.5}) for step in steps])
                stream.send(*[LogLine(step, "info", f"step {step}") for step in steps])
                compact(store._engine, stream.run_id)
        for stream in streams:
            (found,) = store.series.points(stream.run_id, ["loss"], max_points=None, order="asc")
            assert [(point["step"], point["value"]) for point in found["points"]] == [(n, float(n)) for n in range(150)]
            lines = store.logs.lines(stream.run_id, Wanted(), order="asc", cursor=None, limit=1000)
            assert [row["message"] for row in lines.rows] == [f"step {n}" for n in range(150)]
    finally:
        store.close()
    for table in SPREAD:
        shares = [counted(node, table) for node in nodes]
        assert sum(shares) == RUNS and all(shares), shares
        assert counted(front, f"{table}_alone") == 0


def test_a_statement_for_a_run_asks_one_server(front: str) -> None:
    """Because it says which run: the plan has one node in it."""
    with psycopg.connect(front) as db:
        plan = db.execute("EXPLAIN SELECT steps FROM chunks WHERE run_id = 'run_1' AND key_id = 1 ORDER BY place")
        text = "\n".join(row[0] for row in plan.fetchall())
    assert text.count("Foreign Scan") == 1, text
