"""Which rank this process is, and what follows from it."""

import subprocess
import sys
from pathlib import Path

import pytest

import rundial as rd
from rundial.distributed import RANK_VARIABLES, detect_rank
from rundial.events import Metrics, RunStart
from rundial.recovery import sync
from rundial.streams import is_local
from rundial.testing import MemoryTransport


def delivered(run):
    """The events that an offline run left on the disk."""
    server = MemoryTransport()
    spool = Path(".rundial_spool").absolute()
    list(sync([spool], lambda meta: server, lambda meta: meta["run_id"] == run.id and is_local(meta), frozenset()))
    return server.events


@pytest.mark.parametrize(
    "variable", ["RUNDIAL_RANK", "RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "LOCAL_RANK"]
)
def test_every_launcher_tells_the_rank(monkeypatch, variable):
    """torchrun, Slurm, Open MPI, MPICH and Intel MPI each have a variable; ours is for all others."""
    assert detect_rank() == 0
    monkeypatch.setenv(variable, "3")
    assert detect_rank() == 3


def test_the_global_rank_comes_before_the_local_one(monkeypatch):
    """LOCAL_RANK repeats on every node, and our own variable is the last word."""
    for rank, variable in enumerate(reversed(RANK_VARIABLES), start=1):
        monkeypatch.setenv(variable, str(rank))
        assert detect_rank() == rank
    assert RANK_VARIABLES[0] == "RUNDIAL_RANK"
    assert detect_rank(7) == 7


@pytest.mark.parametrize("text", ["", "-1", "main", "1.0", " "])
def test_a_variable_that_is_no_rank_is_passed_over(monkeypatch, text):
    """The next one is asked."""
    monkeypatch.setenv("RANK", text)
    assert detect_rank() == 0
    monkeypatch.setenv("SLURM_PROCID", "2")
    assert detect_rank() == 2


@pytest.mark.frameworks
def test_an_initialised_process_group_knows_better(monkeypatch, tmp_path):
    """torch.distributed is asked once it is initialised, and the environment before that and after."""
    code = """if True:
        import sys
        import torch.distributed as dist
        from rundial.distributed import detect_rank
        ranks = [detect_rank()]
        dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/meeting", rank=0, world_size=1)
        ranks.append(detect_rank())
        dist.destroy_process_group()
        print([*ranks, detect_rank()])
    """
    monkeypatch.setenv("RANK", "5")
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout == "[5, 0, 5]\n"


def test_asking_for_the_rank_does_not_load_torch():
    """A script without torch does not pay for it."""
    code = "import sys; from rundial.distributed import detect_rank; detect_rank(); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


def test_all_lets_rank_three_log_as_a_part_of_the_run(monkeypatch):
    """Its stream says that another one leads the run, which it joins under the id they share."""
    monkeypatch.setenv("RANK", "3")
    run = rd.init(run_id="shared", distributed="all", mode="offline", quiet=True)
    run.log({"rank3/loss": 0.5})
    run.finish()
    events = delivered(run)
    start = next(event for event in events if isinstance(event, RunStart))
    assert (start.run_id, start.rank, start.part) == ("shared", 3, True)
    assert [event.values for event in events if isinstance(event, Metrics)] == [{"rank3/loss": 0.5}]


def test_rank_zero_leads():
    """With or without a launcher."""
    run = rd.init(distributed="all", mode="offline", quiet=True)
    run.finish()
    assert [(event.rank, event.part) for event in delivered(run) if isinstance(event, RunStart)] == [(0, False)]
