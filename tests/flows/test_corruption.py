"""What a killed process left is damaged on the disk: what is whole arrives, nothing arrives that is not right."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from rundial import queue, streams
from rundial.events import Event, Gap, Metrics, RunEnd, RunStart
from rundial.queue import AbandonedQueue, adopt
from rundial.recovery import Sent, sync
from rundial.segments import scan_segment, segment_paths
from rundial.spool_directories import register
from rundial.testing import MemoryTransport
from rundial.transport import Outcome
from rundial.wire import unpack_chunks
from tests.faults import Room, corrupt, open_room, seeds

STREAM = "5a" * 16
RECORDS = 1200
CHUNK_HEADER = 48
LEAVE_SPOOL = """
    import os, sys
    from pathlib import Path
    from rundial import spool
    from rundial.events import RunStart
    from rundial.wire import Chunk, encode
    spool.SEGMENT_BYTES = 2500
    stream, records, directory = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    left = spool.Spool(directory / stream, stream, {"run_id": "run_1", "project": "p", "name": "n"}, 1 << 30)
    events = [encode(RunStart(1, "run_1", "w", "p", "n"))]
    events += [encode((2, 1, step, {"loss": step / 3})) for step in range(1, records)]
    left.append([Chunk(stream, at, 20, b"".join(events[at : at + 20])) for at in range(0, records, 20)])
    os.kill(os.getpid(), 9)
"""
LEAVE_RING = """
    import os, sys
    from pathlib import Path
    from rundial.config import home
    from rundial.events import RunStart
    from rundial.queue import Queue
    from rundial.wire import encode
    stream, records, released = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    folder = Path(sys.argv[4]) / stream
    folder.mkdir(parents=True)
    meta = {"run_id": "run_1", "project": "p", "name": "n", "home": str(home()), "spool": sys.argv[5]}
    left = Queue(1 << 18, stream, folder / f"{stream}.ring", meta)
    left.offer(encode(RunStart(1, "run_1", "w", "p", "n")))
    while left.sequence < released:
        left.offer(encode((2, 1, left.sequence, {"loss": left.sequence / 3})))
        if left.crowded or left.sequence == released:
            left.release(left.peek()[-1].next)
    while left.sequence < records:
        left.offer(encode((2, 1, left.sequence, {"loss": left.sequence / 3})))
    os.kill(os.getpid(), 9)
"""
LOG = """
    import os, sys, time
    import rundial as rd
    run = rd.init(project="damaged", mode="offline", quiet=True)
    for step in range(3000):
        run.log({"loss": step / 3}, step=step)
        if step % 1000 == 999:
            run.flush(10)
"""


class Server(MemoryTransport):
    """A server in memory that asks of each chunk, before it believes it, whether it can be what it says it is."""

    def deliver(self, stream: str, body: bytes) -> Outcome:
        assert stream == STREAM, f"records of {STREAM} are delivered as {stream}"
        for chunk in unpack_chunks(body):
            assert chunk.is_gap or chunk.count <= len(chunk.records), f"a chunk that claims {chunk.count:,} records"
        return super().deliver(stream, body)


class Arrived(NamedTuple):
    """What came of one attempt to send a damaged folder."""

    steps: set[int]
    gaps: set[int]
    bad: set[int]
    following: int
    """The sequence the server expects next, without the end that recovery wrote."""
    reported: bool


def check_events(events: list[Event]) -> tuple[set[int], set[int]]:
    """Steps of the records and sequences of the gaps; fails for a point that was never logged, or came twice."""
    steps = [0 for event in events if isinstance(event, RunStart)]
    for event in events:
        if isinstance(event, Metrics):
            assert event.values == {"loss": event.step / 3} and event.time_ns == 1, event
            steps.append(event.step)
    found = [event for event in events if isinstance(event, Gap)]
    assert sum(gap.last - gap.first + 1 for gap in found) < 100_000, "a gap for records that never were"
    gaps = [seq for gap in found for seq in range(gap.first, gap.last + 1)]
    assert len(steps) == len(set(steps)), "a record came twice"
    assert len(gaps) == len(set(gaps)), "a gap came twice"
    return set(steps), set(gaps)


def send(directories: list[Path], transport: MemoryTransport) -> tuple[list[Sent], list[str]]:
    """Recovery of some directories into memory, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sent = list(sync(directories, lambda _meta: transport, lambda _meta: True, frozenset()))
    return sent, [str(warning.message) for warning in caught]


