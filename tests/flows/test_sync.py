"""``rundial sync``: what dead processes left reaches a server, from here or from a copy elsewhere."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rundial.queue import queue_folder

OFFLINE = """
    import sys
    import rundial as rd
    for name in sys.argv[1:]:
        run = rd.init(project="offline", name=name, mode="offline", quiet=True)
        for step in range(2000):
            run.log({"loss": step / 3})
        run.finish()
"""
KILLED = """
    import os, signal, sys
    import rundial as rd
    run = rd.init(project="offline", name="killed", mode="offline", quiet=True)
    for step in range(2000):
        run.log({"loss": step / 3})
    os.kill(os.getpid(), signal.SIGKILL)
"""
LIVING = """
    import sys
    import rundial as rd
    run = rd.init(project="offline", name="living", mode="offline", quiet=True)
    for step in range(2000):
        run.log({"loss": step / 3})
    run.flush(1)
    print("half", flush=True)
    sys.stdin.readline()
    for step in range(2000, 4000):
        run.log({"loss": step / 3})
    run.finish()
"""
EVERYTHING = [(step, step / 3) for step in range(2000)]


def start_sync(*arguments, key="", **environment):
    command = [sys.executable, "-m", "rundial", "sync", *map(str, arguments)]
    variables = os.environ | {"RUNDIAL_API_KEY": key, "PYTHONUNBUFFERED": "1"} | environment
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables)


def sync(*arguments, key="", **environment):
    with start_sync(*arguments, key=key, **environment) as process:
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def files(directory):
    return {path: path.read_bytes() for path in sorted(Path(directory).rglob("*")) if path.is_file()}


def test_what_processes_left_is_sent_and_removed(start_server, script):
    """Finished offline or killed, first with the server away and then with it: all there, and nothing stays behind."""
    script(OFFLINE, "first", "second").output()
    assert script(KILLED).wait(30) == -9
    away = sync()
    server = start_server(watched=False)
    done = sync("--endpoint", server.url, key=server.key)
    again = sync("--endpoint", server.url, key=server.key)
    assert (away.returncode, done.returncode, again.returncode) == (1, 0, 0)
    assert away.stdout.count("no local server is running") == 3
    assert away.stderr == "error: 6,008 records are still waiting; nothing was lost.\n"
    assert "first (offline): 2,003 records sent" in done.stdout.splitlines()
    assert again.stdout == "Nothing is waiting to be sent.\n"
    runs = {run["runName"]: run for run in server.runs("offline")}
    assert {name: run["status"] for name, run in runs.items()} == {
        "first": "completed",
        "second": "completed",
        "killed": "crashed",
    }
    for run in runs.values():
        assert (run["points"], server.points(run["runId"], "loss")) == (2000, EVERYTHING)
    assert not [path for path in Path(".rundial_spool").iterdir() if path.is_dir()]


def test_a_first_sync_finds_what_a_killed_process_had_only_in_memory(start_server, script):
    """A process that never needed its spool is killed: one sync takes its records from shared memory and sends them."""
    server = start_server(watched=False)
    process = script(
        KILLED.replace('mode="offline"', "endpoint=sys.argv[1], api_key=sys.argv[2]"), server.url, server.key
    )
    assert process.wait(30) == -9
    done = sync(key=server.key)
    assert (done.returncode, done.stderr) == (0, "")
    run = server.wait_for("offline", lambda run: run["status"] == "crashed")
    assert server.points(run["runId"], "loss") == EVERYTHING


def test_a_copied_spool_is_sent_from_elsewhere(start_server, script, tmp_path):
    """Another machine has another home: its plain sync leaves the copy alone, with the directory it is sent."""
    script(OFFLINE, "first", "second").output()
    copy = tmp_path / "stick" / "spool"
    shutil.copytree(".rundial_spool", copy)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.environ["RUNDIAL_HOME"] = str(elsewhere)  # put back by the fixture that isolates this test
    server = start_server()
    plain = sync()
    assert (plain.returncode, plain.stdout) == (0, "Nothing is waiting to be sent.\n")
    done = sync(copy)
    assert (done.returncode, done.stderr) == (0, "")
    assert not [path for path in copy.iterdir() if path.is_dir()]
    for run in server.runs("offline"):
        assert (run["status"], server.points(run["runId"], "loss")) == ("completed", EVERYTHING)
    assert sync(".rundial_spool").returncode == 0  # the original as well: nothing is there twice
    assert [run["points"] for run in server.runs("offline")] == [2000, 2000]


def test_an_early_copy_takes_nothing_from_the_original(start_server, script, tmp_path):
    """A spool copied while its process logged on, and sent before the original: what came later arrives as well."""
    server = start_server(watched=False)
    process = script(LIVING)
    assert process.stdout.readline() == b"half\n"
    shutil.copytree(".rundial_spool", tmp_path / "copy")
    process.stdin.write(b"\n")
    process.output()
    early = sync(tmp_path / "copy", "--endpoint", server.url, key=server.key)
    late = sync("--endpoint", server.url, key=server.key)
    assert (early.returncode, late.returncode) == (0, 0)
    run = server.wait_for("offline", lambda run: run["status"] == "completed")
    assert server.points(run["runId"], "loss") == [(step, step / 3) for step in range(4000)]


def test_several_syncs_race(start_server, script):
    """Each folder is sent by one of them, all end well, and every record is there once."""
    names = [f"run-{number}" for number in range(8)]
    script(OFFLINE, *names).output()
    server = start_server(watched=False)
    command = [sys.executable, "-m", "rundial", "sync", "--endpoint", server.url]
    environment = os.environ | {"RUNDIAL_API_KEY": server.key}
    racers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(4)
    ]
    output = [racer.communicate(timeout=60)[0].decode() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0, 0], output
    runs = server.runs("offline")
    assert sorted(run["runName"] for run in runs) == names
    for run in runs:
        assert (run["points"], server.points(run["runId"], "loss")) == (2000, EVERYTHING)
        (attempt,) = server.get(f"/api/v1/runs/{run['runId']}")["attempts"]
        assert (attempt["received"], attempt["dropped"]) == (2003, {})


HOLDING = """
import sys
from rundial.locks import lock_as_adopter
with open(sys.argv[1], "r+b") as file:
    lock_as_adopter(file.fileno())
    print("held", flush=True)
    sys.stdin.read()
