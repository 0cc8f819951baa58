"""Whether the process answers is one question, whether it can take in data another."""

from __future__ import annotations

import os
import threading
from collections import namedtuple
from typing import Any

import pytest

from rundial.server import health
from rundial.server.store import vitals

one_engine = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
Room = namedtuple("Room", "f_bavail f_frsize")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question looks at the store anew."""
    monkeypatch.setattr(health, "REMEMBERED_SECONDS", -1.0)


def ready(server: Any) -> tuple[int, str]:
    """The status, and what is wrong."""
    answer = server.get("/health/ready", key="")
    assert server.get("/health/live", key="").status_code == 200
    return answer.status_code, answer.json().get("error", {}).get("message", "")


def test_a_server_that_can_take_in_data_is_ready(server: Any) -> None:
    """On both databases."""
    assert ready(server) == (200, "")


def test_a_schema_of_another_version_is_not_ready(server: Any) -> None:
    """As when a newer server has migrated the database under this one."""
    newer = len(vitals.MIGRATIONS) + 1
    server.store._engine.write(lambda db: db.execute("INSERT INTO migrations VALUES (?, 0)", (newer,))).result()
    status, message = ready(server)
    server.store._engine.write(lambda db: db.execute("DELETE FROM migrations WHERE number = ?", (newer,))).result()

    assert (status, f"schema {newer}" in message) == (503, True)
    assert ready(server) == (200, "")


def test_a_writer_that_is_stuck_is_not_ready(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process still lives, and is ready again once the writer goes on."""
    monkeypatch.setattr(vitals, "ANSWER_SECONDS", 0.2)
    free = threading.Event()
    stuck = server.store._engine.write(lambda db: free.wait(20))
    found = ready(server)
    free.set()
    stuck.result()

    assert found == (503, "The database does not answer.")
    monkeypatch.setattr(vitals, "ANSWER_SECONDS", 20.0)
    assert ready(server) == (200, "")


@one_engine
def test_a_full_disk_is_not_ready(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the last block is written."""
    monkeypatch.setattr(os, "statvfs", lambda path: Room(1000, 4096))

    assert ready(server) == (503, "The disk of the data folder is full.")


@one_engine
def test_a_folder_that_cannot_be_written_is_not_ready(server: Any, tmp_path: Any) -> None:
    """As after the file system was mounted read-only; the answer does not say where it is."""
    server.store.vitals._folder = tmp_path / "gone"

    assert ready(server) == (503, "The data folder cannot be written.")


@one_engine
def test_many_questions_look_once(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask, so asking must be cheap."""
    monkeypatch.setattr(health, "REMEMBERED_SECONDS", 60.0)
    looks: list[int] = []
    look = server.store.vitals.problem
    monkeypatch.setattr(server.store.vitals.__class__, "problem", lambda self: looks.append(1) or look())

    assert [ready(server) for _ in range(5)] == [(200, "")] * 5
    assert len(looks) == 1
