"""The disk fails under a run: training goes on, no record is unaccounted for, and the spool works again when it can."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import Room, open_room

DISK = "2m"
LOG = """
    import json, os, resource, shutil, subprocess, sys, time
    from pathlib import Path
    import rundial as rd
    spool = Path(".rundial_spool")
    accepted = []
    refused = values = 0

    def log(count, size=0):
        global refused, values
        for _ in range(count):
            step = len(accepted) + refused
            if run.log({"loss": step / 3, "pad": "x" * size} if size else {"loss": step / 3}, step=step):
                accepted.append(step)
                values += 2 if size else 1
            else:
                refused += 1

    def wait(what, seconds=8):
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, run.diagnostics()
            time.sleep(0.02)

    def settled():
        return run.diagnostics().queue_depth == 0

    def delivered():
        return run.diagnostics().pending == 0

    def tell():
        found = run.diagnostics()
        assert found.balanced, found
        known = {name: getattr(found, name) for name in ("logged", "acknowledged", "pending", "dropped")}
        print(json.dumps({"accepted": accepted, "refused": refused, "values": values} | known))

    run = rd.init(project="disk", quiet=True, flush_interval_seconds=0.05, **json.loads(sys.argv[1]))
"""
FAULTS = {
    "full": (
        "ballast = (spool / 'ballast').open('wb')\n"
        "try:\n"
        "    while ballast.write(bytes(4096)) and not ballast.flush(): pass\n"
        "except OSError: pass",
        "os.truncate(spool / 'ballast', 0); os.unlink(spool / 'ballast')",
    ),
    "file size": (
        "limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))",
        "resource.setrlimit(resource.RLIMIT_FSIZE, limits)",
    ),
    "removed": ("for path in spool.iterdir(): shutil.rmtree(path) if path.is_dir() else path.unlink()", "pass"),
}
"""Statements that make the spool's disk fail in the middle of a run, and that mend it."""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """Every Python process that is started meanwhile runs in a room, with a small disk for its spool."""
    with open_room() as made:
        made.mount(Path(".rundial_spool").absolute(), DISK)
        monkeypatch.setattr(sys, "executable", str(made.python(tmp_path)))
        yield made


Told = dict[str, Any]
Tell = Callable[..., Told]


@pytest.fixture
def tell(script) -> Tell:
    """Runs a script that logs, with options of ``init``, and gives its last account."""

    def run(code: str, **options: Any) -> Told:
        out, _ = script(textwrap.dedent(LOG) + textwrap.dedent(code), json.dumps(options)).output()
        return dict(json.loads(out.splitlines()[-1]))

    return run


def block(*parts: str) -> str:
    return "\n".join(textwrap.dedent(part) for part in parts)


def check_arrived(server: Any, told: Told) -> None:
    """The server has exactly what was accepted, and the account says the same of all the rest."""
    run = server.wait_for("disk", lambda run: run["status"] != "running")
    deadline = time.monotonic() + 5
    while len(points := server.points(run["runId"], "loss")) < len(told["accepted"]) and time.monotonic() < deadline:
        time.sleep(0.2)  # a ring is sometimes taken over after the spool
    run = server.get(f"/api/v1/runs/{run['runId']}")
    steps = [step for step, _ in points]
    assert all(value == step / 3 for step, value in points)
    assert len(set(steps)) == len(steps)
    assert set(steps) <= set(told["accepted"])
    lost = told["dropped"].get("spool_lost", 0)
    assert len(told["accepted"]) - len(steps) in (lost, lost - 1)  # the start of the run may be among the lost
    assert run["points"] == told["values"] or lost, "a record came twice"
    assert told["logged"] == told["acknowledged"] + told["pending"] + sum(told["dropped"].values())
    assert run["status"] == "completed"
    assert told["dropped"].get("queue_full", 0) == told["refused"], "the run's own records were refused"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("serving", ["server", "no server"])
