"""The test doubles that ship, as a user's own tests would use them."""

from pathlib import Path

import pytest

import rundial as rd
from rundial.errors import RequestError
from rundial.events import Gap, Metrics, RunEnd, RunStart
from rundial.testing import MemoryTransport, capture_run
from rundial.transport import Outcome
from rundial.wire import Chunk, encode, gap_chunk, pack_chunk

STREAM = "0" * 32


def chunk(*steps):
    """Metrics whose steps are their sequence numbers, packed."""
    records = b"".join(encode(Metrics(1, step, {"loss": step / 2})) for step in steps)
    return pack_chunk(Chunk(STREAM, steps[0], len(steps), records))


def test_what_a_training_logs_can_be_asked_for():
    """Values and steps by name, in the order they came."""
    with capture_run() as (run, server):
        for step in range(3):
            run.log({"loss": 1 / (step + 1), "note": "x"}, step=step * 10)
    assert server.series("loss") == [1.0, 0.5, 1 / 3]
    assert server.steps("loss") == [0, 10, 20]
    assert server.series("note") == ["x"] * 3
    assert server.series("nothing") == server.steps("nothing") == []


def test_the_run_is_finished_with_the_block():
    """From its start to its end everything is there, also when the test's own code fails."""
    server = MemoryTransport()
    with pytest.raises(ZeroDivisionError), capture_run(server) as (run, _):
        run.log({"loss": 1.0})
        raise ZeroDivisionError
    assert isinstance(server.events[0], RunStart)
    assert isinstance(server.events[-1], RunEnd)
    assert run.status != "running"


def test_a_captured_run_leaves_nothing_behind(tmp_path):
    """No file where the test runs, and it is not the current run of anybody."""
    with capture_run() as (run, _):
        run.log({"loss": 1.0})
        assert rd.run is None
        spool = Path(run.diagnostics().spool_directory)
    assert not spool.exists()
    assert list((tmp_path / "work").iterdir()) == []


def test_options_reach_the_run():
    """Whatever init takes, a captured run takes."""
    with capture_run(project="vision", workspace="team", mode="offline") as (run, server):
        run.log({"loss": 1.0})
    assert (run.project, run.workspace, run.mode) == ("vision", "team", "offline")
    assert server.events == []


def test_a_stream_is_taken_in_sequence():
    """As the real server does: what is known is skipped, a hole is refused by naming what is expected."""
    server = MemoryTransport()
    assert server.deliver(STREAM, chunk(0, 1, 2)).reply.next == 3
    again = server.deliver(STREAM, chunk(1, 2, 3))
    assert (again.verdict, again.reply.next, again.reply.accepted, again.reply.duplicate) == ("acknowledged", 4, 1, 2)
    ahead = server.deliver(STREAM, chunk(9))
    assert (ahead.verdict, ahead.reply.next) == ("behind", 4)
    assert server.steps("loss") == [0, 1, 2, 3]


def test_a_gap_takes_the_sequence_further():
    """One record for all that is gone."""
    server = MemoryTransport()
    body = chunk(0) + pack_chunk(gap_chunk(STREAM, 1, 8, "spool_bytes")) + chunk(9)
    assert server.deliver(STREAM, body).reply.next == 10
    assert [event.last for event in server.events if isinstance(event, Gap)] == [8]
    assert server.steps("loss") == [0, 9]


def test_streams_do_not_meet():
    """Each has a sequence of its own."""
    server = MemoryTransport()
    other = pack_chunk(Chunk("1" * 32, 0, 1, encode(Metrics(1, 7, {"loss": 1.0}))))
    assert server.deliver(STREAM, chunk(0, 1)).reply.next == 2
    assert server.deliver("1" * 32, other).reply.next == 1


def test_a_record_that_nobody_understands_is_kept_apart():
    """It is named by its number, and its neighbours are there."""
    server = MemoryTransport()
    records = encode(Metrics(1, 0, {"loss": 1.0})) + encode([99, "?"]) + encode(Metrics(1, 2, {"loss": 2.0}))
    assert server.deliver(STREAM, pack_chunk(Chunk(STREAM, 0, 3, records))).reply.next == 3
    assert [record.seq for record in server.bad] == [1]
    assert server.series("loss") == [1.0, 2.0]


def test_a_script_makes_it_misbehave():
    """Each delivery is answered with what stands next in the script, and then truthfully again."""
    server = MemoryTransport()
    server.script = [Outcome("retry", error=RequestError("no answer"))]
    assert server.deliver(STREAM, chunk(0)).verdict == "retry"
    assert server.events == []
    assert server.deliver(STREAM, chunk(0)).verdict == "acknowledged"
    assert server.deliveries == 2
