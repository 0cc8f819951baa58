import os
import subprocess
import sys

import pytest

from rundial.errors import WireError
from rundial.events import Gap
from rundial.segments import scan_segment, segment_paths
from rundial.spool import Spool
from rundial.wire import Chunk, decode_chunk, encode, unpack_chunk

STREAM = "cd" * 16
META = {"run_id": "run_1", "endpoint": None}


def chunk(first, count=10, size=0):
    records = b"".join(encode((2, 1, first + i, {"loss": 0.5, "pad": "x" * size})) for i in range(count))
    return Chunk(STREAM, first, count, records)


def spool_in(folder, max_bytes=1 << 30, **options):
    return Spool(folder / STREAM, STREAM, META, max_bytes, **options)


def events(packed):
    return [event for piece in packed for event in decode_chunk(unpack_chunk(piece)[0])[0]]


def steps(packed):
    return [event.step for event in events(packed) if not isinstance(event, Gap)]


@pytest.fixture
def spool(tmp_path):
    spool = spool_in(tmp_path)
    yield spool
    spool.close()


def test_a_stream_that_needs_no_spool_leaves_no_trace(tmp_path):
    """The folder is made by the first chunk that has to wait."""
    spool_in(tmp_path / "spool").close()
    assert not (tmp_path / "spool").exists()


def test_chunks_wait_until_they_are_acknowledged(spool):
    """What was appended can be read from any sequence on, and goes when it is acknowledged."""
    spool.append([chunk(0), chunk(10), chunk(20)])
    assert steps(spool.read(0, 1 << 20)) == list(range(30))
    assert steps(spool.read(15, 1 << 20)) == list(range(10, 30))
    spool.acknowledge(30)
    assert spool.segments == []
    assert spool.read(30, 1 << 20) == []


def test_a_read_is_bounded_but_never_empty(spool):
    """At least one chunk is read, however small the limit."""
    spool.append([chunk(0), chunk(10)])
    assert steps(spool.read(0, 1)) == list(range(10))


def test_pending_counts_records(spool):
    """Half-acknowledged chunks count for what is left of them."""
    spool.append([chunk(0), chunk(10)])
    assert [spool.pending(0), spool.pending(4), spool.pending(20)] == [20, 16, 0]


def test_an_empty_spool_takes_its_folder_along(tmp_path):
    """Nothing is left behind when everything was acknowledged."""
    spool = spool_in(tmp_path / "spool")
    spool.append([chunk(0)])
    spool.acknowledge(10)
    spool.close()
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [".gitignore"]


def test_segments_rotate(spool):
    """A segment is closed at 4 MiB and the next one begins."""
    for first in range(0, 600, 10):
        spool.append([chunk(first, size=10_000)])
    assert len(spool.segments) > 1
    assert steps(spool.read(0, 1 << 30)) == list(range(600))
    spool.acknowledge(spool.segments[0].next)
    assert len(segment_paths(spool.folder)) == len(spool.segments)


def test_the_byte_bound_leaves_one_gap_in_the_place_of_the_oldest(tmp_path):
    """Beyond the bound the oldest data gives way to a single gap record, and every record is accounted for."""
    spool = spool_in(tmp_path, max_bytes=10 << 20)
    for first in range(0, 3000, 10):
        spool.append([chunk(first, size=10_000)])
    dropped = spool.dropped["spool_bytes"]
    found = events(spool.read(0, 1 << 30))
    assert spool.size <= 10 << 20
    assert [event for event in found if isinstance(event, Gap)] == [Gap(0, dropped - 1, "spool_bytes")]
    assert [event.step for event in found[1:]] == list(range(dropped, 3000))
    assert spool.pending(0) + dropped == 3000
    spool.acknowledge(3000)
    spool.close()


def test_what_is_being_sent_is_not_dropped(tmp_path):
    """A bound never touches records whose fate is still open."""
    spool = spool_in(tmp_path, max_bytes=5 << 20)
    spool.in_flight = 10
    for first in range(0, 2000, 10):
        spool.append([chunk(first, size=10_000)])
    assert steps(spool.read(0, 1))[:10] == list(range(10))
    spool.acknowledge(2000)
    spool.close()


