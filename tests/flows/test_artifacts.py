"""A checkpoint reaches the store: at once, after a SIGKILL, from a disk that was offline, and comes back whole."""

import os
import pty
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rundial as rd
from rundial.staging import job_folders
from tests.unit.store_server import PART, StoreServer

KEY = "rdk_test"
LOG = """
    import os, sys
    import rundial as rd
    endpoint, mode = sys.argv[1], sys.argv[2]
    run = rd.init(project="p", name="maker", endpoint=endpoint, api_key="rdk_test", mode=mode, quiet=True)
    for path in sys.argv[3:]:
        assert run.log_artifact(path)
    print(run.id, flush=True)
    if mode == "online":
        sys.stdin.readline()
    run.finish(20)
"""
SIZE = 3_000_000


@pytest.fixture
def store() -> Iterator[StoreServer]:
    with StoreServer() as server:
        yield server


def sync(*arguments, **environment):
    command = [sys.executable, "-m", "rundial", "sync", *map(str, arguments)]
    variables = os.environ | {"RUNDIAL_API_KEY": KEY} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables)


def until(ready, seconds=20):
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def waiting(directory=".rundial_spool"):
    return [job for folder in Path(directory).iterdir() if folder.is_dir() for job in job_folders(folder)]


def test_killed_in_the_middle_of_an_upload(store, script):
    """SIGKILL after some parts: sync sends the others, and no part that the server had is sent twice."""
    content = os.urandom(SIZE)
    Path("model.bin").write_bytes(content)
    store.fault = lambda method, path: time.sleep(0.05) if method == "PUT" else None
    process = script(LOG, store.url, "online", "model.bin")
    until(lambda: len(store.puts) >= 5)
    process.kill()
    process.wait()
    time.sleep(0.1)  # what the server was reading when its client died
    before = len(store.puts)
    store.fault = lambda method, path: None
    assert before < SIZE // PART
    done = sync("--endpoint", store.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 uploads sent" in done.stdout
    assert store.contents("model.bin") == [{"model.bin": content}]
    assert len(set(store.puts)) == len(store.puts) == -(-SIZE // PART)
    assert not [path for path in Path(".rundial_spool").iterdir() if path.is_dir()]


def test_the_next_process_sends_what_a_killed_one_left(store, script):
    """A process killed before anything went out: the next run to the same server delivers it."""
    Path("model.bin").write_bytes(os.urandom(SIZE))
    store.fault = lambda method, path: 503 if "artifacts" in path else None
    process = script(LOG, store.url, "online", "model.bin")
    until(lambda: any("initiate" in call for call in store.calls))
    process.kill()
    process.wait()
    store.fault = lambda method, path: None
    Path("other.txt").write_text("other")
    # Somebody else on this machine may be looking at the ring just then; whoever comes next takes it.
    for _ in range(3):
        process = script(LOG, store.url, "online", "other.txt")
        process.stdout.readline()
        until(lambda: store.contents("other.txt"))
        time.sleep(0.5)
        process.communicate(b"\n", timeout=30)
        if store.contents("model.bin"):
            break
    assert len(store.contents("model.bin")) == 1
    until(lambda: not [path for path in Path(".rundial_spool").iterdir() if path.is_dir()])


def test_logged_offline_changed_since_and_sent_later(store, script):
    """What was staged is what arrives: replaced, removed and small files as they were, after the run's records."""
    content = os.urandom(SIZE)
    Path("big.bin").write_bytes(content)
    Path("gone.bin").write_bytes(content)
    Path("small.txt").write_text("as it was")
    Path("folder").mkdir()
    Path("folder/empty").touch()
    script(LOG, store.url, "offline", "big.bin", "gone.bin", "small.txt", "folder").output()
    Path("new").write_bytes(b"the next checkpoint")
    Path("new").replace("big.bin")
    Path("gone.bin").unlink()
    Path("small.txt").write_text("written into")
    status = sync("--status")
    assert "4 uploads wait" in status.stdout
    done = sync("--endpoint", store.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert {version["name"]: version["content"] for version in store.versions} == {
        "big.bin": {"big.bin": content},
        "gone.bin": {"gone.bin": content},
        "small.txt": {"small.txt": b"as it was"},
        "folder": {"empty": b""},
    }
    assert store.calls.index("POST /api/v1/ingest/records") < store.calls.index("POST /api/v1/artifacts/initiate")
    assert sync("--endpoint", store.url).stdout == "Nothing is waiting to be sent.\n"


def test_written_into_while_offline_is_reported(store, script):
    """A large file that was opened and written again is not sent as something it never was."""
    Path("big.bin").write_bytes(bytes(SIZE))
    script(LOG.replace("rd.init(", "rd.init(artifact_concurrency=1, "), store.url, "offline", "big.bin").output()
    time.sleep(0.02)
    with Path("big.bin").open("r+b") as file:
        file.write(b"step 2")
    done = sync("--endpoint", store.url)
    assert "big.bin was written to after it was logged; it was not uploaded" in done.stdout
    assert store.versions == []
    assert sync("--endpoint", store.url).stdout == "Nothing is waiting to be sent.\n"


def test_a_copied_spool_is_sent_from_elsewhere(store, script, tmp_path):
    """Hard links copy as files: the copy delivers on a machine that has neither the originals nor this home."""
    content = os.urandom(SIZE)
    Path("model.bin").write_bytes(content)
    script(LOG, store.url, "offline", "model.bin").output()
    copy = tmp_path / "stick"
    shutil.copytree(".rundial_spool", copy, copy_function=shutil.copyfile)
    Path("model.bin").unlink()
    done = sync(copy, "--endpoint", store.url, RUNDIAL_HOME=str(tmp_path / "elsewhere"))
    assert (done.returncode, done.stderr) == (0, "")
    assert store.contents("model.bin") == [{"model.bin": content}]
    assert len(waiting()) == 1  # the original is as it was, and sending it too makes no second version
    assert sync("--endpoint", store.url).returncode == 0
    assert len(store.versions) == 1


def test_a_file_on_another_device_is_copied(store, script):
    """Where no hard link can be made the background copies, so that the original may go."""
    there = Path(f"/dev/shm/rundial-test-{os.getpid()}.bin")
    content = os.urandom(SIZE)
    there.write_bytes(content)
    try:
        script(LOG.replace("run.finish(20)", "run.flush(5); import time; time.sleep(1); run.finish()"),
               store.url, "offline", there).output()  # fmt: skip
    finally:
        there.unlink()
    assert sync("--endpoint", store.url).returncode == 0
    assert store.contents(there.name) == [{there.name: content}]


def test_a_server_that_was_away(store, script):
    """Uploads fail while it is away and go out by themselves when it is back, in the same process."""
    Path("model.bin").write_bytes(os.urandom(SIZE))
    store.fault = lambda method, path: 502 if "artifacts" in path or method == "PUT" else None
    process = script(LOG, store.url, "online", "model.bin")
    until(lambda: sum("initiate" in call for call in store.calls) >= 2)
    store.fault = lambda method, path: None
    until(lambda: store.versions)
    process.communicate(b"\n", timeout=30)
    assert process.returncode == 0


def test_a_refused_key_waits_with_exit_code_two(store, script):
    """The records are in, the uploads are refused: said, kept, and sent with the right key."""
    Path("model.bin").write_bytes(os.urandom(SIZE))
    script(LOG, store.url, "offline", "model.bin").output()
    store.fault = lambda method, path: 401 if "artifacts" in path else None
    refused = sync("--endpoint", store.url)
    assert (refused.returncode, len(waiting())) == (2, 1)
    assert "1 uploads are still waiting" in refused.stderr
    store.fault = lambda method, path: None
    assert sync("--endpoint", store.url).returncode == 0


def test_several_syncs_race(store, script):
    """Each upload becomes one version, whoever sends it."""
    names = [f"file-{number}.bin" for number in range(6)]
    for name in names:
        Path(name).write_bytes(os.urandom(300_000))
        script(LOG, store.url, "offline", name).output()
    command = [sys.executable, "-m", "rundial", "sync", "--endpoint", store.url]
    racers = [subprocess.Popen(command, env=os.environ | {"RUNDIAL_API_KEY": KEY}, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT) for _ in range(3)]  # fmt: skip
    output = [racer.communicate(timeout=60)[0].decode() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0], output
    assert sorted(version["name"] for version in store.versions) == names


SHOWN = """
    import sys
    import rundial as rd
    run = rd.init(project="p", name="maker", endpoint=sys.argv[1], api_key="rdk_test", finish_timeout=20)
    run.log_artifact("model.bin")
    {}
"""


@pytest.mark.parametrize(("end", "shown"), [("run.finish(20)", "of 3.0 MB"), ("run.finish(1)", "1 upload (")])
def test_a_terminal_sees_how_far_it_is(store, end, shown):
    """Waiting for an upload at the end draws a line; giving up says what is left and how to send it."""
    Path("model.bin").write_bytes(os.urandom(SIZE))
    store.fault = lambda method, path: time.sleep(0.06) if method == "PUT" else None
    screen, terminal = pty.openpty()
    code = textwrap.dedent(SHOWN).format(end)
    process = subprocess.Popen([sys.executable, "-c", code, store.url], stdout=terminal, stderr=terminal)
    os.close(terminal)
    text = b""
    with open(screen, "rb", buffering=0) as file:
        try:
            while piece := file.read(65536):
                text += piece
        except OSError:
            pass  # Linux ends a terminal that nobody holds with EIO
    assert process.wait(30) == 0
    assert shown in text.decode()


FORK = """
    import os, sys
    import rundial as rd
    run = rd.init(project="p", endpoint=sys.argv[1], api_key="rdk_test", quiet=True)
    run.log_artifact("parent.txt")
    if os.fork() == 0:
        run.log_artifact("child.txt")
        sys.exit(0)
    os.wait()
    assert run.finish(20)
"""


def test_a_forked_child_has_uploads_of_its_own(store, script):
    """What the parent logged the parent sends, what the child logs the child."""
    Path("parent.txt").write_text("parent")
    Path("child.txt").write_text("child")
    script(FORK, store.url).output()
    assert sorted(version["name"] for version in store.versions) == ["child.txt", "parent.txt"]


# -- with the real server ----------------------------------------------------------------------------------------------

MAKE = """
    import sys
    import rundial as rd
    run = rd.init(project="p", name="maker", endpoint=sys.argv[1] or None, api_key=sys.argv[2] or None, quiet=True)
    for path in sys.argv[3:]:
        assert run.log_artifact(path, "model", "model", ["best"], {"loss": 0.5}, step=3)
    print(run.id, flush=True)
    sys.stdin.readline()
    assert run.finish(60)
"""


def uploaded(data):
    """Bytes that have arrived of uploads which are not complete."""
    return sum(path.stat().st_blocks * 512 for path in Path(data).glob("blobs/uploads/*/*"))


def test_a_version_goes_in_and_comes_out(start_server):
    """Versions, aliases, metadata and lineage: logged in one run, used in another, the same bytes on the disk."""
    server = start_server(watched=False)
    options = {"project": "p", "endpoint": server.url, "api_key": server.key, "quiet": True}
    Path("data/sub").mkdir(parents=True)
    Path("data/one.bin").write_bytes(os.urandom(200_000))
    Path("data/sub/重み.txt").write_text("zwei")
    Path("data/empty").touch()
    with rd.init(name="maker", **options) as maker:
        for step in range(3):
            Path("data/step.txt").write_text(str(step))
            assert maker.log_artifact(
                "data", "set", "dataset", ["best"] if step == 1 else None, {"step": step}, step=step
            )
            assert maker.flush(20)
        assert maker.log_artifact("s3://bucket/raw.zip", "raw")
        assert maker.flush(20)
    with rd.init(name="user", **options) as user:
        assert [user.use_artifact(ref).metadata for ref in ("set", "set:latest", "set:best", "set:v1")] == [
            {"step": 2},
            {"step": 2},
            {"step": 1},
            {"step": 0},
        ]
        artifact = user.use_artifact("set:best")
        place = artifact.download()
        assert user.use_artifact("raw").files[0]["uri"] == "s3://bucket/raw.zip"
    assert (artifact.run_id, artifact.type, "best" in artifact.aliases) == (maker.id, "dataset", True)
    assert (place / "step.txt").read_text() == "1"
    for name in ("one.bin", "sub/重み.txt", "empty"):
        assert (place / name).read_bytes() == Path("data", name).read_bytes()
    known = server.get(f"/api/v1/artifacts/{artifact.id}")
    assert user.id in str(known)


def test_killed_in_the_middle_of_many_megabytes(start_server, script):
    """SIGKILL while parts are arriving at a real server: sync completes them, and the version is whole."""
    server = start_server(watched=False)
    content = os.urandom(1_000_000) * 200
    Path("model.bin").write_bytes(content)
    process = script(MAKE, server.url, server.key, "model.bin")
    until(lambda: uploaded(server.data) > 20_000_000)
    process.kill()
    assert process.wait() == -9
    done = sync("--endpoint", server.url, RUNDIAL_API_KEY=server.key)
    assert (done.returncode, done.stderr) == (0, "")
    with rd.init(project="p", endpoint=server.url, api_key=server.key, quiet=True) as run:
        assert run.use_artifact("model:best").get_path("model.bin").read_bytes() == content


def test_the_server_is_killed_in_the_middle(start_server, script):
    """SIGKILL of the server while parts arrive: it comes back on its port and the process goes on by itself."""
    server = start_server(watched=False)
    content = os.urandom(1_000_000) * 200
    Path("model.bin").write_bytes(content)
    process = script(MAKE, server.url, server.key, "model.bin")
    until(lambda: uploaded(server.data) > 20_000_000)
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    server._session.close()
    again = start_server(watched=False, port=server.port)
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 0
    with rd.init(project="p", endpoint=again.url, api_key=again.key, quiet=True) as run:
        assert run.use_artifact("model").get_path("model.bin").read_bytes() == content


def test_the_local_server_takes_in_what_was_left(start_server, script):
    """Nothing configured: logged without a server and killed, delivered by the watcher of the one that comes later."""
    Path("model.bin").write_bytes(b"weights" * 400_000)
    process = script(MAKE, "", "", "model.bin")
    process.stdout.readline()
    process.kill()
    process.wait()
    start_server()
    with rd.init(project="p", quiet=True) as run:
        deadline = time.monotonic() + 20
        while True:
            try:
                artifact = run.use_artifact("model:best")
                break
            except rd.RequestError:
                assert time.monotonic() < deadline, "the watcher did not bring it"
                time.sleep(0.1)
        assert artifact.get_path("model.bin").read_bytes() == Path("model.bin").read_bytes()


def test_the_local_server_comes_later(start_server, script):
    """A living process finds the local server by itself and uploads what waited."""
    Path("model.bin").write_bytes(b"weights" * 400_000)
    process = script(MAKE, "", "", "model.bin")
    run_id = process.stdout.readline().decode().strip()
    assert len(waiting()) == 1
    server = start_server()
    until(lambda: len(waiting()) == 0)
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 0
    assert "model" in str(server.get(f"/api/v1/runs/{run_id}/artifacts"))


LARGE = """
    import resource, sys
    import rundial as rd
    run = rd.init(project="p", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    run.flush(10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert run.checkpoint("checkpoint.bin", step=1)
    assert run.finish(100), run.diagnostics()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_two_gigabytes_with_flat_memory(start_server, script):
    """A sparse checkpoint of 2 GB goes to a real server while neither end grows by what it carries."""
    server = start_server(watched=False)
    with Path("checkpoint.bin").open("wb") as file:
        file.truncate(2_000_000_000)
    grown = int(script(LARGE, server.url, server.key).output(115)[0])
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    assert (grown < 50, peak < 250) == (True, True), (grown, peak)
    with rd.init(project="p", endpoint=server.url, api_key=server.key, quiet=True) as run:
        assert run.use_artifact("checkpoint:latest").size == 2_000_000_000
    server.stop()
    shutil.rmtree(server.data)  # a test folder is kept for a while, and this one is large
