"""Artifacts: what a path, folder or URI becomes, and what comes back out."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rundial as rd
from rundial.artifacts import Artifact
from rundial.delivery import StoreClient
from rundial.errors import RequestError, RundialError, UnreachableError
from tests.unit.store_server import StoreServer


@pytest.fixture
def store() -> Iterator[StoreServer]:
    with StoreServer() as server:
        yield server


@pytest.fixture
def run(store):
    run = rd.init(project="p", endpoint=store.url, api_key="key", quiet=True)
    yield run
    run.finish(10)


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(Path(root).rglob("*")) if path.is_file()}


# -- logging --------------------------------------------------------------------------------------------------------


def test_everything_that_was_said_of_a_file_arrives(store, run):
    """Name, type, aliases, metadata, step and retention reach the server as the call gave them."""
    Path("model.json").write_text("{}")
    metadata = {"loss": 0.25, "nan": float("nan"), "path": Path("x"), "nested": {"deep": [1, 2]}}
    assert run.log_artifact("model.json", type="model", aliases=["best"], metadata=metadata, keep_last=3, step=7)
    assert run.flush(10)
    (version,) = store.versions
    assert (version["name"], version["artifactType"], version["aliases"], version["step"]) == (
        "model.json",
        "model",
        ["best"],
        7,
    )
    assert version["metadata"] == {"loss": 0.25, "nan": "nan", "path": "x", "nested": {"deep": [1, 2]}}
    assert version["retentionPolicy"] == {"strategy": "keep_last", "keepLast": 3}
    assert version["files"] == [
        {
            "path": "model.json",
            "sizeBytes": 2,
            "sha256": hashlib.sha256(b"{}").hexdigest(),
            "contentType": "application/json",
        }
    ]


def test_a_folder_keeps_its_paths(store, run):
    """Sub-folders, unicode, spaces, empty files and names that are not UTF-8."""
    for name in ("a/b/c.txt", "mødel/重み.bin", "with space.txt", ".hidden"):
        Path("data", name).parent.mkdir(parents=True, exist_ok=True)
        Path("data", name).write_bytes(name.encode())
    Path("data/empty").touch()
    Path(os.fsdecode(b"data/latin-\xe9.txt")).write_bytes(b"x")
    Path("data/back\\slash").write_bytes(b"y")
    assert run.log_artifact("data/", name="set")
    assert run.flush(10)
    assert store.contents("set") == [
        {
            ".hidden": b".hidden",
            "a/b/c.txt": b"a/b/c.txt",
            "back_slash": b"y",
            "empty": b"",
            "latin-\ufffd.txt": b"x",
            "mødel/重み.bin": "mødel/重み.bin".encode(),
            "with space.txt": b"with space.txt",
        }
    ]


def test_links_count_as_files_only_inside_the_folder(store, run):
    """A link to a file in the folder is that file; one that leads out, and a pipe, are left out and said."""
    Path("data").mkdir()
    Path("data/real.txt").write_text("real")
    Path("outside.txt").write_text("secret")
    Path("data/inside").symlink_to("real.txt")
    Path("data/leak").symlink_to(Path("outside.txt").absolute())
    Path("data/etc").symlink_to("/etc")
    os.mkfifo("data/pipe")
    with pytest.warns(RuntimeWarning, match="3 entries"):
        assert run.log_artifact("data")
    assert run.flush(10)
    assert store.contents("data") == [{"inside": b"real", "real.txt": b"real"}]


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://bucket/models/a.bin", "a.bin"),
        ("gs://bucket/set/", "set"),
        ("https://example.org/data.zip?version=2", "data.zip"),
        ("hf://org", "org"),
    ],
)
def test_a_uri_is_only_pointed_to(store, run, uri, path):
    """Nothing is fetched: the reference is what is stored."""
    assert run.log_artifact(uri, type="dataset")
    assert run.flush(10)
    assert (store.versions[0]["name"], store.versions[0]["files"]) == (path, [])
    assert store.versions[0]["references"] == [{"path": path, "uri": uri}]


def test_a_file_uri_is_a_file(store, run):
    """`file://` means the file itself, with its percent escapes."""
    Path("a b.txt").write_text("here")
    assert run.log_artifact(Path("a b.txt").absolute().as_uri())
    assert run.flush(10)
    assert store.contents("a b.txt") == [{"a b.txt": b"here"}]


@pytest.mark.parametrize("wrong", ["gone.bin", "", None, 7, "empty", "/dev/null", object()])
def test_what_cannot_be_stored_is_one_warning_and_a_count(run, wrong):
    """Never an exception: a missing path, no path at all, an empty folder, a device."""
    Path("empty").mkdir()
    with pytest.warns(RuntimeWarning, match="artifact was not stored") as warned:
        assert [run.log_artifact(wrong) for _ in range(3)] == [False] * 3
    assert len(warned) == 1
    account = run.diagnostics()
    assert (account.artifacts_logged, account.artifacts_failed, account.health) == (3, 3, "degraded")


def test_a_spool_that_cannot_be_written(store, monkeypatch):
    """The home takes what the spool directory cannot; where neither can, the call is False and counted."""
    Path("file").touch()
    Path("a.txt").write_text("a")
    options = {"project": "p", "endpoint": store.url, "api_key": "k", "spool_directory": "file/spool", "quiet": True}
    with rd.init(**options) as run:
        assert run.log_artifact("a.txt")
        assert run.flush(10)
    monkeypatch.setenv("RUNDIAL_HOME", "file/home")
    with rd.init(**options) as run, pytest.warns(RuntimeWarning, match="spool cannot be written"):
        assert not run.log_artifact("a.txt")
        assert run.diagnostics().artifacts_dropped == {"unwritable": 1}


def test_wrong_extras_do_not_cost_the_artifact(store, run):
    """A step that is none is left out; a name with the signs of a reference is mended."""
    Path("a.txt").write_text("a")
    with pytest.warns(RuntimeWarning, match="without a step"):
        assert run.log_artifact("a.txt", "team/model:v3", step="soon")
    assert run.flush(10)
    assert (store.versions[0]["name"], store.versions[0].get("step")) == ("team-model-v3", None)


def test_a_call_reads_nothing_of_a_large_file(run):
    """The call returns before a byte is read: a file of 8 GB that takes no room is staged at once."""
    with Path("huge.bin").open("wb") as file:
        file.truncate(8_000_000_000)
    read = _bytes_read()
    run._pipeline.uploads._stop.set()  # no thread may read it for us
    began = time.thread_time()
    run.log_artifact("huge.bin")
    assert time.thread_time() - began < 1
    assert _bytes_read() - read < 1_000_000


def _bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])


def test_overwritten_by_the_next_step(store, run):
    """A loop that saves under one name: replaced files arrive as they were, small ones written in place as well."""
    for step in range(5):
        Path("new").write_bytes(bytes([step]) * 2_000_000)
        Path("new").replace("model.bin")
        run.log_artifact("model.bin", step=step)
        Path("state.json").write_text(str(step))
        run.log_artifact("state.json", step=step)
    assert run.flush(20)
    stored = {version["step"]: version["content"] for version in store.versions if version["name"] == "model.bin"}
    assert stored == {step: {"model.bin": bytes([step]) * 2_000_000} for step in range(5)}
    stored = {version["step"]: version["content"] for version in store.versions if version["name"] == "state.json"}
    assert stored == {step: {"state.json": str(step).encode()} for step in range(5)}


def test_written_into_by_the_next_step(store, run):
    """The same file opened and written again: each upload is whole as it was or reported as changed, never torn."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(20):
            Path("model.bin").write_bytes(bytes([step]) * 2_000_000)
            run.log_artifact("model.bin", step=step)
            time.sleep(0.02)
        assert run.flush(20)
    account = run.diagnostics()
    assert account.artifacts_uploaded + account.artifacts_dropped.get("changed", 0) == 20
    for version in store.versions:
        assert version["content"] == {"model.bin": bytes([version["step"]]) * 2_000_000}