def arrive(directory: Path) -> Arrived:
    """Send a directory, and check that its account is whole as far as the stream goes."""
    transport = Server()
    sent, warned = send([directory], transport)
    steps, gaps = check_events(transport.events)
    bad = {record.seq for record in transport.bad}
    ended = any(isinstance(event, RunEnd) for event in transport.events)
    following = transport._next.get(STREAM, 0) - ended
    assert len(steps | gaps | bad) == following, "records that nobody speaks of"
    reported = bool(warned or gaps or bad or any(one.damaged for one in sent))
    return Arrived(steps, gaps, bad, following, reported)


def run_to_death(code: str, *arguments: object) -> None:

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)])
    assert done.returncode == -signal.SIGKILL


@pytest.fixture(autouse=True)
def no_foreign_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared memory is everybody's; a test in this process looks only at the rings it makes."""
    monkeypatch.setattr(streams, "queue_folder", lambda: None)


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """A number that was damaged into a huge one must not become as much memory; 1 GB is plenty."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def left_spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a process that was killed; to be copied, not touched."""
    directory = tmp_path_factory.mktemp("left") / "spool"
    run_to_death(LEAVE_SPOOL, STREAM, RECORDS, directory)
    assert len(segment_paths(directory / STREAM)) > 5
    return directory


