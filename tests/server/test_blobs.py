"""Blobs on disk: what is acknowledged is durable and whole, what is not leaves nothing, and nothing stays for ever."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from rundial.server.store import Store
from rundial.server.store.blobs import Blobs
from rundial.server.store.purge import FINISHED_MILLISECONDS, UNFINISHED_MILLISECONDS
from rundial.server.store.refusal import Refusal
from tests.server.conftest import Sender
from tests.server.uploader import finalize, initiate, put, put_missing, sha256, upload

MIB = 1024 * 1024


class Process:
    """``rundial server`` in a process of its own, on a data folder that outlives it."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "rundial", "server", "--port", "0", "--data", str(data)]
        home = {"RUNDIAL_HOME": str(data / "home")}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | home
        )
        line = self.process.stdout.readline().decode()
        found = re.search(r"listening on (http://\S+)", line)
        assert found, line
        self.url = found[1]
        self.key = (data / "owner.key").read_text().strip()

    def post(self, path, key=None, **options):
        headers = {"authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        return requests.post(self.url + path, headers=headers, timeout=60, **options)

    def get(self, path):
        return requests.get(self.url + path, headers={"authorization": f"Bearer {self.key}"}, timeout=60)

    def memory(self):
        """Resident bytes."""
        return psutil.Process(self.process.pid).memory_info().rss

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    """Starts server processes on one data folder; what still runs is killed at the end."""
    started = []

    def begin():
        started.append(Process(tmp_path / "data"))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.kill()


def files_under(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest_of(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def begin_put(url, length):
    """A PUT whose body is still to come."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    connection.putrequest("PUT", f"{parts.path}?{parts.query}")
    connection.putheader("content-length", str(length))
    connection.endheaders()
    return connection


def wait_until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_kill_in_the_middle_of_a_put_leaves_no_half_blob(start, tmp_path):
    """Neither a file nor a part is there until all of it is; what was acknowledged is not sent again."""
    server = start()
    Sender(server, "run_a").start()
    small, large = os.urandom(3 * MIB), os.urandom(70 * MIB)
    files = {"large": large, "small": small}
    begun = initiate(server, "run_a", files, uploadKey="k")
    parts = begun["files"][0]["parts"]
    assert put(parts[0]["url"], large[: 16 * MIB]).status_code == 200
    half_file, half_part = begin_put(begun["files"][1]["url"], len(small)), begin_put(parts[1]["url"], 16 * MIB)
    half_file.send(small[: 2 * MIB])
    half_part.send(large[16 * MIB : 20 * MIB])
    uploads = tmp_path / "data" / "blobs" / "uploads"
    wait_until(lambda: sum(path.stat().st_size for path in files_under(uploads)) >= (16 + 3 + 1) * MIB)

    server.kill()
    half_file.close()
    half_part.close()
    server = start()

    blobs = tmp_path / "data" / "blobs"
    assert [path for path in files_under(blobs) if "uploads" not in path.parts] == []
    assert finalize(server, "run_a", begun).status_code == 409
    again = initiate(server, "run_a", files, uploadKey="k")
    assert [part["partNumber"] for part in again["files"][0]["parts"]] == [2, 3, 4, 5]
    put_missing(again, files)
    assert finalize(server, "run_a", again).status_code == 200
    kept = [path.read_bytes() for path in files_under(blobs) if "uploads" not in path.parts]
    assert sorted(map(sha256, kept)) == sorted(map(sha256, files.values()))
    assert files_under(uploads) == []


def test_kill_after_every_answer_loses_nothing_acknowledged(start):
    """A finalized version survives SIGKILL the moment it is answered."""
    for number in range(3):
        server = start()
        Sender(server, f"run_{number}").start()
        content = os.urandom(1000)
        artifact = upload(server, f"run_{number}", {"a": content}, name=f"n{number}")["artifact"]
        server.kill()
        server = start()
        body = {"artifactId": artifact["artifactId"], "path": "a"}
        url = server.post("/api/v1/artifacts/download", json=body).json()["url"]
        assert requests.get(url, timeout=20).content == content
        server.kill()


def test_memory_stays_flat(start, tmp_path):
    """300 MB in parts and back, and 48 MB in one piece, cost the server a few MB."""
    server = start()
    Sender(server, "run_a").start()
    large, middle = tmp_path / "large", tmp_path / "middle"
    for path, size in ((large, 300 * MIB), (middle, 48 * MIB)):
        with path.open("wb") as file:
            file.truncate(size)
    upload(server, "run_a", {"warm": b"up"})
    announced = [
        {"path": path.name, "sizeBytes": path.stat().st_size, "sha256": digest_of(path)} for path in (large, middle)
    ]
    before = most = server.memory()
    begun = initiate(server, "run_a", {}, files=announced)
    multipart, single = begun["files"]
    with large.open("rb") as file:
        for part in multipart["parts"]:
            file.seek(part["offsetBytes"])
            assert put(part["url"], file.read(part["sizeBytes"])).status_code == 200
            most = max(most, server.memory())
    with middle.open("rb") as file:
        assert put(single["url"], file).status_code == 200
    most = max(most, server.memory())
    artifact = finalize(server, "run_a", begun).json()["artifact"]
    most = max(most, server.memory())
    body = {"artifactId": artifact["artifactId"], "path": "large"}
    url = server.post("/api/v1/artifacts/download", json=body).json()["url"]
    with requests.get(url, stream=True, timeout=60) as answer:
        assert sum(len(piece) for piece in answer.iter_content(MIB)) == 300 * MIB
    most = max(most, server.memory())

    assert most - before < 32 * MIB


def test_a_second_sender_of_a_part_takes_over(server, send_to):
    """A client that lost its connection and tries again does not wait for the server to notice."""
    send_to("run_a").start()
    content = os.urandom(70 * MIB)
    begun = initiate(server, "run_a", {"a": content})
    part = begun["files"][0]["parts"][0]
    hanging = begin_put(part["url"], 16 * MIB)
    hanging.send(bytes(2 * MIB))
    wait_until(lambda: server.store.blobs._parts)

    assert put(part["url"], content[: 16 * MIB]).status_code == 200
    hanging.send(bytes(14 * MIB))

    assert hanging.getresponse().status == 409
    hanging.close()
    put_missing(begun, {"a": content})
    assert finalize(server, "run_a", begun).status_code == 200


def test_whoever_is_late_cannot_write_into_what_is_whole(tmp_path):
    """Once the parts are hashed nobody has a hand in them, however early he began."""
    blobs = Blobs(tmp_path / "blobs")
    digest = sha256(b"good")
    late = blobs.receive_part("upl_a", digest, 1, 0, 4)
    good = blobs.receive_part("upl_a", digest, 1, 0, 4)
    good.write(b"good")
    good.settle()
    later = blobs.receive_part("upl_a", digest, 1, 0, 4)

    assert blobs.is_whole("upl_a", digest, 4)
    for writer in (late, later):
        with pytest.raises(Refusal):
            writer.write(b"evil")
    blobs.join("upl_a", digest)
    assert blobs.path(digest).read_bytes() == b"good"


def test_no_room_is_said_and_tried_again(server, send_to, monkeypatch):
    """A full disk is a 507, which clients retry, and leaves nothing half."""
    send_to("run_a").start()
    begun = initiate(server, "run_a", {"a": b"12345"})

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        answer = put(begun["files"][0]["url"], b"12345")

    assert answer.status_code == 507
    assert put(begun["files"][0]["url"], b"12345").status_code == 200


# -- the purge -----------------------------------------------------------------------------------------------------


def now():
    return time.time_ns() // 1_000_000


def blobs_of(server):
    return sorted(digest for digests in server.store.blobs.all() for digest in digests)


def test_what_nothing_refers_to_is_removed(server, send_to):
    """Content shared with another version, or with media, stays until the last is gone."""
    send_to("run_a").start()
    media = {"key": "k", "step": 0, "mediaType": "text"}
    first = upload(server, "run_a", {"a": b"shared", "b": b"own"})["artifact"]["artifactId"]
    second = upload(server, "run_a", {"a": b"shared"}, name="other")["artifact"]["artifactId"]
    upload(server, "run_a", {"a": b"media"}, media=media)
    purge = server.store._purge

    purge.run(now())
    assert len(blobs_of(server)) == 3
    server.call("DELETE", f"/api/v1/artifacts/{first}")
    purge.run(now())
    assert blobs_of(server) == sorted([sha256(b"shared"), sha256(b"media")])
    server.call("DELETE", f"/api/v1/artifacts/{second}")
    upload(server, "run_a", {"a": b"newer"}, media=media)
    purge.run(now())
    assert blobs_of(server) == [sha256(b"newer")]
    assert upload(server, "run_a", {"a": b"shared"})["artifact"]["version"] == 2


def test_unfinished_uploads_go_after_a_day(server, send_to):
    """With their files and parts; a finished one is remembered for a week, and its version for ever."""
    send_to("run_a").start()
    begun = initiate(server, "run_a", {"a": b"1", "b": b"2"})
    assert put(begun["files"][0]["url"], b"1").status_code == 200
    done = upload(server, "run_a", {"c": b"3"}, uploadKey="done")
    purge = server.store._purge

    purge.run(now() + UNFINISHED_MILLISECONDS - 60_000)
    assert sha256(b"1") in blobs_of(server)
    purge.run(now() + UNFINISHED_MILLISECONDS + 1000)
    assert blobs_of(server) == [sha256(b"3")]
    assert put(begun["files"][1]["url"], b"2").status_code == 409
    assert finalize(server, "run_a", begun).status_code == 404
    same = initiate(server, "run_a", {"c": b"3"}, uploadKey="done")
    assert finalize(server, "run_a", same).json() == done
    purge.run(now() + FINISHED_MILLISECONDS + 1000)
    purge.run(now())
    assert initiate(server, "run_a", {"c": b"3"}, uploadKey="done")["uploadId"] != same["uploadId"]
    assert blobs_of(server) == [sha256(b"3")]


def test_a_start_removes_what_the_database_does_not_know(tmp_path):
    """A stop between the file and its row leaves a blob of nobody."""
    data = tmp_path / "data"
    Store(data).close()
    stray = data / "blobs" / "ab" / ("ab" * 32)
    stray.parent.mkdir()
    stray.write_bytes(b"stray")
    upload_folder = data / "blobs" / "uploads" / "upl_gone"
    upload_folder.mkdir()
    (upload_folder / "part").write_bytes(b"x")
    store = Store(data)
    try:
        store._purge.sweep()
    finally:
        store.close()

    assert files_under(data / "blobs") == []


def test_uploads_of_one_run_are_bounded(server, send_to, monkeypatch):
    """Whoever begins uploads without end is told to finish them."""
    send_to("run_a").start()
    monkeypatch.setattr("rundial.server.store.uploads.MAX_OPEN", 3)
    begun = [initiate(server, "run_a", {"a": bytes([number])}) for number in range(3)]
    body = {"runId": "run_a", "name": "n", "files": [{"path": "a", "sizeBytes": 0, "sha256": sha256(b"")}]}

    assert server.post("/api/v1/artifacts/initiate", json=body).status_code == 429
    put_missing(begun[0], {"a": bytes([0])})
    assert finalize(server, "run_a", begun[0]).status_code == 200
    assert server.post("/api/v1/artifacts/initiate", json=body).status_code == 200
