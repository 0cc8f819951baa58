"""A backup that is made while a server writes is whole, and what is restored is what was acknowledged before."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rundial.events import LogLine, Metrics, RunEnd
from rundial.server.store import backup, dumps
from rundial.server.store.backup import back_up
from rundial.server.store.check import check
from rundial.server.store.engine import StoreError
from rundial.server.store.looking import looking
from rundial.server.store.restore import restore
from tests.server.command import RUNDIAL
from tests.server.conftest import RunningServer, Sender, serving
from tests.server.uploader import download, upload

one_engine = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
Database = Callable[[Path], str | None]


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`rundial server ARGUMENTS`."""
    return subprocess.run([*RUNDIAL, "server", *arguments], capture_output=True, text=True, timeout=60, check=False)


def fill(server: RunningServer, run_id: str = "run_a") -> str:
    """A run that has ended, with numbers, texts, a log and a file; the id of its artifact."""
    sender = Sender(server, run_id, project="default-project")
    sender.start()
    steps = [Metrics(time.time_ns(), step, {"loss": 1 / (step + 1), "phase": f"p{step % 3}"}) for step in range(500)]
    sender.send(*steps)
    sender.send(*(LogLine(time.time_ns(), "info", f"line {n}", "stdout") for n in range(300)))
    artifact = upload(server, run_id, {"weights": b"weights" * 1000, "note": run_id.encode()})["artifact"]
    sender.send(RunEnd(time.time_ns(), "completed"))
    return str(artifact["artifactId"])


def problems(data: Path, url: str | None) -> list[Any]:
    with looking(data, url) as read:
        return check(read, data, is_sqlite=url is None).problems


@contextmanager
def writing(server: RunningServer) -> Any:
    """A client that logs and uploads all the time; what it was told is counted in the list that it gives."""
    told = [0, 0]
    stop = threading.Event()
    sender = Sender(server, "run_busy", project="default-project")
    sender.start()

    def work() -> None:
        while not stop.is_set():
            records = [Metrics(time.time_ns(), told[0] + n, {"a": 1.0, "b": float(n)}) for n in range(50)]
            assert sender.send(*records).status_code == 200
            told[0] += 50
            upload(server, "run_busy", {"x": os.urandom(2000)}, name=f"file-{told[1]}")
            told[1] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while not told[1]:
            time.sleep(0.01)
        yield told
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("name", ["saved", "saved.tar", "saved.tar.gz"])
def test_a_backup_under_load_holds_what_was_acknowledged(
    tmp_path: Path, database: Database, name: str, request: pytest.FixtureRequest
) -> None:
    """All that was acknowledged before it began is in it, and what it has fits together."""
    data, target, again = tmp_path / "data", tmp_path / name, tmp_path / "again"
    with serving(data, database(data)) as server:
        artifact = fill(server)
        with writing(server) as told:
            before = list(told)
            manifest = back_up(data, database(data), target)
            after = list(told)
        run = server.get("/api/v1/runs/run_a").json()
        key = server.key

    url = None if database(data) is None else request.getfixturevalue("cluster").empty()
    restore(target, again, url)

    assert problems(again, url) == []
    assert stat.S_IMODE(target.stat().st_mode) & 0o077 == 0
    with serving(again, url) as server:
        assert server.key == key
        assert server.get("/api/v1/runs/run_a").json() == run
        content = download(server, artifact, "weights").content
        busy = server.get("/api/v1/runs/run_busy").json()
        files = server.get("/api/v1/runs/run_busy/artifacts?limit=1000").json()["artifacts"]
    assert content == b"weights" * 1000
    assert 2 * before[0] <= busy["points"] <= 2 * (after[0] + 50)
    assert before[1] <= len(files) <= after[1] + 1
    assert (manifest.runs, manifest.damaged, manifest.files) == (2, [], "disk")