@pytest.fixture
def copies(left_spool: Path, tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Makes fresh copies of the folder."""
    number = iter(range(1 << 30))
    yield lambda: Path(shutil.copytree(left_spool, tmp_path / f"copy-{next(number)}"))


def chunks_hit(path: Path, hit: range) -> set[int]:
    """Sequences of the chunks of a whole segment that the offsets ``hit`` touch."""
    _, segment, _ = scan_segment(path)
    lost = [place for place in segment.places if place.offset < hit.stop and hit.start < place.offset + place.length]
    return {seq for place in lost for seq in range(place.first, place.next)}


def damage(directory: Path, kind: str, seed: int) -> set[int]:
    """One fault in one segment, behind its header: the sequences of the chunks it hits."""
    random_ = random.Random(seed)
    path = random_.choice(segment_paths(directory / STREAM))
    start = scan_segment(path)[1].places[0].offset
    data, hit = corrupt(path.read_bytes(), kind, random_, start)
    lost = chunks_hit(path, hit)
    path.write_bytes(data)
    return lost


# -- segments ------------------------------------------------------------------------------------------------------


def test_an_undamaged_folder_arrives(copies):
    """The yardstick: everything arrives, nothing is reported."""
    assert arrive(copies()) == Arrived(set(range(RECORDS)), set(), set(), RECORDS, False)


@pytest.mark.parametrize("kind", ["flip", "truncate", "zero"])
def test_damage_costs_the_chunks_it_hits(copies, kind):
    """Whatever happens to a segment: no wrong point, no chunk lost that was not hit, every loss reported."""
    problems = []
    for seed in seeds(120, 2000):
        directory = copies()
        lost = damage(directory, kind, seed)
        try:
            arrived = arrive(directory)
            missing = set(range(RECORDS)) - arrived.steps
            assert missing <= lost, f"{len(missing - lost)} records lost that were not hit"
            assert arrived.reported or not missing, "a loss nobody speaks of"
            assert arrived.following >= min(missing, default=RECORDS)
        except Exception as error:  # noqa: BLE001 - recovery must not raise anything at all
            problems.append(f"seed {seed}: {type(error).__name__}: {str(error).splitlines()[:1]}")
        shutil.rmtree(directory)
    assert not problems, "\n".join(problems)


def test_every_bit_of_a_chunk_header(copies):
    """A flip in the header of a chunk costs that chunk, whichever bit it is."""
    problems = []
    for bit in range(8 * CHUNK_HEADER):
        directory = copies()
        path = segment_paths(directory / STREAM)[1]
        place = scan_segment(path)[1].places[1]
        data = bytearray(path.read_bytes())
        data[place.offset + bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            arrived = arrive(directory)
            missing = set(range(RECORDS)) - arrived.steps
            assert missing <= set(range(place.first, place.next)), f"{len(missing)} records lost"
            assert arrived.reported or not missing
            assert arrived.following == RECORDS
        except Exception as error:  # noqa: BLE001 - recovery must not raise anything at all
            problems.append(f"byte {bit // 8} bit {bit % 8}: {type(error).__name__}: {str(error).splitlines()[:1]}")
        shutil.rmtree(directory)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_a_damaged_segment_header_costs_no_chunk(copies, which):
    """The chunks say themselves whose they are; a header that cannot be read is reported, and they arrive."""
    problems = []
    for seed in seeds(12, 200):
        directory = copies()
        paths = segment_paths(directory / STREAM)
        path = {"first": paths[0], "middle": paths[len(paths) // 2], "last": paths[-1]}[which]
        data = bytearray(path.read_bytes())
        at = random.Random(seed).randrange(6, scan_segment(path)[1].places[0].offset)  # behind magic and version
        data[at] ^= 0x10
        path.write_bytes(data)
        arrived = arrive(directory)
        if len(arrived.steps) < RECORDS:
            problems.append(f"byte {at}: {RECORDS - len(arrived.steps)} records lost, reported: {arrived.reported}")
        shutil.rmtree(directory)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("which", [0, 3, -1], ids=["first", "middle", "last"])
def test_a_newer_segment_waits_for_a_newer_rundial(copies, which):
    """An older rundial leaves it, and what follows it, alone; once it can be read all of it arrives, once."""
    directory = copies()
    path = segment_paths(directory / STREAM)[which]
    ours = path.read_bytes()
    newer = ours[:4] + b"\x63" + ours[5:]
    path.write_bytes(newer)
    transport = Server()
    _, warned = send([directory], transport)
    assert path.read_bytes() == newer
    assert any("newer" in message for message in warned)
    path.write_bytes(ours)
    send([directory], transport)
    assert check_events(transport.events) == (set(range(RECORDS)), set())


def test_a_segment_that_was_only_just_made_keeps_nothing_back(tmp_path):
    """Killed between making its first segment and writing to it, with everything still in the ring: all arrives."""
    directory = tmp_path / "spool"
    run_to_death(LEAVE_RING, STREAM, RECORDS, 0, directory, directory)
    register(directory)
    (directory / STREAM / f"{0:020d}.seg").touch()
    transport = Server()
    send([directory], transport)
    assert check_events(transport.events) == (set(range(RECORDS)), set())


# -- rings ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def left_ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ring of a killed process, in which 9,000 records were released and some 3,000 were not."""
    directory = tmp_path_factory.mktemp("ring")
    # A spool directory that is gone: the home of each trial takes the records instead.
    run_to_death(LEAVE_RING, STREAM, 12_000, 9_000, directory, "/dev/null/spool")
    return directory / STREAM / f"{STREAM}.ring"


class RingTrial:
    """A damaged copy of the ring, in a spool folder, and what adopting it brings."""

    def __init__(self, left: Path, place: Path) -> None:
        self.directory = place / "spool"
        self.path = self.directory / STREAM / left.name
        self.path.parent.mkdir(parents=True)
        shutil.copy(left, self.path)
        register(self.directory)
        whole = adopt(self.path, lambda meta: True)
        assert isinstance(whole, AbandonedQueue)
        self.chunks = whole.chunks()
        self.records = range(whole.sequence_read, self.chunks[-1].next)
        self.held = range(whole._base + whole._read % whole._size, whole._base + whole._size)
        whole.close(unlink=False)

    def flip(self, offset: int, bit: int) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 1 << bit]))

    def chunk_at(self, offset: int) -> range:
        """Sequences of the chunk that lies at an offset of the file, as long as the ring does not go round."""
        end = self.held.start
        for chunk in self.chunks:
            end += len(chunk.records)
            if offset < end:
                return range(chunk.first, chunk.next)
        return range(0)

    def adopt(self) -> tuple[MemoryTransport, bool]:
        """Take the ring over and deliver it to a server that has what was released; whether damage was reported."""
        transport = Server()
        transport._next[STREAM] = self.records.start
        sent, warned = send([self.directory], transport)
        gaps = any(isinstance(event, Gap) for event in transport.events)
        return transport, bool(warned or gaps or transport.bad or any(one.damaged for one in sent))

    def check(self) -> str | None:
        """Adopt and deliver; what is wrong, or None. A loss that is reported is none, nor is a ring that is kept."""
        try:
            transport, reported = self.adopt()
            steps, _ = check_events(transport.events)
        except Exception as error:  # noqa: BLE001 - recovery must not raise anything at all
            return f"{type(error).__name__}: {str(error).splitlines()[:1]}"
        missing = set(self.records) - steps
        stray = steps - set(self.records)
        if stray:
            return f"{len(stray)} records delivered that had been released long before"
        return (
            f"{len(missing)} of {len(self.records)} records missing, and nobody says so"
            if missing and not reported
            else None
        )


