"""What was deleted can be had back for a week; then it goes, with what nothing else refers to, and nothing more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rundial.events import Metrics, RunEnd
from rundial.server.store import purge as purging
from rundial.server.store.check import check
from rundial.server.store.looking import looking
from rundial.server.store.run_edits import KEEP_MILLISECONDS
from tests.server.conftest import RunningServer, Sender, serving
from tests.server.uploader import download, sha256, upload

ROUNDS = 12
UPLOADERS = 3


def now() -> int:
    return time.time_ns() // 1_000_000


def ended(server: RunningServer, run_id: str) -> None:
    """A run with points that has ended."""
    sender = Sender(server, run_id, project="default-project")
    sender.start()
    sender.send(Metrics(time.time_ns(), 0, {"loss": 1.0}), RunEnd(time.time_ns(), "completed"))


def ask(server: RunningServer, what: str, run_id: str) -> int:
    return server.post(f"/api/v1/runs/{what}", json={"runIds": [run_id]}).status_code


def test_a_deletion_can_be_undone_until_the_purge(server: Any) -> None:
    """A week to the day; after that the run is gone for good, with all it had."""
    for run_id in ("run_a", "run_b"):
        ended(server, run_id)
        assert ask(server, "delete", run_id) == 200
        assert server.get(f"/api/v1/runs/{run_id}").status_code == 404
    purge = server.store._purge

    purge.run(now() + KEEP_MILLISECONDS - 60_000)
    assert ask(server, "restore", "run_a") == 200
    assert server.get("/api/v1/runs/run_a").json()["points"] == 1
    purge.run(now() + KEEP_MILLISECONDS + 60_000)

    assert server.get("/api/v1/runs/run_a").status_code == 200
    assert ask(server, "restore", "run_b") == 404
    with server.store._engine.read() as db:
        left = [
            db.execute(f"SELECT count(*) FROM {table} WHERE run_id = 'run_b'").fetchone()[0]
            for table in ("runs", "streams", "inbox", "chunks", "metric_keys", "markers")
        ]
    assert left == [0] * 6


def test_a_pass_removes_a_bounded_number(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer has others to serve; the next pass goes on."""
    monkeypatch.setattr(purging, "PASS_ROWS", 3)
    ended(server, "run_a")
    for number in range(7):
        made = upload(server, "run_a", {"f": b"%d" % number}, name=f"file-{number}")
        server.call("DELETE", f"/api/v1/artifacts/{made['artifact']['artifactId']}")
    left = []
    for _ in range(3):
        server.store._purge.run(now())
        left.append(sum(len(digests) for digests in server.store.blobs.all()))

    assert left == [4, 1, 0]


def test_uploads_in_flight_lose_nothing_to_the_purge(tmp_path: Path, database: Callable[[Path], str | None]) -> None:
    """The same contents come and go all the time, while purges and sweeps run one after another."""
    stop = threading.Event()
    failures: list[str] = []
    with serving(tmp_path, database(tmp_path)) as server:
        ended(server, "run_a")

        def clean() -> None:
            while not stop.is_set():
                server.store._purge.run(now())
                server.store._purge.sweep()

        def work(worker: int) -> None:
            try:
                for number in range(ROUNDS):
                    files = {"shared": b"shared %d" % (number % 2), "own": b"%d %d" % (worker, number)}
                    made = upload(server, "run_a", files, name=f"name-{worker}")["artifact"]["artifactId"]
                    for path, content in files.items():
                        if download(server, made, path).content != content:
                            failures.append(f"{made} {path}")
                    if number % 3:
                        server.call("DELETE", f"/api/v1/artifacts/{made}")
            except AssertionError as error:
                failures.append(str(error))

        cleaner = threading.Thread(target=clean)
        workers = [threading.Thread(target=work, args=(worker,)) for worker in range(UPLOADERS)]
        for thread in (cleaner, *workers):
            thread.start()
        for thread in workers:
            thread.join()
        stop.set()
        cleaner.join()
        server.store._purge.run(now())
        kept = {digest for digests in server.store.blobs.all() for digest in digests}
        with looking(tmp_path, database(tmp_path)) as read:
            report = check(read, tmp_path, is_sqlite=database(tmp_path) is None)

    wanted = {sha256(b"%d %d" % (worker, number)) for worker in range(UPLOADERS) for number in range(0, ROUNDS, 3)}
    assert failures == []
    assert report.problems == []
    assert kept == wanted | {sha256(b"shared 0"), sha256(b"shared 1")}
