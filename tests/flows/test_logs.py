"""Logs, from a script that prints to the server that shows them."""

import time

import pytest

SCRIPT = """
import logging, os, sys
import rundial as rd
from rundial.logs import LogHandler

run = rd.init(project="logs", endpoint=sys.argv[1], api_key=sys.argv[2], capture_console=True, quiet=True)
logging.getLogger("trainer").addHandler(LogHandler(run))
print("hello", "world")
print("to stderr", file=sys.stderr)
run.log_text("manual warning", level="warn")
logging.getLogger("trainer").error("from a logger")
for i in range(101):
    sys.stdout.write(f"\\r{i}%")
sys.stdout.write("\\nwindows\\r\\n")
pid = os.fork()
if pid == 0:
    print("from the child")
    sys.exit(0)
os.waitpid(pid, 0)
print("unfinished", end="")
run.finish(20)
print("after the end")
"""


def lines(server, run_id, **query):
    """All lines of a run, oldest first, as (level, source, message)."""
    answer = server._session.post(
        f"{server.url}/api/v1/query/logs", json={"runId": run_id, "order": "asc", "limit": 10_000, **query}, timeout=20
    )
    answer.raise_for_status()
    return [(row["level"], row["source"], row["message"]) for row in answer.json()["rows"]]


def test_R32_what_is_printed_and_said_reaches_the_server(start_server, script):
    """R17, R18, R30, R31 too: both streams, log_text, a logger, a bar's last state, CRLF, a fork; the terminal too."""
    server = start_server()
    out, err = script(SCRIPT, server.url, server.key).output()
    run = server.wait_for("logs", lambda run: run["status"] == "completed")

    found = lines(server, run["runId"])

    assert [line for line in found if line[2] != "from the child"] == [
        ("info", "stdout", "hello world"),
        ("error", "stderr", "to stderr"),
        ("warn", "text", "manual warning"),
        ("error", "trainer", "from a logger"),
        ("info", "stdout", "100%"),
        ("info", "stdout", "windows"),
        ("info", "stdout", "unfinished"),
    ]
    assert [line for line in found if line[2] == "from the child"] == [("info", "stdout", "from the child")]
    assert out.startswith("hello world\n\r0%\r1%")
    assert "from the child" in out
    assert out.endswith("unfinishedafter the end\n")
    assert "to stderr" in err
    assert "manual warning" not in out + err


def test_R31_without_capture_print_stays_in_the_terminal(start_server, script):
    """log_text reaches the log all the same."""
    server = start_server()
    code = """
        import sys, rundial as rd
        with rd.init(project="logs", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True) as run:
            print("hello")
            run.log_text("said")
    """
    out, _ = script(code, server.url, server.key).output()
    run = server.wait_for("logs", lambda run: run["status"] == "completed")

    assert (out, lines(server, run["runId"])) == ("hello\n", [("info", "text", "said")])


def test_a_killed_process_leaves_its_lines(start_server, script):
    """What print() returned from is in the log after SIGKILL, and nothing is there twice."""
    server = start_server()
    code = """
        import os, sys, rundial as rd
        run = rd.init(project="logs", capture_console=True, quiet=True)
        for i in range(5000):
            print(f"line {i}", flush=True)
        os.write(1, b"ready\\n")
        sys.stdin.readline()
    """
    process = script(code)
    assert b"ready\n" in process.stdout
    process.kill()
    process.wait(20)
    run = server.wait_for("logs", lambda run: run["status"] == "crashed", 40)

    messages = [message for _, _, message in lines(server, run["runId"])]

    assert messages == [f"line {i}" for i in range(5000)]


def test_a_traceback_is_the_end_of_the_log(start_server, script):
    """Of an exception nobody caught, when the console is captured."""
    server = start_server()
    code = """
        import sys, rundial as rd
        run = rd.init(project="logs", endpoint=sys.argv[1], api_key=sys.argv[2], capture_console=True, quiet=True)
        raise ValueError("no such column")
    """
    process = script(code, server.url, server.key)
    _, err = process.communicate(timeout=60)
    run = server.wait_for("logs", lambda run: run["status"] == "failed")

    assert b"ValueError: no such column" in err
    assert lines(server, run["runId"])[-1] == ("error", "stderr", "ValueError: no such column")


def test_a_flood_of_lines(start_server, script):
    """100,000 lines are all there or counted, in their order."""
    server = start_server()
    code = """
        import sys, rundial as rd
        run = rd.init(project="logs", endpoint=sys.argv[1], api_key=sys.argv[2], capture_console=True, quiet=True)
        for i in range(100_000):
            print(i)
        run.finish(30)
        account = run.diagnostics()
        print(account.dropped_log_lines_queue_full, account.balanced)
    """
    out, _ = script(code, server.url, server.key).output()
    run = server.wait_for("logs", lambda run: run["status"] == "completed")
    lost, balanced = out.splitlines()[-1].split()

    numbers: list[int] = []
    cursor = None
    while cursor is not None or not numbers:
        body = {"runId": run["runId"], "order": "asc", "limit": 10_000, "cursor": cursor}
        answer = server._session.post(f"{server.url}/api/v1/query/logs", json=body, timeout=20).json()
        numbers += [int(row["message"]) for row in answer["rows"]]
        cursor = answer["page"]["nextCursor"]

    assert balanced == "True"
    assert len(numbers) + int(lost) == 100_000
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("where", ["online", "offline"])
def test_system_metrics_reach_the_server(start_server, script, where):
    """They are on unless switched off, and their steps are no steps of the run."""
    server = start_server()
    code = """
        import sys, time, rundial as rd
        run = rd.init(project="logs", mode=sys.argv[1], quiet=True, system_metrics=True)
        run.log(loss=0.5)
        deadline = time.monotonic() + 20
        while not run.diagnostics().system_samples_collected and time.monotonic() < deadline:
            time.sleep(0.05)
        run.log(loss=0.4)
        run.finish(20)
    """
    script(code, where).output()
    run = server.wait_for("logs", lambda run: run["status"] == "completed", 40)

    points = server.points(run["runId"], "system/memory.percent")

    assert len(points) >= 1
    assert abs(points[0][0] - time.time()) < 120
    assert run["lastStep"] == 1
    assert not [key for key in run["summary"] if key.startswith("system/")]