@pytest.fixture
def ring_trials(left_ring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], RingTrial]:
    """Makes a trial in a home of its own: ``ring_trials(number)``."""

    def make(number: int) -> RingTrial:
        shutil.rmtree(tmp_path / f"trial-{number - 1}", ignore_errors=True)
        monkeypatch.setenv("RUNDIAL_HOME", str(tmp_path / f"trial-{number}" / "home"))
        return RingTrial(left_ring, tmp_path / f"trial-{number}")

    return make


def test_an_undamaged_ring_arrives(ring_trials):
    """The yardstick for rings."""
    trial = ring_trials(0)
    assert len(trial.records) > 2000
    assert trial.check() is None
    assert not trial.path.exists()


@pytest.mark.parametrize("word", range(10))
def test_damaged_words_of_a_ring(ring_trials, word):
    """A cursor that cannot be right is not believed: all arrives, or the ring stays and a warning says so."""
    problems = []
    for number, bit in enumerate(range(0, 64, 3)):
        trial = ring_trials(number)
        trial.flip(8 * word + bit // 8, bit % 8)
        if wrong := trial.check():
            problems.append(f"word {word} bit {bit}: {wrong}")
    assert not problems, "\n".join(problems)


def test_damaged_meta_data_of_a_ring(ring_trials):
    """Its stream and its run are read from meta data: damage there raises nothing, and is said."""
    problems = []
    packed_stream = b"stream\xd9\x20" + STREAM.encode()
    for number in seeds(24, 256):
        trial = ring_trials(number)
        # the first entry alone: a flip in a path would make folders all over the place
        start = trial.path.read_bytes().index(packed_stream) - 2
        random_ = random.Random(number)
        trial.flip(start + random_.randrange(len(packed_stream) + 2), random_.randrange(8))
        if wrong := trial.check():
            problems.append(f"trial {number}: {wrong}")
    assert not problems, "\n".join(problems)


def test_a_damaged_table_of_a_ring(ring_trials):
    """A cut that cannot be right costs at most what lies around it, and raises nothing."""
    problems = []
    for number in seeds(48, 600):
        trial = ring_trials(number)
        random_ = random.Random(number)
        offset = queue._TABLE_OFFSET + random_.randrange(16 * ((1 << 18 >> 16) + 2))
        bit = random_.randrange(8)
        trial.flip(offset, bit)
        if wrong := trial.check():
            problems.append(f"byte {offset} bit {bit}: {wrong}")
    assert not problems, "\n".join(problems)


def test_damaged_records_in_a_ring(ring_trials):
    """Memory has no checksum: a flip costs or falsifies records of the chunk it hits, and of no other."""
    problems = []
    for number in seeds(48, 600):
        trial = ring_trials(number)
        random_ = random.Random(number)
        offset = random_.choice(trial.held)
        trial.flip(offset, random_.randrange(8))
        try:
            transport, reported = trial.adopt()
        except Exception as error:  # noqa: BLE001 - recovery must not raise anything at all
            problems.append(f"byte {offset}: {type(error).__name__}: {str(error).splitlines()[:1]}")
            continue
        taken = [event for event in transport.events if not isinstance(event, RunEnd | Gap)]
        right = {e.step for e in taken if isinstance(e, Metrics) and e.values == {"loss": e.step / 3}}
        elsewhere = {seq for seq in trial.records if seq not in trial.chunk_at(offset)} - right
        if elsewhere:
            problems.append(f"byte {offset}: {len(elsewhere)} records lost of chunks that were not hit")
        if len(taken) < len(trial.records) and not reported:
            problems.append(f"byte {offset}: {len(trial.records) - len(taken)} records missing, and nobody says so")
    assert not problems, "\n".join(problems)


# -- real processes ------------------------------------------------------------------------------------------------


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """Every Python process that is started meanwhile runs in a room with a shared memory of its own."""
    with open_room() as made:
        monkeypatch.setattr(sys, "executable", str(made.python(tmp_path)))
        yield made


def sync_process(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rundial", "sync", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def stream_folder() -> Path:
    (folder,) = (path for path in Path(".rundial_spool").iterdir() if path.is_dir())
    return folder


@pytest.mark.parametrize("kind", ["flip", "truncate", "zero"])
def test_sync_sends_what_is_whole_and_says_what_is_not(room, start_server, script, kind):
    """A killed run's spool is damaged, then sent for real: right points only, and the server knows what is missing."""
    process = script(LOG + "    os.kill(os.getpid(), 9)")
    assert process.wait(60) == -signal.SIGKILL, process.stderr.read()
    (path,) = segment_paths(stream_folder())
    start = scan_segment(path)[1].places[0].offset
    data, hit = corrupt(path.read_bytes(), kind, random.Random(7), start + 30_000)
    lost = chunks_hit(path, hit)
    path.write_bytes(data)
    server = start_server()
    with sync_process() as sending:
        said = sending.communicate(timeout=60)[0].decode()
    assert sending.returncode == 0 and "Traceback" not in said, said
    run = server.wait_for("damaged", lambda run: run["status"] == "crashed")
    points = server.points(run["runId"], "loss")
    assert all(value == step / 3 for step, value in points)
    assert len(points) == len({step for step, _ in points})
    missing = set(range(3000)) - {step for step, _ in points}
    assert missing and {step + 1 for step in missing} <= lost  # the start of the run is sequence 0


def test_a_run_arrives_without_its_beginning(room, start_server, script):
    """The first chunk, with the start of the run in it, is damaged: the other chunks find their run all the same."""
    process = script(LOG + "    os.kill(os.getpid(), 9)")
    assert process.wait(60) == -signal.SIGKILL, process.stderr.read()
    (path,) = segment_paths(stream_folder())
    first = scan_segment(path)[1].places[0]
    data = bytearray(path.read_bytes())
    data[first.offset + first.length - 1] ^= 1
    path.write_bytes(data)
    server = start_server()
    with sync_process() as sending:
        said = sending.communicate(timeout=60)[0].decode()
    assert sending.returncode == 0 and "Traceback" not in said, said
    run = server.wait_for("damaged", lambda run: run["status"] == "crashed")
    assert server.points(run["runId"], "loss") == [(step, step / 3) for step in range(first.count - 1, 3000)]


def test_adopters_may_race(room, start_server, script):
    """Four `rundial sync` and a server's watcher reach for what several dead processes left: each record, once."""
    for _ in range(3):
        process = script(LOG.replace("os, sys", "os") + "    run.log({'loss': 1000.0}, step=3000)\n    os._exit(1)")
        process.communicate(timeout=60)
    syncing: list[subprocess.Popen[bytes]] = []
    server = start_server()
    syncing += [sync_process() for _ in range(4)]
    for sending in syncing:
        with sending:
            said = sending.communicate(timeout=60)[0].decode()
        assert sending.returncode == 0 and "Traceback" not in said, said
    deadline = time.monotonic() + 20
    while len(done := [run for run in server.runs("damaged") if run["status"] == "crashed"]) < 3:
        assert time.monotonic() < deadline, server.runs("damaged")
        time.sleep(0.1)
    for run in done:
        assert server.points(run["runId"], "loss") == [(step, step / 3) for step in range(3001)]
        assert run["points"] == 3001
    assert not [path for path in Path(".rundial_spool").iterdir() if path.is_dir()]


def test_the_folder_of_a_living_process_is_left_alone(room, start_server, script):
    """`rundial sync` beside a run that goes on takes nothing from it; what it logged arrives once, when it is over."""
    process = script(LOG + "    print('ready', flush=True); sys.stdin.read(); run.finish(10)")
    assert process.stdout.readline() == b"ready\n"
    server = start_server()
    before = {path: path.read_bytes() for path in segment_paths(stream_folder())}
    with sync_process() as sending:
        said = sending.communicate(timeout=60)[0].decode()
    assert sending.returncode == 0 and "records sent" not in said, said
    assert {path: path.read_bytes() for path in segment_paths(stream_folder())} == before
    process.output()
    run = server.wait_for("damaged", lambda run: run["status"] == "completed")
    assert server.points(run["runId"], "loss") == [(step, step / 3) for step in range(3000)]
    assert run["points"] == 3000


@pytest.mark.parametrize("hours", [25, -25, -24 * 365 * 60, 24 * 365 * 13])
@pytest.mark.parametrize("serving", ["server", "no server"])
def test_a_clock_that_jumps_loses_nothing(room, start_server, script, serving, hours):
    """The wall clock is set in the middle of a run: everything is delivered, nothing is dropped for its age."""
    server = start_server() if serving == "server" else None
    process = script(
        """
        import sys, time
        wall, wall_ns, shift = time.time, time.time_ns, [0]
        time.time = lambda: wall() + shift[0]
        time.time_ns = lambda: wall_ns() + shift[0] * 10**9
        import rundial as rd
        from rundial import spool
        spool.SEGMENT_BYTES = 10_000
        run = rd.init(project="damaged", quiet=True, flush_interval_seconds=0.05)
        for step in range(1000):
            run.log({"loss": step / 3}, step=step)
            if step % 250 == 100:
                run.flush(5)
                shift[0] = int(sys.argv[1]) * 3600 if shift[0] == 0 else 0
        run.finish(10)
        found = run.diagnostics()
        print(found.balanced, found.dropped, found.logged - found.acknowledged - found.pending)
        """,
        hours,
    )
    out, err = process.output()
    assert out == "True {} 0\n", err
    server = server or start_server()
    run = server.wait_for("damaged", lambda run: run["status"] == "completed")
    assert server.points(run["runId"], "loss") == [(step, step / 3) for step in range(1000)]
