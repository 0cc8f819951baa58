"""A checkpoint reaches S3 by signed addresses and comes back whole: also after SIGKILL, and when S3 was away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.flows.conftest import ServerProcess
from tests.server import s3
from tests.server.s3 import S3Server

MIB = 2**20
PLACE = f"s3://{s3.BUCKET}/flows"
LOG = """
    import sys
    import rundial as rd
    run = rd.init(project="s3", name=sys.argv[2], endpoint=sys.argv[1], quiet=True)
    for path in sys.argv[3:]:
        assert run.log_artifact(path)
    run.log({"loss": 1.0}, step=0)
    print(run.id, flush=True)
    print(run.finish(60), flush=True)
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Server]:
    yield from s3.running()


@pytest.fixture(scope="module")
def server(bucket: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that keeps its files in the bucket; it sees none of the spools."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNDIAL_ARTIFACTS", PLACE)
        process = ServerProcess(tmp_path_factory.mktemp("server") / "data", watched=False)
    yield process
    process.stop()


@pytest.fixture(autouse=True)
def key(server: ServerProcess, bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Scripts have the key of the server, and nothing that is of AWS."""
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    for name in bucket.environment:
        monkeypatch.delenv(name, raising=False)
    yield
    bucket.fault = lambda method, path: None
    bucket.puts.clear()
    bucket.gets.clear()


def until(ready: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def versions(server: ServerProcess, run_id: str) -> list[dict]:
    return list(server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"])


def test_files_checkpoints_and_media_go_to_the_bucket_and_come_back(server, bucket, script):
    """Small files, three checkpoints of which two are kept, an image; `use_artifact` brings back what was logged."""
    code = """
        import os, sys
        from pathlib import Path
        import numpy as np
        import rundial as rd
        run = rd.init(project="s3", name="all", endpoint=sys.argv[1], quiet=True)
        Path("folder/sub").mkdir(parents=True)
        Path("folder/empty").touch()
        Path("folder/sub/größe.bin").write_bytes(os.urandom(5000))
        run.log_artifact("folder", name="data")
        for step in range(3):
            Path("w.bin").write_bytes(bytes([step]) * 1000)
            run.checkpoint("w.bin", step=step, keep_last=2)
            run.flush(20)
        run.log({"image": rd.Image(np.zeros((4, 4, 3), np.uint8))}, step=1)
        assert run.flush(20)
        there = run.use_artifact("data").download("back")
        for name in ("empty", "sub/größe.bin"):
            assert (Path(there) / name).read_bytes() == (Path("folder") / name).read_bytes()
        last = run.use_artifact("checkpoint:latest").get_path("w.bin", "last")
        assert Path(last).read_bytes() == bytes([2]) * 1000
        print(run.id)
        assert run.finish(20)
    """
    run_id = script(code, server.url).output()[0].split()[0]

    made = [it for it in versions(server, run_id) if it["role"] == "made"]
    assert sorted((it["name"], it["version"]) for it in made) == [("checkpoint", 2), ("checkpoint", 3), ("data", 1)]
    (image,) = server.get(f"/api/v1/runs/{run_id}/media")["items"]
    shown = server._session.get(server.url + image["url"], timeout=20)
    assert shown.url.startswith(bucket.url) and shown.content.startswith(b"\x89PNG")
    assert len(bucket.puts) == len(set(bucket.puts)) == 6
    assert bucket.denied == []
    assert not [path for path in (server.data / "blobs").rglob("*") if path.is_file()]


def test_two_hundred_megabytes_go_in_parts_with_flat_memory(server, bucket, script):
    """A sparse file: neither the training process nor the server ever has more than a little of it in memory."""
    code = """
        import resource, sys
        import rundial as rd
        with open("sparse.bin", "wb") as file:
            file.truncate(200 * 2**20)
            file.seek(123 * 2**20)
            file.write(b"needle")
        run = rd.init(project="s3", name="sparse", endpoint=sys.argv[1], quiet=True)
        open("first.txt", "w").write("first")
        run.log_artifact("first.txt")
        assert run.flush(20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run.log_artifact("sparse.bin")
        assert run.flush(100)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        there = run.use_artifact("sparse.bin").get_path("sparse.bin", "back")
        with open(there, "rb") as file:
            file.seek(123 * 2**20)
            assert file.read(6) == b"needle"
        print(run.id, grown // 1024)
        assert run.finish(20)
    """
    bucket.checked = 0
    memory = psutil.Process(server.process.pid).memory_info
    before = memory().rss
    run_id, grown = script(code, server.url).output(150)[0].split()

    parts = [key for key in bucket.puts if "#" in key]
    assert len(parts) == len(set(parts)) == 13
    assert bucket.checked == len(bucket.puts)
    assert int(grown) < 32
    assert memory().rss - before < 64 * MIB
    assert any(it["sizeBytes"] == 200 * MIB for it in versions(server, run_id))


def test_killed_in_the_middle_of_an_upload(server, bucket, script):
    """SIGKILL after some parts: sync sends the others, and none that S3 had acknowledged."""
    with Path("model.bin").open("wb") as file:
        file.write(os.urandom(100))
        file.truncate(100 * MIB)
    bucket.fault = lambda method, path: time.sleep(0.2) if method == "PUT" else None
    process = script(LOG, server.url, "killed", "model.bin")
    run_id = process.stdout.readline().decode().strip()
    until(lambda: len(bucket.puts) >= 3)
    process.kill()
    process.wait()
    time.sleep(0.5)  # what S3 was reading when its client died
    before = len(bucket.puts)
    bucket.fault = lambda method, path: None

    command = [sys.executable, "-m", "rundial", "sync", "--endpoint", server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=os.environ)

    assert (done.returncode, done.stderr) == (0, "")
    assert 3 <= before < 7
    assert len(bucket.puts) == len(set(bucket.puts)) == 7
    (version,) = versions(server, run_id)
    assert (version["name"], version["sizeBytes"]) == ("model.bin", 100 * MIB)


def test_s3_away_for_a_while_loses_nothing(server, bucket, script):
    """Metrics arrive meanwhile; the files wait in the spool and go when S3 is back."""
    contents = {f"{number}.bin": os.urandom(1000) for number in range(5)}
    for name, content in contents.items():
        Path(name).write_bytes(content)
    bucket.stop()
    try:
        process = script(LOG, server.url, "away", *contents)
        run_id = process.stdout.readline().decode().strip()
        until(lambda: server.points(run_id, "loss"))
        assert versions(server, run_id) == []
    finally:
        bucket.start()

    out, err = process.communicate(timeout=90)
    assert (process.returncode, out.split()[-1]) == (0, b"True"), err
    assert sorted(it["name"] for it in versions(server, run_id)) == sorted(contents)


def test_an_answer_of_s3_that_is_no_success_is_tried_again(server, bucket, script):
    """Slow down, a failure inside, and an address that is refused once: the file arrives all the same."""
    answers = ["503 SlowDown", "500 InternalError", "403 AccessDenied"]
    bucket.fault = lambda method, path: answers.pop() if method == "PUT" and "blobs" in path and answers else None
    Path("w.bin").write_bytes(os.urandom(1000))

    out = script(LOG, server.url, "refused", "w.bin").output(90)[0].split()

    assert out[1] == "True" and not answers
    assert len(versions(server, out[0])) == 1


def test_a_file_that_s3_finds_damaged_is_kept_and_counted(server, bucket, script):
    """After three tries the upload is set aside, with its reason; the others go on."""
    bucket.fault = lambda method, path: "400 BadDigest" if method == "PUT" and "/blobs/" in path else None
    Path("w.bin").write_bytes(os.urandom(1000))
    code = """
        import sys
        import rundial as rd
        run = rd.init(project="s3", endpoint=sys.argv[1], quiet=True)
        run.log_artifact("w.bin")
        run.flush(20)
        print(run.diagnostics().artifacts_dropped)
        run.finish(20)
    """

    out, err = script(code, server.url).output(90)

    assert "{'rejected': 1}" in out and "BadDigest" in err
    assert len([path for path in Path(".rundial_spool/rejected").rglob("*") if path.is_file()]) == 2