def test_the_disk_fails_for_a_while(room, start_server, tell, serving, fault):
    """Records wait in memory while the spool cannot be written, and go where they belong when it can."""
    server = start_server() if serving == "server" else None
    breaks, mends = FAULTS[fault]
    at_rest = "delivered" if server else "settled"
    told = tell(
        block(f"log(500); wait({at_rest})", breaks, "log(500, 500); time.sleep(1.0); log(500)", mends)
        + f"\nlog(500); wait({at_rest}); run.finish(10); tell()"
    )
    assert told["refused"] == 0
    assert told["dropped"] == {} or fault == "removed"
    server = server or start_server()
    check_arrived(server, told)


@pytest.mark.parametrize("serving", ["server", "no server"])
def test_a_run_outlasts_a_full_disk_and_its_memory(room, start_server, tell, serving):
    """More is logged than disk and queue can hold: what is refused is counted, and every other record arrives."""
    server = start_server() if serving == "server" else None
    breaks, mends = FAULTS["full"]
    told = tell(
        block(breaks, "log(2000, 500); time.sleep(0.5); log(200, 500)", mends, "time.sleep(1.0); log(100)")
        + "\nwait(settled); run.finish(10); tell()",
        queue_bytes=256 * 1024,
    )
    assert told["refused"] > 0 or server is not None
    check_arrived(server or start_server(), told)


def test_a_small_disk_and_no_server_for_long(room, start_server, tell):
    """The bound is larger than the disk: the disk fills with the spool itself, and every record is accounted for."""
    told = tell("log(8000, 500); time.sleep(1.0); log(2000, 500); run.finish(2); tell()", queue_bytes=1 << 20)
    assert told["refused"] > 0
    check_arrived(start_server(), told)


def test_what_the_bound_drops_takes_nothing_else_along(start_server, tell):
    """The oldest segment goes, and the start of the run was in it: what is newer arrives all the same."""
    told = tell("log(9000, 1000); wait(settled); run.finish(5); tell()", spool_max_bytes=1 << 20)
    dropped = told["dropped"]["spool_bytes"]
    assert 0 < dropped < 9000 and told["refused"] == 0
    server = start_server()
    run = server.wait_for("disk", lambda run: run["status"] == "completed")
    points = server.points(run["runId"], "loss")
    assert points == [(step, step / 3) for step in range(dropped, 9000)]  # the start of the run has a stand-in


def test_killed_while_the_disk_is_full(room, start_server, script):
    """Records that found no place on the disk are still in shared memory, where the next process finds them."""
    code = textwrap.dedent(LOG) + block("log(300); wait(settled)", FAULTS["full"][0], "log(700); time.sleep(0.5)")
    process = script(code + "\nos.unlink(spool / 'ballast'); os.kill(os.getpid(), 9)", "{}")
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err.decode()
    server = start_server()
    run = server.wait_for("disk", lambda run: run["status"] == "crashed")
    assert server.points(run["runId"], "loss") == [(step, step / 3) for step in range(1000)]


@pytest.mark.parametrize("serving", ["server", "no server"])
@pytest.mark.parametrize("way", ["read-only", "a file in the way"])
def test_a_spool_directory_that_cannot_be_written(room, start_server, tell, serving, way):
    """It is so from the start: one warning, and all arrives once it is put right, or at once where a server is."""
    spool = Path(".rundial_spool").absolute()
    if way == "read-only":
        room.run("mount", "-o", "remount,ro", spool)
        mends = "subprocess.run(['mount', '-o', 'remount,rw', spool], check=True)"
    else:
        room.run("umount", spool)
        spool.rmdir()
        spool.write_text("something else")
        mends = "spool.unlink()"
    server = start_server() if serving == "server" else None
    told = tell(block("log(1000); time.sleep(1.2)", mends, "log(1000); wait(settled); run.finish(10); tell()"))
    assert told["dropped"] == {} and told["refused"] == 0
    assert len(told["accepted"]) == 2000
    check_arrived(server or start_server(), told)


