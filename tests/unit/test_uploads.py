"""Uploads: staged at the call, journalled, sent by threads that come and go, and what every answer means."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rundial as rd
from rundial.staging import Changed, File, Job, job_folders, open_staged, read_job, settle, stage_file, write_job
from rundial.testing import capture_run
from tests.unit.store_server import PART, StoreServer

BIG = 2_000_000
SPOOL = Path(".rundial_spool")


@pytest.fixture
def store() -> Iterator[StoreServer]:
    with StoreServer() as server:
        yield server


def start(store, **options):
    return rd.init(project="p", endpoint=store.url, api_key="key", quiet=True, **options)


def pattern(size, seed=0):
    return bytes((seed + number // 7) % 251 for number in range(size // 1000)) * 1000


def until(ready, seconds=20):
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def jobs():
    return [folder for stream in SPOOL.iterdir() if stream.is_dir() for folder in job_folders(stream)]


def item(content=b"pixels", key="samples"):
    """What media hands in: something that writes a file and says what it is."""

    def prepare(folder):
        (folder / "files" / "image.png").write_bytes(content)
        return Job("media", [File("image.png", staged="image.png")], media={"key": key, "step": 1})

    return prepare


# -- a file as it was at the call --------------------------------------------------------------------------------------


def staged(tmp_path, content, small=False):
    source, folder = tmp_path / "source.bin", tmp_path / "job"
    source.write_bytes(content)
    (folder / "files").mkdir(parents=True)
    return source, folder, Job("a", [stage_file(source, folder, "0", "source.bin", small)])


def test_a_small_file_is_a_copy_and_a_large_one_a_link(tmp_path):
    """A copy shares nothing with the original; a link takes no room and no time."""
    source, folder, job = staged(tmp_path, b"x" * 1000, small=True)
    assert (job.files[0].shared, job.copied) == (False, 1000)
    link = stage_file(source, folder, "1", "source.bin", small=False)
    assert (link.shared, (folder / "files/1").samefile(source)) == (True, True)


def test_a_file_replaced_after_the_call_is_still_the_old_one(tmp_path):
    """A checkpoint written beside and renamed over the last one leaves the staged one whole."""
    source, folder, job = staged(tmp_path, pattern(BIG))
    (tmp_path / "new").write_bytes(pattern(BIG, 9))
    (tmp_path / "new").replace(source)
    settle(folder, job)
    assert (folder / "files/0").read_bytes() == pattern(BIG)


@pytest.mark.parametrize("change", ["content", "length", "during"])
def test_a_file_written_into_after_the_call_is_changed(tmp_path, change):
    """The same inode with another content is reported, also when it changes in the midst of being read."""
    source, folder, job = staged(tmp_path, pattern(3 * BIG))
    pieces = []

    def write(data=b"other"):
        with source.open("r+b") as file:
            file.write(data)
            if change == "length":
                file.truncate(100)

    def pause():
        pieces.append(1)
        if change == "during" and len(pieces) == 2:
            write()

    if change != "during":
        write()
    os.utime(source)
    if change == "during":
        job.files[0].mtime_ns = source.stat().st_mtime_ns
        time.sleep(0.02)
    with pytest.raises(Changed):
        settle(folder, job, pause)


def test_a_file_that_cannot_be_linked_is_copied_in_the_background(tmp_path, monkeypatch):
    """On another device it is remembered, copied by the staging thread, and reported if it changed meanwhile."""
    monkeypatch.setattr(os, "link", _refuse_link)
    source, folder, job = staged(tmp_path, pattern(BIG))
    assert (job.files[0].staged, job.copied) == (None, BIG)
    settle(folder, job)
    assert (folder / "files/0").read_bytes() == pattern(BIG)
    late = stage_file(source, folder, "1", "source.bin", small=False)
    source.unlink()
    with pytest.raises(Changed, match="removed"):
        settle(folder, Job("a", [late]))


def _refuse_link(*_args, **_options):
    raise OSError(18, "Invalid cross-device link")


def test_where_files_can_be_cloned_a_link_becomes_a_clone(tmp_path, monkeypatch):
    """On a file system with reflinks what is written into the original afterwards changes nothing."""
    source, folder, job = staged(tmp_path, pattern(BIG))

    def clone(target, request, origin):
        assert request == 0x40049409
        os.sendfile(target, origin, 0, BIG)

    monkeypatch.setattr("fcntl.ioctl", clone)
    monkeypatch.setattr("rundial.staging._without_clones", set())
    settle(folder, job)
    source.write_bytes(b"the next step")
    assert (job.files[0].shared, (folder / "files/0").read_bytes()) == (False, pattern(BIG))
    os.close(open_staged(folder, job.files[0]))


def test_a_moved_job_is_judged_by_its_content(tmp_path):
    """A copied spool has other inodes and times; it is settled all the same."""
    _, folder, job = staged(tmp_path, pattern(BIG))
    write_job(folder, job)
    content = (folder / "files/0").read_bytes()
    (folder / "files/0").unlink()
    (folder / "files/0").write_bytes(content)
    os.utime(folder / "files/0", (1, 1))
    settle(folder, read_job(folder))
    assert read_job(folder).settled


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_bounds_refuse_and_count(store):
    """Beyond a number of uploads or of staged bytes the newest are refused; the account adds up."""
    with capture_run(artifact_queue_capacity=3) as (run, _):
        with pytest.warns(RuntimeWarning, match="artifact_queue_capacity"):
            taken = [run._pipeline.uploads.submit(item()) for _ in range(5)]
        account = run.diagnostics()
    assert taken == [True] * 3 + [False] * 2
    assert (account.media_logged, account.media_pending, account.media_dropped) == (5, 3, {"queue_full": 2})
    with capture_run(artifact_staging_bytes=2500) as (run, _):
        Path("a.txt").write_bytes(b"x" * 1000)
        with pytest.warns(RuntimeWarning, match="artifact_staging_bytes"):
            assert [run.log_artifact("a.txt") for _ in range(3)] == [True, True, False]
        assert run.diagnostics().artifacts_dropped == {"staging_full": 1}


def test_what_prepare_raises_costs_only_itself(store):
    """One image that cannot be encoded is counted and warned about; the next one arrives."""

    def broken(folder):
        raise ValueError("an image of 0 x 0 pixels")

    run = start(store)
    with pytest.warns(RuntimeWarning, match="0 x 0 pixels"):
        assert run._pipeline.uploads.submit(broken)
        run._pipeline.uploads.submit(item())
        assert run.finish(10)
    account = run.diagnostics()
    assert (account.media_uploaded, account.media_dropped, account.health) == (1, {"invalid": 1}, "degraded")
    assert store.versions[0]["media"] == {"key": "samples", "step": 1}


def test_what_prepare_emits_comes_before_the_end(store):
    """A record that depends on what is written in the background is in the stream before its end."""
    run = start(store)
    pipeline = run._pipeline

    def slow(folder):
        time.sleep(0.1)
        run.event("written")
        return item()(folder)

    pipeline.uploads.submit(slow)
    run.finish(10)
    kinds = [type(event).__name__ for event in store.records.events]
    assert kinds.index("RunEnd") == len(kinds) - 1


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 503])
@pytest.mark.parametrize("route", ["initiate", "put", "finalize"])
def test_a_server_in_trouble_is_asked_again(store, status, route):
    """Each step is repeated, nothing that was taken is sent twice, and flush is false meanwhile."""
    failures = []

    def fault(method, path):
        if f"/{route}" in path and len(failures) < 2:
            failures.append(path)
            return status
        return None

    store.fault = fault
    Path("model.bin").write_bytes(pattern(BIG))
    run = start(store)
    run.log_artifact("model.bin")
    assert run.finish(20)
    assert store.contents("model.bin") == [{"model.bin": pattern(BIG)}]
    assert len(failures) == 2
    assert len(set(store.puts)) == len(store.puts) == -(-BIG // PART)


@pytest.mark.parametrize("status", [None, 503])
def test_versions_arrive_in_their_order(store, status):
    """Several threads send, the first version meets a slow server or one in trouble, and is the first all the same."""
    initiated = []

    def fault(method, path):
        if "/initiate" not in path:
            return None
        initiated.append(path)
        if len(initiated) > 1:
            return None
        time.sleep(0.3)
        return status

    store.fault = fault
    run = start(store, artifact_concurrency=4)
    for version in range(4):
        Path("model.bin").write_bytes(bytes([version]))
        run.log_artifact("model.bin", name="model")
    assert run.finish(20)
    assert store.contents("model") == [{"model.bin": bytes([version])} for version in range(4)]


def test_a_refused_key_holds_everything(store):
    """401 is said once; the upload waits in its journal and is not lost."""
    store.fault = lambda method, path: 401 if "artifacts" in path else None
    run = start(store)
    run._pipeline.uploads.submit(item())
    with pytest.warns(RuntimeWarning, match="tried again each minute"):
        until(lambda: run._pipeline.uploads.verdict)
    assert run.diagnostics().health == "degraded"
    assert not run.finish(0.1)
    assert len(jobs()) == 1


def test_a_refused_upload_is_set_aside(store):
    """A 400 is final: the files are kept in `rejected`, counted, and the neighbours go on."""
    store.fault = lambda method, path: 400 if "initiate" in path and not Path("fine").exists() else None
    run = start(store)
    run._pipeline.uploads.submit(item(b"first"))
    with pytest.warns(RuntimeWarning, match="kept in"):
        until(lambda: run.diagnostics().media_dropped)
    Path("fine").touch()
    run._pipeline.uploads.submit(item(b"second"))
    assert run.finish(10)
    (kept,) = (SPOOL / "rejected").iterdir()
    assert (kept / "files/image.png").read_bytes() == b"first"
    assert [version["content"]["image.png"] for version in store.versions] == [b"second"]


def test_an_expired_address_is_asked_for_again(store):
    """A 403 for a part begins the same upload anew, without the parts that are there."""
    refused = []

    def fault(method, path):
        if method == "PUT" and path.endswith("/7") and not refused:
            refused.append(path)
            return 403
        return None

    store.fault = fault
    Path("model.bin").write_bytes(pattern(BIG))
    run = start(store)
    run.log_artifact("model.bin")
    assert run.finish(20)
    assert len(store.uploads) == 1
    assert len(set(store.puts)) == len(store.puts) == -(-BIG // PART)
    assert sum("initiate" in call for call in store.calls) == 2


def test_parts_that_are_lost_are_sent_again(store):
    """When the server finds another content in the end, the upload goes on from what lacks."""
    Path("model.bin").write_bytes(pattern(BIG))
    run = start(store)
    broken = []

    def fault(method, path):
        if "finalize" in path and not broken:
            broken.append(path)
            got = next(iter(store.uploads.values()))["got"]
            got[0, 3] = b"torn"
        return None

    store.fault = fault
    run.log_artifact("model.bin")
    assert run.finish(20)
    assert store.contents("model.bin") == [{"model.bin": pattern(BIG)}]


def test_a_file_written_into_while_it_is_sent_is_reported(store):
    """Half of it is at the server when the next checkpoint goes into the same file: no version becomes visible."""
    Path("model.bin").write_bytes(pattern(BIG))
    run = start(store)

    def fault(method, path):
        if method == "PUT" and path.endswith("/9"):
            Path("model.bin").write_bytes(pattern(BIG, 5))
        return None

    store.fault = fault
    run.log_artifact("model.bin")
    with pytest.warns(RuntimeWarning, match=r"model\.bin was written to after it was logged"):
        run.flush(10)
    account = run.diagnostics()
    assert (account.artifacts_dropped, account.artifacts_failed, account.health) == ({"changed": 1}, 1, "degraded")
    run.finish(5)
    assert store.versions == []


# -- threads and ends --------------------------------------------------------------------------------------------------


def names():
    ours = ("rundial-staging", "rundial-upload-")
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(ours))


def test_threads_come_with_work_and_go_without(store, monkeypatch):
    """No thread before the first upload, at most the configured number while sending, none when idle."""
    monkeypatch.setattr("rundial.uploads.IDLE_SECONDS", 0.2)
    monkeypatch.setattr("rundial.senders.IDLE_SECONDS", 0.2)
    hold = threading.Event()
    store.fault = lambda method, path: None if method != "PUT" or hold.wait(20) else 500
    run = start(store, artifact_concurrency=3)
    assert names() == []
    for number in range(9):
        run._pipeline.uploads.submit(item(bytes([number])))
    until(lambda: sum(call.startswith("PUT") for call in store.calls) == 3)
    assert [name for name in names() if "upload" in name] == [f"rundial-upload-{n}" for n in (1, 2, 3)]
    hold.set()
    assert run.flush(10)
    until(lambda: names() == [])
    run._pipeline.uploads.submit(item(b"later"))
    assert run.finish(10)
    assert len(store.versions) == 10


def test_finish_keeps_to_its_time_while_the_server_hangs(store):
    """What was not sent is journalled, with its content."""
    store.fault = lambda method, path: time.sleep(1.5) if "artifacts" in path else None
    run = start(store)
    Path("model.bin").write_bytes(pattern(BIG))
    run.log_artifact("model.bin")
    run._pipeline.uploads.submit(item())
    began = time.monotonic()
    assert not run.finish(0.3)
    assert time.monotonic() - began < 1.3
    assert sorted(read_job(folder).size for folder in jobs()) == [6, BIG]
    assert "2 uploads (2.0 MB)" in run._opened.left()


def test_a_discarded_run_leaves_nothing(store):
    """A run that the server refuses takes its uploads with it."""
    with capture_run() as (run, _):
        run._pipeline.uploads.submit(item())
        until(lambda: run._pipeline.uploads.folder is not None)
        spool = Path(run.diagnostics().spool_directory)
        run._pipeline.discard()
        assert [path for path in spool.iterdir() if path.is_dir()] == []


def test_the_journal_is_plain_json_without_a_key(store):
    """What is on disk says where the upload belongs, and holds no secret."""
    store.fault = lambda method, path: 500 if "artifacts" in path else None
    run = rd.init(project="p", endpoint=store.url, api_key="rdk_secret", quiet=True)
    run._pipeline.uploads.submit(item())
    assert not run.finish(0.3)
    (folder,) = jobs()
    text = (folder / "job.json").read_text()
    assert json.loads(text)["meta"]["run_id"] == run.id
    assert "rdk_secret" not in text