def test_the_commands_back_up_restore_and_check(
    tmp_path: Path, database: Database, request: pytest.FixtureRequest
) -> None:
    """As an operator types them, beside a server that runs; nothing is restored over anything."""
    data, target, again = tmp_path / "data", tmp_path / "saved", tmp_path / "again"
    url = database(data)
    where = [] if url is None else ["--database", url]
    with serving(data, url) as server:
        fill(server)
        checked = run_command("check", "--data", str(data), *where)
        saved = run_command("backup", str(target), "--data", str(data), *where)
        twice = run_command("backup", str(target), "--data", str(data), *where)
    if url is not None:
        refused = run_command("restore", str(target), "--data", str(again), *where)
        assert "has tables already" in refused.stderr
        where = ["--database", request.getfixturevalue("cluster").empty()]
    restored = run_command("restore", str(target), "--data", str(again), *where, "--json")
    over = run_command("restore", str(target), "--data", str(again), *where)
    quick = run_command("check", "--data", str(again), *where, "--quick", "--json")

    assert (checked.returncode, "Everything holds together." in checked.stdout) == (0, True), checked
    assert saved.returncode == 0, saved.stderr
    assert "1 runs, 1,000 points, 2 files" in saved.stdout
    assert (twice.returncode, "is there already" in twice.stderr) == (1, True)
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["manifest"]["points"] == 1000
    assert (over.returncode, "is not empty" in over.stderr) == (1, True)
    assert json.loads(quick.stdout)["whole"] is True
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("what", ["database", "file", "manifest", "missing", "stranger", "format"])
@one_engine
def test_a_damaged_backup_is_refused_and_leaves_nothing(tmp_path: Path, database: Database, what: str) -> None:
    """Each byte is compared with what the backup says of itself."""
    data, target, again = tmp_path / "data", tmp_path / "saved", tmp_path / "again"
    with serving(data, None) as server:
        fill(server)
        back_up(data, None, target)
    blob = next((target / "blobs").glob("*/*"))
    manifest = target / "manifest.json"
    if what == "database":
        flip(target / "rundial.db", 5000)
    elif what == "file":
        flip(blob, 3)
    elif what == "manifest":
        manifest.unlink()
    elif what == "missing":
        blob.unlink()
    elif what == "stranger":
        (target / "extra").write_text("x")
    else:
        manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 99'))

    with pytest.raises(StoreError):
        restore(target, again, None)
    assert not again.exists()


def flip(path: Path, place: int) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(data)


@one_engine
def test_an_archive_that_leads_elsewhere_is_refused(tmp_path: Path, database: Database) -> None:
    """Names that climb, and links, never become files."""
    for number, name in enumerate(("../outside", "/tmp/outside", "blobs/../../outside")):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w") as tar:
            tar.addfile(tarfile.TarInfo(name))
        with pytest.raises(StoreError):
            restore(path, tmp_path / "again", None)
    link = tarfile.TarInfo("rundial.db")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        tar.addfile(link)
    with pytest.raises(StoreError):
        restore(tmp_path / "link.tar", tmp_path / "again", None)
    assert not (tmp_path / "again").exists() and not (tmp_path.parent / "outside").exists()


@one_engine
def test_a_backup_that_fails_leaves_nothing(tmp_path: Path, database: Database, monkeypatch: Any) -> None:
    """No half a backup that looks like one, and no temporary files."""
    with serving(tmp_path / "data", None) as server:
        fill(server)

        def full(*arguments: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(backup, "sync", full)
        monkeypatch.setattr(backup, "_described", full)
        for name in ("saved", "saved.tar"):
            with pytest.raises(StoreError, match="No space left"):
                back_up(tmp_path / "data", None, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir() if "saved" in path.name or path.name[0] == "."] == []


@one_engine
def test_a_file_that_is_removed_meanwhile_is_no_hole(tmp_path: Path, database: Database, monkeypatch: Any) -> None:
    """The database is copied again when it speaks of a file that a purge has just taken away."""
    data = tmp_path / "data"
    with serving(data, None) as server:
        fill(server)
        made = backup._described
        calls: list[int] = []

        def racing(*arguments: Any) -> Any:
            snapshot = made(*arguments)
            calls.append(1)
            if len(calls) > 1:
                return snapshot
            # between the copy of the database and that of the newest files: one comes, and goes
            gone = hashlib.sha256(b"gone").hexdigest()
            return snapshot._replace(blobs={**snapshot.blobs, gone: 4})

        monkeypatch.setattr(backup, "_described", racing)
        manifest = back_up(data, None, tmp_path / "saved")

    assert (len(calls), manifest.damaged, manifest.blobs) == (2, [], 2)


@one_engine
def test_a_missing_file_is_named(tmp_path: Path, database: Database) -> None:
    """The rest is backed up all the same."""
    data = tmp_path / "data"
    with serving(data, None) as server:
        fill(server)
        digest = hashlib.sha256(b"run_a").hexdigest()
        server.store.blobs.path(digest).unlink()
        saved = run_command("backup", str(tmp_path / "saved"), "--data", str(data))

    assert (saved.returncode, digest in saved.stdout) == (1, True), saved
    assert restore(tmp_path / "saved", tmp_path / "again", None).damaged == [digest]


def test_programs_that_are_missing_are_named(monkeypatch: Any) -> None:
    """With what to install."""
    monkeypatch.setattr(dumps, "INSTALLED", Path("/nowhere"))
    monkeypatch.setenv("PATH", "")

    with pytest.raises(StoreError, match="postgresql-client"):
        dumps.find("pg_dump")