def test_three_hundred_in_a_loop(store, run):
    """More than any small queue holds: all of them arrive, each once."""
    for number in range(300):
        Path("note.txt").write_text(str(number))
        assert run.log_artifact("note.txt", f"note-{number}")
    assert run.flush(30)
    assert sorted(version["name"] for version in store.versions) == sorted(f"note-{n}" for n in range(300))
    assert all(version["content"]["note.txt"].decode() == version["name"][5:] for version in store.versions)


def test_several_threads_log_at_once(store, run):
    """Concurrent calls share the journal without stepping on each other."""
    from concurrent.futures import ThreadPoolExecutor

    Path("a.txt").write_text("a")
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda number: run.log_artifact("a.txt", f"a-{number}"), range(80)))
    assert run.flush(20)
    assert len({version["name"] for version in store.versions}) == 80


def test_a_disabled_run_stores_nothing():
    """Nothing is staged, and nothing is wrong."""
    with rd.init(mode="disabled") as run:
        assert run.log_artifact("gone.bin")
    assert not Path(".rundial_spool").exists()


def test_after_finish_an_artifact_is_refused(run):
    """It is counted with a warning, as every other call."""
    Path("a.txt").write_text("a")
    run.finish(5)
    with pytest.warns(RuntimeWarning, match="is finished"):
        assert run.log_artifact("a.txt") is False


