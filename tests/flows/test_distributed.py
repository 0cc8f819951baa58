"""Jobs of several ranks: one run, as many streams as log."""

import os
import subprocess
import sys

import pytest

CODE = """
import os, sys, threading
import rundial as rd
server, key, run_id, options = sys.argv[1:]
run = rd.init(project="job", run_id=run_id, endpoint=server, api_key=key, quiet=True, **eval(options))
for step in range(300):
    run.log({f"rank{os.environ['RANK']}/loss": step / 3}, step=step)
print(run.finish(20), threading.active_count())
"""


def ranks(server, run_id, options, count=3, order=None):
    """One process for each rank, started in this order; what each printed."""
    processes = {}
    for rank in order or range(count):
        processes[rank] = subprocess.Popen(
            [sys.executable, "-c", CODE, server.url, server.key, run_id, repr(options)],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(count)},
            stdout=subprocess.PIPE,
            text=True,
        )
    printed = {}
    for rank, process in processes.items():
        with process:
            printed[rank] = process.communicate(timeout=60)[0].strip()
        assert process.returncode == 0
    return printed


def test_by_default_rank_zero_logs_alone(start_server, tmp_path):
    """Other ranks accept everything, start no thread, touch no file and ask no server."""
    server = start_server()
    printed = ranks(server, "run_rank0", {})
    assert printed[0].startswith("True")
    assert printed[1] == printed[2] == "True 1"
    run = server.get("/api/v1/runs/run_rank0")
    assert [attempt["rank"] for attempt in run["attempts"]] == [0]
    assert run["points"] == 300


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_ranks_make_one_run(start_server, order):
    """With distributed="all" every rank is a stream of the same run, whoever comes first."""
    server = start_server()
    run_id = "run_" + "".join(map(str, order))
    printed = ranks(server, run_id, {"distributed": "all"}, order=order)
    assert {line.split()[0] for line in printed.values()} == {"True"}
    run = server.wait_for("job", lambda run: run["points"] == 900)
    run = server.get(f"/api/v1/runs/{run_id}")
    assert sorted(attempt["rank"] for attempt in run["attempts"]) == [0, 1, 2]
    assert run["status"] == "completed"
    for rank in range(3):
        assert server.points(run_id, f"rank{rank}/loss") == [(step, step / 3) for step in range(300)]


TORCH = """
import sys
import torch.distributed as dist
import rundial as rd
dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=int(sys.argv[4]), world_size=2)
run = rd.init(project="gloo", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
run.log({"x": 1})
dist.barrier()
print(run.finish(20))
dist.destroy_process_group()
"""


@pytest.mark.frameworks
def test_an_initialised_process_group_tells_the_rank(start_server, tmp_path):
    """Without any variable in the environment, torch.distributed knows."""
    server = start_server()
    command = [sys.executable, "-c", TORCH, server.url, server.key, str(tmp_path / "rendezvous")]
    processes = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE) for rank in range(2)]
    for process in processes:
        with process:
            assert process.communicate(timeout=60)[0] == b"True\n"
    assert [run["points"] for run in server.runs("gloo")] == [1]