def test_a_spool_directory_that_can_never_be_written(room, start_server, script):
    """Without a server and without a disk, the ring in shared memory keeps all for whoever comes next."""
    room.run("mount", "-o", "remount,ro", Path(".rundial_spool").absolute())
    out, err = script(textwrap.dedent(LOG) + "\nlog(1000); run.finish(1); tell()", "{}").output()
    told = json.loads(out)
    assert "cannot write the spool" in err
    assert (told["pending"], told["dropped"]) == (told["logged"], {})
    room.run("mount", "-o", "remount,rw", Path(".rundial_spool").absolute())
    check_arrived(start_server(), told)


@pytest.mark.parametrize("end", ["run.finish(10)", "os.kill(os.getpid(), 9)"], ids=["finished", "killed"])
def test_shared_memory_is_full(tmp_path, monkeypatch, start_server, script, end):
    """The queue is made in the spool directory instead, and outlives the process there just the same."""
    with open_room(shared_memory="1m") as room:
        monkeypatch.setattr(sys, "executable", str(room.python(tmp_path)))
        code = textwrap.dedent(LOG) + block(
            "log(1000)", "print(len(list(spool.glob('*/*.ring'))), list(Path('/dev/shm').rglob('*.ring')))", end
        )
        process = script(code, "{}")
        out, err = process.communicate(timeout=60)
        assert out == b"1 []\n", err.decode()
        server = start_server()
        run = server.wait_for("disk", lambda run: run["status"] in ("completed", "crashed"))
        assert server.points(run["runId"], "loss") == [(step, step / 3) for step in range(1000)]
        assert list(Path(".rundial_spool").rglob("*.ring")) == []
        server.stop()


@pytest.mark.parametrize("serving", ["server", "no server"])
def test_neither_shared_memory_nor_a_disk(tmp_path, monkeypatch, start_server, tell, script, serving):
    """The queue is in the process's own memory, which is said once; what a server takes in time is not lost."""
    with open_room(shared_memory="1m") as room:
        room.mount(Path(".rundial_spool").absolute(), DISK)
        monkeypatch.setattr(sys, "executable", str(room.python(tmp_path)))
        room.run("mount", "-o", "remount,ro", Path(".rundial_spool").absolute())
        server = start_server() if serving == "server" else None
        out, err = script(textwrap.dedent(LOG) + "\nlog(1000); run.finish(3); tell()", "{}").output()
        told = json.loads(out)
        assert "no room for the queue" in err
        if server is not None:
            assert (told["acknowledged"], told["pending"], told["dropped"]) == (told["logged"], 0, {})
            check_arrived(server, told)
            server.stop()
        else:
            assert told["logged"] == told["acknowledged"] + told["pending"] + sum(told["dropped"].values())
            assert told["acknowledged"] == 0


@pytest.mark.parametrize("serving", ["server", "no server"])
def test_a_home_that_cannot_be_written(room, start_server, tell, monkeypatch, tmp_path, serving):
    """The registry of spools is a convenience: without it the spool still takes what memory alone could not hold."""
    server = start_server()
    if serving == "server":
        monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
        monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    else:
        server.stop()
    good_home = tmp_path / "home"
    (tmp_path / "not-a-folder").write_text("")
    monkeypatch.setenv("RUNDIAL_HOME", str(tmp_path / "not-a-folder"))
    told = tell(
        "\n".join(f"log(400, 500); time.sleep(0.2)  # {n}" for n in range(3)) + "\nrun.finish(10); tell()",
        queue_bytes=256 * 1024,
    )
    assert told["dropped"] == {} and told["refused"] == 0
    if serving == "server":
        check_arrived(server, told)
    else:
        assert told["pending"] == told["logged"]
        copied = good_home / "spool"
        copied.mkdir(parents=True, exist_ok=True)
        for folder in room.inside(Path(".rundial_spool").absolute()).iterdir():
            if folder.is_dir():
                shutil.copytree(folder, copied / folder.name)
        assert any(copied.iterdir())