# -- using ----------------------------------------------------------------------------------------------------------


def test_download_gives_back_what_was_logged(store, run):
    """Every file with its content, in the default folder; a second time nothing travels."""
    Path("data/sub").mkdir(parents=True)
    Path("data/one.bin").write_bytes(os.urandom(700_000))
    Path("data/sub/zwei.txt").write_text("zwei")
    Path("data/empty").touch()
    run.log_artifact("data", name="set", metadata={"rows": 3})
    assert run.flush(10)
    artifact = run.use_artifact("set:latest")
    assert (artifact.name, artifact.version, artifact.metadata, artifact.run_id) == ("set", 1, {"rows": 3}, run.id)
    place = artifact.download()
    assert (place, tree(place)) == (Path("artifacts/set-v1"), tree("data"))
    before = len(store.calls)
    (place / "sub/zwei.txt").write_text("ZWEI")
    assert tree(artifact.download()) == tree("data")
    assert [call for call in store.calls[before:] if call.startswith("GET")] == [
        f"GET /get/{artifact.id}/{b'sub/zwei.txt'.hex()}"
    ]
    assert artifact.get_path("sub/zwei.txt", "elsewhere").read_text() == "zwei"
    with pytest.raises(RundialError, match=r"it has 'empty', 'one\.bin'"):
        artifact.get_path("other")


@pytest.mark.parametrize("path", ["../escaped", "/tmp/escaped", "a/../../escaped", "a\\b", "", "./x", "a//b", "a\0b"])
def test_a_hostile_path_is_refused(store, path):
    """A manifest that names a place outside its folder downloads nothing at all."""
    good = {"path": "good", "sizeBytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    artifact = _artifact(store, [good, {**good, "path": path}])
    with pytest.raises(RundialError, match="would lie outside"):
        artifact.download("target")
    assert not Path("target").exists()
    assert store.calls == []


def test_a_link_in_the_folder_is_not_followed_out(store):
    """A folder that already holds a link to elsewhere is no way out of it."""
    Path("outside").mkdir()
    Path("target").mkdir()
    Path("target/sub").symlink_to(Path("outside").absolute())
    artifact = _artifact(store, [{"path": "sub/deep/x", "sizeBytes": 1, "sha256": "0" * 64}])
    with pytest.raises(RundialError, match="symbolic link"):
        artifact.download("target")
    assert list(Path("outside").iterdir()) == []


@pytest.mark.parametrize("served", [b"other", b"", b"content and more"])
def test_wrong_bytes_are_not_kept(store, run, served):
    """Size and hash are verified; after some tries the error says so and no file is left behind."""
    Path("a.txt").write_text("content")
    run.log_artifact("a.txt")
    assert run.flush(10)
    store.served["a.txt"] = served
    with pytest.raises(RundialError, match="did not come as it was stored"):
        run.use_artifact("a.txt").download("target")
    assert list(Path("target").iterdir()) == []


def test_a_reference_is_not_fetched(store):
    """Only its URI is known; asking for it says where it is."""
    artifact = _artifact(store, [{"path": "a.bin", "uri": "s3://bucket/a.bin"}])
    assert list(artifact.download("target").iterdir()) == []
    with pytest.raises(RundialError, match=r"s3://bucket/a\.bin"):
        artifact.get_path("a.bin")


def test_what_is_not_there_is_said_at_once(store, run):
    """An unknown artifact is the server's own answer, not a time-out."""
    began = time.monotonic()
    with pytest.raises(RequestError, match="There is no artifact gone") as error:
        run.use_artifact("gone:latest")
    assert (error.value.status_code, time.monotonic() - began < 2) == (404, True)


def test_using_without_a_server_says_what_to_do(monkeypatch):
    """No local server: the error names `rundial ui`. Offline: it names the mode. A dead one: it is not reached."""
    with rd.init(project="p", quiet=True) as run, pytest.raises(UnreachableError, match="rundial ui"):
        run.use_artifact("a")
    with rd.init(project="p", mode="offline", quiet=True) as run, pytest.raises(RequestError, match="mode='online'"):
        run.use_artifact("a")
    monkeypatch.setattr("rundial.downloads.PATIENCE_SECONDS", 0.2)
    with pytest.warns(RuntimeWarning, match="no answer"):
        run = rd.init(project="p", endpoint="http://127.0.0.1:9", api_key="k", quiet=True)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        run.use_artifact("a")
    run.finish(0)


def _artifact(store, files):
    return Artifact({"artifactId": "a", "name": "n", "version": 1, "files": files}, StoreClient(store.url, None), "r")
