"""However a process ends, what it logged arrives once and the run's status says how it went."""

import signal
import time
from pathlib import Path

import pytest

LOG = """
    import os, signal, sys, threading
    import rundial as rd
    run = rd.init(project="ends", quiet=True)
    for step in range(3000):
        run.log({"loss": step / 3})
"""


@pytest.mark.parametrize(
    ("end", "code", "status", "reason"),
    [
        ("", 0, "completed", None),
        ("sys.exit(0)", 0, "completed", None),
        ("raise ValueError('bad luck')", 1, "failed", "ValueError: bad luck"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "aborted", "KeyboardInterrupt"),
        ("os._exit(3)", 3, "crashed", "the process vanished"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "crashed", "the process vanished"),
        ("os.abort()", -signal.SIGABRT, "crashed", "the process vanished"),
    ],
)
@pytest.mark.parametrize("serving", ["server", "no server"])
def test_nothing_is_lost_however_a_process_ends(start_server, script, serving, end, code, status, reason):
    """No finish() anywhere: every record arrives once, and the status is true."""
    server = start_server() if serving == "server" else None
    process = script(LOG + "    " + end)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err.decode()
    server = server or start_server()
    run = server.wait_for("ends", lambda run: run["status"] != "running")
    assert (run["status"], run["reason"]) == (status, reason)
    assert server.points(run["runId"], "loss") == [(step, step / 3) for step in range(3000)]
    if status == "failed":
        assert "bad luck" in server.get(f"/api/v1/runs/{run['runId']}")["traceback"]


def test_killed_at_random_moments(start_server, script):
    """SIGKILL in the middle of a tight loop: whatever log() returned for is there, once."""
    server = start_server()
    code = """
        import os, sys
        import rundial as rd
        run = rd.init(project="random", name=sys.argv[1], quiet=True)
        done = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
        os.ftruncate(done, 8)
        import mmap
        counter = memoryview(mmap.mmap(done, 8)).cast("Q")
        print("go", flush=True)
        step = 0
        while True:
            run.log({"loss": step / 3}, step=step)
            step += 1
            counter[0] = step
    """
    for trial, pause in enumerate((0.0, 0.05, 0.3, 0.8)):
        count_file = f"count-{trial}"
        process = script(code, f"trial-{trial}", count_file)
        assert process.stdout.readline() == b"go\n"
        time.sleep(pause)
        process.kill()
        process.wait()
        logged = int.from_bytes(Path(count_file).read_bytes(), "little")
        run = server.wait_for(
            "random", lambda run, name=f"trial-{trial}": run["runName"] == name and run["status"] == "crashed"
        )
        steps = [step for step, _ in server.points(run["runId"], "loss")]
        assert steps == list(range(len(steps)))
        assert len(steps) - logged in (0, 1)
        assert run["points"] == len(steps)


def test_a_forked_child_logs_into_the_same_run(start_server, script):
    """A child is a stream of its own; neither its end nor its records touch the parent's."""
    server = start_server()
    process = script(
        """
        import os
        import rundial as rd
        run = rd.init(project="forks", quiet=True)
        for step in range(100):
            run.log({"parent": step}, step=step)
        children = []
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                for step in range(50):
                    run.log({f"child/{number}": step}, step=step)
                if number == 0:
                    run.finish(10)
                os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        for step in range(100, 200):
            run.log({"parent": step}, step=step)
        print(run.finish(10), run.id)
        """
    )
    delivered, run_id = process.output()[0].split()
    assert delivered == "True"
    server.wait_for("forks", lambda run: run["points"] == 350)
    assert [step for step, _ in server.points(run_id, "parent")] == list(range(200))
    for number in range(3):
        assert [step for step, _ in server.points(run_id, f"child/{number}")] == list(range(50))
    run = server.get(f"/api/v1/runs/{run_id}")
    assert run["status"] == "completed"
    assert len(run["attempts"]) == 4


def test_the_next_process_sends_what_the_last_one_left(start_server, script):
    """A process is killed while its server is away; the next one with the same server and directory brings it all."""
    server = start_server()
    port, url, key = server.port, server.url, server.key
    server.stop()
    code = """
        import os, sys, time
        import rundial as rd
        run = rd.init(project="relay", name=sys.argv[3], endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
        for step in range(500):
            run.log({"loss": step / 3})
        print(run.id, flush=True)
        if sys.argv[3] == "first":
            os.kill(os.getpid(), 9)
        time.sleep(3)
    """
    first = script(code, url, key, "first")
    run_id = first.stdout.readline().decode().strip()
    assert first.wait(30) == -signal.SIGKILL
    server = start_server(port=port, watched=False)
    script(code, url, key, "second").output()
    run = server.wait_for("relay", lambda run: run["runName"] == "first" and run["status"] == "crashed")
    assert run["runId"] == run_id
    assert server.points(run_id, "loss") == [(step, step / 3) for step in range(500)]
