"""Processes that split, multiply and carry the run along."""

import json
import os
import subprocess
import sys

import pytest

START = """
    import multiprocessing, os, pickle, sys, threading, time
    import rundial as rd
"""


def output(script, code, *arguments):
    process = script(START + code, *arguments)
    return process.output(120)


def steps(server, run_id, key):
    return [step for step, _ in server.points(run_id, key)]


def test_multiprocessing_children_deliver_before_they_leave(start_server, script):
    """Children of multiprocessing leave past atexit; what they logged is delivered all the same."""
    server = start_server()
    out, _ = output(
        script,
        """
    def work(number):
        for step in range(200):
            run.log({f"worker/{number}": step}, step=step)

    run = rd.init(project="fan", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    run.log({"parent": 1})
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(run.id, [worker.exitcode for worker in workers], run.finish(10))
    """,
        server.url,
        server.key,
    )
    run_id, rest = out.split(" ", 1)
    assert rest == "[0, 0, 0, 0] True\n"
    for number in range(4):
        assert steps(server, run_id, f"worker/{number}") == list(range(200))
    run = server.get(f"/api/v1/runs/{run_id}")
    assert (run["status"], len(run["attempts"])) == ("completed", 5)
    assert {attempt["status"] for attempt in run["attempts"]} == {"completed"}


def test_a_run_started_in_a_child_ends_with_it(start_server, script):
    """rd.init inside a multiprocessing child: completed, or failed with the child's exception."""
    server = start_server()
    output(
        script,
        """
    def work(fail):
        run = rd.init(project="inner", name=str(fail), endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
        run.log({"x": 1})
        if fail:
            raise ValueError("in the child")

    context = multiprocessing.get_context("fork")
    for fail in (False, True):
        worker = context.Process(target=work, args=(fail,))
        worker.start()
        worker.join()
    """,
        server.url,
        server.key,
    )
    found = {run["runName"]: (run["status"], run["reason"]) for run in server.runs("inner")}
    assert found == {"False": ("completed", None), "True": ("failed", "ValueError: in the child")}


SPAWN = """
import copy, multiprocessing, pickle, sys
import rundial as rd

def work(run, number):
    for step in range(100):
        run.log({f"spawned/{number}": step}, step=step)

if __name__ == "__main__":
    run = rd.init(project="spawn", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    assert pickle.loads(pickle.dumps(run)) is run
    assert copy.deepcopy({"run": run})["run"] is run
    run.log({"parent": 1})
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(run, number)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(run.id, run.finish(10))
"""


def test_a_pickled_run_is_a_handle_of_the_same_run(start_server, tmp_path):
    """A run sent to a spawned process logs there as a further stream; here it comes back as itself."""
    server = start_server()
    job = tmp_path / "job.py"
    job.write_text(SPAWN)
    command = [sys.executable, job, server.url, server.key]
    run_id, delivered = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.split()
    assert delivered == "True"
    for number in range(2):
        assert steps(server, run_id, f"spawned/{number}") == list(range(100))


@pytest.mark.parametrize("workers", [4])
def test_data_loader_workers_log(start_server, script, workers):
    """A dataset that logs from DataLoader workers: every sample is there once."""
    pytest.importorskip("torch")
    server = start_server()
    out, _ = output(
        script,
        """
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Samples(Dataset):
        def __len__(self):
            return 400
        def __getitem__(self, index):
            run.log({"sample": index}, step=index)
            return index

    run = rd.init(project="loader", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    seen = [int(i) for batch in DataLoader(Samples(), batch_size=10, num_workers=int(sys.argv[3])) for i in batch]
    print(run.id, len(seen), run.finish(10))
    """,
        server.url,
        server.key,
        workers,
    )
    run_id, count, delivered = out.split()
    assert (count, delivered) == ("400", "True")
    server.wait_for("loader", lambda run: run["points"] == 400)
    assert steps(server, run_id, "sample") == list(range(400))


def test_forks_while_threads_log(start_server, script):
    """Many forks beside threads that log: no hang, nothing lost, nothing twice."""
    server = start_server()
    out, err = output(
        script,
        """
    run = rd.init(project="stress", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    stop = threading.Event()
    counts = [0, 0, 0]

    def work(number):
        while not stop.is_set():
            run.log({f"thread/{number}": counts[number]}, step=counts[number])
            counts[number] += 1
            time.sleep(0.0002)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        pid = os.fork()
        if pid == 0:
            if number % 3 == 0:
                run.log({"child": number}, step=number)
            if number % 3 == 1:
                run.finish(1)
            os._exit(0)
        os.waitpid(pid, 0)
    stop.set()
    for thread in threads:
        thread.join()
    import json
    print(json.dumps([run.id, counts, run.finish(20), run.diagnostics().balanced]))
    """,
        server.url,
        server.key,
    )
    run_id, counts, delivered, balanced = json.loads(out)
    assert (delivered, balanced, err.count("Traceback")) == (True, True, 0)
    for number, count in enumerate(counts):
        assert steps(server, run_id, f"thread/{number}") == list(range(count))
    server.wait_for("stress", lambda run: run["points"] == sum(counts) + 20)
    assert steps(server, run_id, "child") == list(range(0, 60, 3))


def test_a_signal_handler_may_log_and_finish(start_server, script):
    """A handler that logs, prints and flushes in the middle of a log call: no hang, and all of it arrives."""
    server = start_server()
    out, _ = output(
        script,
        """
    import signal
    run = rd.init(project="signals", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    hits = depth = 0

    def handler(number, frame):
        global hits, depth
        if depth == 20:
            return  # a machine that is slow would nest them without end
        depth += 1
        mine, hits = hits, hits + 1  # a flush below may be interrupted by the next signal
        run.log({"handler": mine}, step=mine)
        print("", end="")
        if mine % 50 == 0:
            run.flush(0.01)
        depth -= 1

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    step = 0
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        run.log({"loop": step}, step=step)
        step += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(run.id, step, hits, run.finish(20), run.diagnostics().dropped)
    """,
        server.url,
        server.key,
    )
    run_id, step, hits, delivered, dropped = out.split()
    assert (delivered, dropped) == ("True", "{}")
    assert int(hits) > 100
    assert steps(server, run_id, "loop") == list(range(int(step)))
    assert steps(server, run_id, "handler") == list(range(int(hits)))


def test_sigterm_ends_the_run_and_the_process(start_server, script):
    """SIGTERM: the run is aborted with everything in it, and the process dies of the signal, soon."""
    server = start_server()
    process = script(
        START
        + """
    run = rd.init(project="term", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    for step in range(1000):
        run.log({"x": step}, step=step)
    print("ready", flush=True)
    while True:
        time.sleep(0.1)
    """,
        server.url,
        server.key,
    )
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(5) == -15
    run = server.wait_for("term", lambda run: run["status"] != "running")
    assert (run["status"], run["reason"], run["points"]) == ("aborted", "SIGTERM", 1000)


FORK_AT_ONCE = """
    import os, sys
    import rundial as rd
    run = rd.init(project="forked", quiet=True)
    child = os.fork()
    if child == 0:
        run.log({"child": 1.0})
        os._exit(0 if run.flush(10) else 3)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_right_after_init_leaves_no_module_locked(start_server, script):
    """The threads of the parent are still importing what they need; the child's must not wait for them for ever."""
    start_server()
    for _ in range(int(os.environ.get("FORKS_AT_ONCE", "12"))):
        assert script(FORK_AT_ONCE).wait(30) == 0
