"""What processes leave behind when they die, and who may take it."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from rundial import survey
from rundial.adoption import adopt_rings
from rundial.config import home
from rundial.errors import RequestError
from rundial.events import Gap, Metrics, RunEnd, RunStart
from rundial.queue import queue_folder
from rundial.recovery import contiguous, deliver_folder, fill_gap, sync
from rundial.spool import LOCK_NAME, Spool
from rundial.streams import is_local
from rundial.testing import MemoryTransport
from rundial.transport import Outcome
from rundial.wire import Chunk, decode_chunk, encode, unpack_chunk

KILLED = "os.kill(os.getpid(), 9)"
VANISHED = "os._exit(3)"
SCRIPT = """
import os, sys
import rundial as rd
run = rd.init(run_id=sys.argv[1], quiet=True)
for step in range(300):
    run.log({"loss": step / 3}, step=step)
"""
IN_THE_MIDDLE = """
run.flush(5)
for step in range(300, 500):
    run.log({"loss": step / 3}, step=step)
"""
WAITS = """
run.flush(5)
run.log({"loss": 100.0}, step=300)
print("ready", flush=True)
sys.stdin.read()
"""


def process(run_id, code, **environment):
    """A script that logs 300 steps into its working directory's spool, and then does as ``code`` says."""
    command = [sys.executable, "-c", f"{SCRIPT}\n{code}", run_id]
    return subprocess.Popen(command, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def dies(run_id, code, **environment):
    with process(run_id, code, **environment) as dead:
        dead.communicate(timeout=30)
    assert dead.returncode in (-9, 3)


def of_this_home(meta):
    """Rings of all processes on this machine lie in one folder; a test takes its own."""
    return is_local(meta)


def spool():
    return Path(".rundial_spool").absolute()


def rings_here():
    """The rings in shared memory that processes of this test left; those of others come and go meanwhile."""
    mine = os.fsencode(Path.cwd().parent)
    found = []
    for path in (queue_folder() or Path("/nowhere")).glob("*.ring"):
        with suppress(FileNotFoundError), path.open("rb") as file:
            if mine in file.read(4096):
                found.append(path)
    return found


@pytest.fixture(autouse=True)
def leave_nothing():
    """A test that fails leaves no ring in the machine's memory."""
    yield
    for path in rings_here():
        path.unlink(missing_ok=True)


def recover(server, wanted=of_this_home):
    """Adopt and deliver what is wanted; what that came to."""
    return list(sync([spool()], lambda meta: server, wanted, frozenset()))


def ends(server):
    return [(event.status, event.reason) for event in server.events if isinstance(event, RunEnd)]


@pytest.mark.parametrize("death", [KILLED, VANISHED])
@pytest.mark.parametrize(("code", "steps"), [("", 300), (IN_THE_MIDDLE, 500), ("run.flush(5)\n", 300)])
def test_everything_a_dead_process_logged_arrives_once(code, steps, death):
    """Out of the ring, out of the spool, or out of both, where they overlap; then nothing of it is left here."""
    dies("run_dead", code + death)
    server = MemoryTransport()
    (sent,) = recover(server)
    assert isinstance(server.events[0], RunStart)
    assert server.steps("loss") == list(range(steps))
    assert server.series("loss") == [step / 3 for step in range(steps)]
    assert ends(server) == [("crashed", "the process vanished")]
    assert (sent.records, sent.pending, sent.error, sent.damaged) == (steps + 2, 0, None, 0)
    assert sent.meta["run_id"] == "run_dead"
    assert not sent.folder.exists()
    assert rings_here() == []


def test_the_end_is_written_once():
    """However often delivery is tried, the process that vanished has one end."""
    dies("run_ends", "run.flush(5)\n" + KILLED)
    nobody = MemoryTransport()
    nobody.script = [Outcome("retry", error=RequestError("no answer"))] * 3
    (folder,) = adopt_rings(of_this_home)
    assert deliver_folder(folder, lambda meta: None, of_this_home).records == 0
    for _ in range(3):
        sent = deliver_folder(folder, lambda meta: nobody, of_this_home)
        assert (sent.records, str(sent.error)) == (0, "no answer")
    server = MemoryTransport()
    recover(server)
    assert ends(server) == [("crashed", "the process vanished")]
    assert isinstance(server.events[-1], RunEnd)


def test_a_process_that_ended_itself_has_no_second_end():
    """It finished without a server and was killed later: its own word stands."""
    dies("run_done", "run.finish(status='failed', reason='out of patience')\n" + KILLED)
    server = MemoryTransport()
    recover(server)
    assert ends(server) == [("failed", "out of patience")]


def test_what_is_refused_stays_where_it_is():
    """A server that says no takes nothing away; it is all there for the next attempt."""
    dies("run_kept", KILLED)
    server = MemoryTransport()
    server.script = [Outcome("denied", error=RequestError("wrong key", 401))]
    (sent,) = recover(server)
    assert (sent.records, sent.pending, str(sent.error)) == (0, 302, "wrong key")
    recover(server)
    assert server.steps("loss") == list(range(300))


def test_a_living_process_keeps_what_is_its_own():
    """Neither its ring nor its folder is touched; what it delivers later is whole."""
    with process("run_alive", WAITS) as alive:
        assert alive.stdout.readline() == b"ready\n"
        before = sorted(spool().rglob("*"))
        server = MemoryTransport()
        assert adopt_rings(of_this_home) == []
        assert list(sync([spool()], lambda meta: server, of_this_home, frozenset())) == []
        assert server.events == []
        assert sorted(spool().rglob("*")) == before
        assert len(rings_here()) == 1
        alive.communicate(timeout=30)
    recover(server)
    assert server.steps("loss") == list(range(301))
    assert ends(server) == [("completed", None)]


def test_a_stream_of_this_process_is_passed_over():
    """The kernel refuses a lock to other processes only, so the own streams are named."""
    folder = spool() / ("a" * 32)
    mine = Spool(folder, folder.name, {"endpoint": None, "home": str(home())}, 1 << 30)
    mine.append([Chunk(folder.name, 0, 1, encode(Metrics(1, 0, {"loss": 1.0})))])
    server = MemoryTransport()
    assert list(sync([spool()], lambda meta: server, of_this_home, frozenset({folder.name}))) == []
    assert mine.read(0, 1 << 20)
    mine.close()


def test_another_homes_runs_are_left_to_its_owner(tmp_path):
    """A local run belongs to the store of the home it was logged under, wherever its spool lies."""
    other = str(tmp_path / "other-home")
    dies("run_theirs", "run.flush(5)\n" + IN_THE_MIDDLE + KILLED, RUNDIAL_HOME=other)
    server = MemoryTransport()
    assert adopt_rings(of_this_home) == []
    assert list(sync([spool()], lambda meta: server, of_this_home, frozenset())) == []
    assert len(rings_here()) == 1
    recover(server, lambda meta: meta["home"] == other)
    assert server.steps("loss") == list(range(500))


TAKE = """
import sys
from rundial.locks import lock_as_adopter
with open(sys.argv[1], "r+b") as file:
    lock_as_adopter(file.fileno())
"""


def test_who_does_not_want_a_ring_keeps_it_from_nobody():
    """While one process learns that a ring is none of its business, another can take it over."""
    dies("run_wanted", IN_THE_MIDDLE + KILLED)
    (ring,) = rings_here()
    taken = []

    def unwanted(meta):
        if meta["run_id"] == "run_wanted":
            taken.append(subprocess.run([sys.executable, "-c", TAKE, ring], check=False).returncode)
        return False

    assert adopt_rings(unwanted) == []
    assert taken == [0]


def test_whoever_takes_a_stream_over_notes_the_folder_for_its_owner(tmp_path):
    """A server with another home moves a ring into the spool of the run: `rundial sync` of the run's home finds it."""
    home = tmp_path / "other-home"
    dies("run_noted", IN_THE_MIDDLE + KILLED, RUNDIAL_HOME=str(home))
    shutil.rmtree(home, ignore_errors=True)  # as of a process that never had to write there
    (folder,) = adopt_rings(lambda meta: meta["home"] == str(home))
    assert [Path(note.read_text()) for note in (home / "spools").iterdir()] == [folder.parent]


@pytest.mark.parametrize("listing", ["rings", "registered", "stream_folders"])
def test_what_moves_while_it_is_looked_for_is_seen(listing, monkeypatch):
    """A ring is moved to its folder right after some list was made: what waits is never overlooked."""
    dies("run_moving", IN_THE_MIDDLE + KILLED)
    original = getattr(survey, listing)

    def then_moved(*arguments):
        found = list(original(*arguments))
        monkeypatch.setattr(survey, listing, original)
        assert len(adopt_rings(of_this_home)) == 1
        return found

    monkeypatch.setattr(survey, listing, then_moved)
    (waiting,) = [waiting for waiting in survey.survey() if of_this_home(waiting.meta)]
    assert waiting.records() >= 501


HOLD = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_ring_in_other_hands_keeps_its_folder_back():
    """Somebody else looks into the ring just now: the folder does not end before what is still to come from there."""
    dies("run_held", IN_THE_MIDDLE + KILLED)
    (ring,) = rings_here()
    server = MemoryTransport()
    with subprocess.Popen([sys.executable, "-c", HOLD, ring], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        list(sync([spool()], lambda meta: server, of_this_home, frozenset()))
        holder.communicate(timeout=10)
    recover(server)
    assert server.steps("loss") == list(range(500))
    assert ends(server) == [("crashed", "the process vanished")]


def test_what_is_taken_over_is_sent_at_once(tmp_path):
    """A server that never saw the run's spool directory before delivers what it has just moved there."""
    home = tmp_path / "other-home"
    dies("run_once", IN_THE_MIDDLE + KILLED, RUNDIAL_HOME=str(home))
    server = MemoryTransport()
    assert len(list(sync([], lambda meta: server, lambda meta: meta["home"] == str(home), frozenset()))) == 1
    assert server.steps("loss") == list(range(500))


def test_a_run_for_a_server_is_not_local():
    """It belongs to that server and to no store of this machine."""
    assert is_local({"endpoint": None, "home": str(home())})
    assert not is_local({"endpoint": "https://logs.example", "home": str(home())})
    assert not is_local({"endpoint": None, "home": "/somebody/else"})
    assert not is_local({})


@pytest.mark.parametrize("obstacle", ["a file", "nothing"])
def test_a_spool_directory_that_is_gone_has_a_substitute(tmp_path, obstacle):
    """Records that only the ring still holds are kept in the home when their own place cannot be made again."""
    place = tmp_path / "project"
    place.mkdir()
    dies("run_homeless", KILLED, RUNDIAL_SPOOL_DIR=str(place / "spool"))
    assert list(place.iterdir()) == []
    place.rmdir()
    if obstacle == "a file":
        place.write_text("in the way")
    (folder,) = adopt_rings(of_this_home)
    parent = home() / "spool" if obstacle == "a file" else place / "spool"
    assert folder.parent == parent
    server = MemoryTransport()
    list(sync([parent] if obstacle == "nothing" else [], lambda meta: server, of_this_home, frozenset()))
    assert server.steps("loss") == list(range(300))
    assert not folder.exists()


def test_nothing_is_lost_when_there_is_no_place_at_all(tmp_path):
    """Neither the spool directory nor the home can be written: the ring stays, with a warning, until one can."""
    place = tmp_path / "project"
    dies("run_stuck", KILLED, RUNDIAL_SPOOL_DIR=str(place / "spool"))
    place.write_text("in the way")
    blocked = home() / "spool"
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("in the way")
    with pytest.warns(RuntimeWarning, match="cannot take over .*; the file is left where it is"):
        adopt_rings(of_this_home)
    assert len(rings_here()) == 1
    blocked.unlink()
    server = MemoryTransport()
    recover(server)
    assert server.steps("loss") == list(range(300))


# -- holes ------------------------------------------------------------------------------------------------------------

STREAM = "b" * 32


def records(first, count):
    return Chunk(STREAM, first, count, b"".join(encode(Metrics(1, n, {"x": n})) for n in range(first, first + count)))


@pytest.fixture
def holey(tmp_path):
    """A folder with sequences 5 to 9 and 20 to 24; what lay between them and before is gone."""
    directory = tmp_path / "spool"
    meta = {"host": os.uname().nodename, "home": str(home()), "spool": str(directory)}
    spool = Spool(directory / STREAM, STREAM, meta, 1 << 30)
    spool.append([records(5, 5), records(20, 5)])
    yield spool
    spool.close()


def ranges(batch):
    """(first, next, whether it is a gap) of packed chunks."""
    return [(chunk.first, chunk.next, chunk.is_gap) for chunk in (unpack_chunk(packed)[0] for packed in batch)]


def test_what_is_missing_between_chunks_is_sent_as_a_gap(holey):
    """The server takes a stream in sequence only: the hole has a record that says how large it is and why."""
    batch = contiguous(holey, 0)
    assert ranges(batch) == [(5, 10, False), (10, 20, True), (20, 25, False)]
    (gap,), _ = decode_chunk(unpack_chunk(batch[1])[0])
    assert gap == Gap(10, 19, "spool_damaged")


def test_sending_goes_on_in_the_middle(holey):
    """From the chunk that holds what the server expects; nothing when it has everything."""
    assert ranges(contiguous(holey, 7)) == [(5, 10, False), (10, 20, True), (20, 25, False)]
    assert ranges(contiguous(holey, 12)) == [(20, 25, False)]
    assert contiguous(holey, 25) == []


def test_a_server_that_expects_what_is_gone_is_told_so(holey):
    """A gap leads from what it expects to what there is."""
    assert ranges(fill_gap(holey, 0))[:2] == [(0, 5, True), (5, 10, False)]
    assert ranges(fill_gap(holey, 12)) == [(12, 20, True), (20, 25, False)]
    assert ranges(fill_gap(holey, 7)) == ranges(contiguous(holey, 7))


def test_a_folder_with_holes_is_delivered_whole(holey):
    """Every record that is there arrives, and the sequence has no hole at the server."""
    folder = holey.folder
    holey.close()
    server = MemoryTransport()
    sent = deliver_folder(folder, lambda meta: server, lambda meta: True)
    assert server.steps("x") == [*range(5, 10), *range(20, 25)]
    assert [(event.first, event.last) for event in server.events if isinstance(event, Gap)] == [(0, 4), (10, 19)]
    assert ends(server) == [("crashed", "the process vanished")]
    assert (sent.pending, sent.error) == (0, None)
    assert not folder.exists()


def test_a_folder_without_segments_is_nobodys(tmp_path):
    """A lock alone says nothing of a stream."""
    folder = tmp_path / ("c" * 32)
    folder.mkdir()
    (folder / LOCK_NAME).touch()
    assert deliver_folder(folder, lambda meta: None, lambda meta: True) is None