def test_old_data_goes_only_when_asked(tmp_path):
    """Age drops nothing by default; with a bound set it does, and is counted."""
    for max_age, dropped in ((None, {}), (0.0, {"spool_age": 10})):
        spool = spool_in(tmp_path, max_age=max_age)
        spool.append([chunk(0)])
        spool._rotate(10)
        spool.append([chunk(10)])
        assert spool.dropped == dropped
        spool.acknowledge(20)
        spool.close()


def test_a_removed_segment_becomes_a_gap(spool):
    """Somebody deletes the files: the stream goes on, and what is gone is counted."""
    spool.append([chunk(0)])
    spool._rotate(10)
    spool.append([chunk(10)])
    spool.segments[0].path.unlink()
    assert events(spool.read(0, 1 << 20))[0] == Gap(0, 9, "spool_lost")
    assert spool.dropped == {"spool_lost": 10}
    assert spool.pending(0) == 10


def test_another_process_takes_over(tmp_path):
    """A folder whose owner is gone opens again with everything in it."""
    code = """if True:
        import os, sys
        from pathlib import Path
        sys.path.insert(0, os.path.dirname(sys.argv[2]))
        from test_spool import chunk, spool_in
        spool = spool_in(Path(sys.argv[1]))
        spool.append([chunk(0), chunk(10)])
        os._exit(0)
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path), __file__], check=True)
    spool = Spool.reopen(tmp_path / STREAM, 1 << 30)
    assert spool is not None
    assert (spool.stream, spool.next, spool.damaged) == (STREAM, 20, 0)
    assert steps(spool.read(0, 1 << 20)) == list(range(20))
    spool.append([chunk(20)])
    assert steps(spool.read(0, 1 << 20)) == list(range(30))
    spool.acknowledge(30)
    spool.close()


def test_nobody_takes_over_from_the_living(spool, tmp_path):
    """The owner's lock keeps every other process out."""
    spool.append([chunk(0)])
    code = """if True:
        import sys
        from pathlib import Path
        from rundial.spool import Spool
        print(Spool.reopen(Path(sys.argv[1]), 1 << 30))
    """
    answer = subprocess.run([sys.executable, "-c", code, spool.folder], check=True, capture_output=True, text=True)
    assert answer.stdout == "None\n"


@pytest.mark.parametrize("cut", [1, 30, 47, 200])
def test_a_torn_tail_costs_the_chunk_it_tears(spool, cut):
    """A segment that ends in the middle of a chunk gives all whole ones, and says that something was damaged."""
    spool.append([chunk(0), chunk(10)])
    path = spool.segments[0].path
    os.truncate(path, path.stat().st_size - cut)
    meta, segment, damaged = scan_segment(path)
    assert meta["run_id"] == "run_1"
    assert [place.next for place in segment.places] == [10]
    assert damaged == 1


def test_a_flipped_bit_costs_one_chunk(spool):
    """Damage in the middle is passed over; what lies behind it is read."""
    spool.append([chunk(0), chunk(10), chunk(20)])
    path = spool.segments[0].path
    data = bytearray(path.read_bytes())
    data[spool.segments[0].places[1].offset + 60] ^= 1
    path.write_bytes(data)
    _, segment, damaged = scan_segment(path)
    assert [place.first for place in segment.places] == [0, 20]
    assert damaged == 1


def test_a_newer_segment_is_kept(spool):
    """A segment of a newer version is an error to read, and stays."""
    spool.append([chunk(0)])
    path = spool.segments[0].path
    data = bytearray(path.read_bytes())
    data[4] = 99
    path.write_bytes(data)
    with pytest.raises(WireError, match="newer"):
        scan_segment(path)
    assert path.exists()


def test_a_full_disk_leaves_the_file_whole(tmp_path):
    """A write that fails in the middle is cut off again; when there is room, it goes on."""
    code = """if True:
        import os, resource, sys
        from pathlib import Path
        sys.path.insert(0, os.path.dirname(sys.argv[2]))
        from test_spool import chunk, spool_in
        from rundial.segments import scan_segment
        spool = spool_in(Path(sys.argv[1]))
        spool.append([chunk(0)])
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (spool.size + 100, hard))
        try:
            spool.append([chunk(10), chunk(20)])
        except OSError as error:
            print(error.errno, spool.next, scan_segment(spool.segments[0].path)[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        spool.append([chunk(10), chunk(20)])
        print(spool.pending(0), scan_segment(spool.segments[0].path)[2])
    """
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), __file__], check=True, capture_output=True, text=True
    )
    assert answer.stdout == "27 10 0\n30 0\n"