"""


def test_what_another_process_has_taken_over_is_waited_for(start_server, script):
    """A process that takes the stream over gives it up unsent: `rundial sync` sends it then, and says why it waited."""
    server = start_server(watched=False)
    assert script(KILLED).wait(30) == -9
    here = os.fsencode(Path.cwd())
    ring = next(path for path in queue_folder().glob("*.ring") if here in path.read_bytes()[:4096])
    holding = script(HOLDING, ring)
    assert holding.stdout.readline() == b"held\n"
    (waiting,) = json.loads(sync("--status", "--json", key=server.key).stdout)["waiting"]
    assert (waiting["alive"], waiting["sending"]) == (False, True)
    with start_sync("--endpoint", server.url, key=server.key) as syncing:
        assert "are being sent by another process; waiting for it" in syncing.stdout.readline()
        holding.communicate(timeout=30)
        _, problems = syncing.communicate(timeout=60)
    assert syncing.returncode == 0, problems
    run = server.wait_for("offline", lambda run: run["status"] == "crashed")
    assert server.points(run["runId"], "loss") == EVERYTHING


def test_status_and_dry_run_only_look(start_server, script):
    """What waits where, of the living and the dead; afterwards every file is as it was."""
    script(OFFLINE, "dead").output()
    process = script(LIVING)
    assert process.stdout.readline() == b"half\n"
    server = start_server(watched=False)
    before = files(".rundial_spool")
    status, plan = sync("--status"), sync("--dry-run", "--endpoint", server.url)
    assert files(".rundial_spool") == before
    assert (status.returncode, plan.returncode) == (0, 0)
    rows = {line.split()[0]: line.split() for line in status.stdout.splitlines()}
    assert (rows["dead"][1:4], rows["dead"][-2]) == (["offline", "local", "2,003"], "gone")
    assert (rows["living"][1:4], rows["living"][-2]) == (["offline", "local", "2,001"], "alive")
    assert "4,004 records wait" in status.stdout
    assert f"would go to {server.url}" in next(line for line in plan.stdout.splitlines() if line.startswith("dead"))
    assert "running process" in next(line for line in plan.stdout.splitlines() if line.startswith("living"))
    assert server.runs("offline") == []
    process.stdin.write(b"\n")
    process.output()


def test_a_refused_key_is_exit_code_two(start_server, script):
    """The one thing to do is said, and everything stays for the next time."""
    script(OFFLINE, "first").output()
    server = start_server(watched=False)
    refused = sync("--endpoint", server.url, key="rdk_wrong")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "2,003 records are still waiting" in refused.stderr
    assert "RUNDIAL_API_KEY" in refused.stderr
    assert sync("--endpoint", server.url, key=server.key).returncode == 0


def test_a_segment_that_cannot_be_read_is_named_and_kept(start_server, script):
    """A folder whose only segment is not ours, or from a newer version, is no reason to say that nothing is left."""
    script(OFFLINE, "first").output()
    (segment,) = Path(".rundial_spool").glob("*/*.seg")
    data = segment.read_bytes()
    newer = data[:4] + (9).to_bytes(2, "little") + data[6:]
    segment.write_bytes(newer)
    server = start_server(watched=False)
    kept = sync(".rundial_spool", "--endpoint", server.url, key=server.key)
    assert kept.returncode == 1
    assert "newer rundial" in kept.stdout
    assert "1 spool folder" in kept.stderr
    assert segment.read_bytes() == newer


def test_a_terminal_sees_a_bar(start_server, script):
    """On a terminal a bar counts the records that are sent, out of those that waited."""
    script(OFFLINE, "first").output()
    server = start_server(watched=False)
    screen, terminal = pty.openpty()
    environment = os.environ | {"RUNDIAL_API_KEY": server.key, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "rundial", "sync", "--endpoint", server.url]
    process = subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    shown = b""
    with open(screen, "rb", buffering=0) as file:
        try:
            while piece := file.read(65536):
                shown += piece
        except OSError:
            pass  # Linux ends a terminal that nobody holds with EIO
    assert process.wait(30) == 0
    assert "2003/2003" in shown.decode()
    assert "first (offline): 2,003 records sent" in shown.decode()


@pytest.mark.parametrize("arguments", [["gone"], ["--endpoint", "no-url"]])
def test_a_mistake_is_one_clear_line(arguments):
    """No directory, no URL: said in one line."""
    answer = sync(*arguments)
    assert answer.returncode == 1
    assert (answer.stderr.count("\n"), answer.stderr[:7]) == (1, "error: ")
