import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from rundial.errors import WireError
from rundial.queue import Queue, adopt
from rundial.wire import decode_chunk, encode

STREAM = "ab" * 16


def record(step):
    return encode((2, 1, step, {"loss": 0.5}))


def steps(chunks):
    return [event.step for chunk in chunks for event in decode_chunk(chunk)[0]]


def take_all(queue):
    """Peek and release until nothing is left, as the worker does."""
    taken = []
    while chunks := queue.peek():
        taken += chunks
        queue.release(chunks[-1].next)
    return taken


@pytest.fixture
def queue():
    queue = Queue(256 * 1024, STREAM)
    yield queue
    queue.close(unlink=True)


def test_records_come_out_in_order(queue):
    """What was offered can be read, in sequence, as chunks that say which records they hold."""
    assert all(queue.offer(record(step)) for step in range(1000))
    chunks = queue.peek()
    assert steps(chunks) == list(range(1000))
    assert [chunk.first for chunk in chunks] == [0] + [chunk.next for chunk in chunks[:-1]]


def test_chunks_stay_small(queue):
    """A chunk is cut at each line of 64 KiB, so that damage costs little."""
    for step in range(7000):
        queue.offer(record(step))
    chunks = queue.peek()
    assert len(chunks) == 3
    assert all(len(chunk.records) < 65_536 + 100 for chunk in chunks)


def test_peeking_releases_nothing(queue):
    """Records stay until somebody has put them elsewhere."""
    queue.offer(record(1))
    assert steps(queue.peek()) == steps(queue.peek()) == [1]
    queue.release(1)
    assert queue.peek() == []
    assert queue.depth == 0


def test_a_full_ring_refuses_and_counts(queue):
    """The new record is refused; the old ones stay whole."""
    accepted = sum(queue.offer(record(step)) for step in range(20_000))
    assert accepted + queue.refused == 20_000
    assert queue.refused > 0
    assert steps(take_all(queue)) == list(range(accepted))


def test_the_ring_goes_round(queue):
    """Records wrap around the end many times without a scratch."""
    seen = []
    for start in range(0, 50_000, 2_500):
        assert all(queue.offer(record(step)) for step in range(start, start + 2_500))
        seen += steps(take_all(queue))
    assert seen == list(range(50_000))


def test_reading_goes_on_behind_what_was_sent(queue):
    """A sender may read on from the end of a chunk that is not released yet."""
    queue.offer(record(1))
    sent = queue.peek()[-1].next
    queue.offer(record(2))
    assert steps(queue.peek(sent)) == [2]
    assert queue.depth == 2


def test_crowding_wakes_the_worker_and_calls_do_not():
    """The worker is woken when a quarter is full, not by every call."""
    woken = []
    queue = Queue(1024 * 1024, STREAM, wake=lambda: woken.append(1))
    for step in range(1000):
        queue.offer(record(step))
    assert woken == []
    while not queue.crowded:
        queue.offer(record(0))
    for step in range(4000):
        queue.offer(record(step))
    assert 0 < len(woken) <= 3
    queue.close(unlink=True)


def test_threads_keep_their_order(queue):
    """Many threads log at once: nothing is lost, and each thread's own order stands."""
    big = Queue(4 * 1024 * 1024, STREAM)

    def work(number):
        for step in range(500):
            big.offer(record(number * 1000 + step))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = steps(take_all(big))
    assert len(seen) == 8000
    for number in range(16):
        mine = [step for step in seen if step // 1000 == number]
        assert mine == sorted(mine)
    big.close(unlink=True)


def test_a_signal_handler_may_log(queue):
    """A handler that logs while it interrupts a log call neither hangs nor tears a record."""
    logged = []

    def handler(*_):
        logged.append(queue.offer(record(10**6)))

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for step in range(3000):
            queue.offer(record(step))
            if step % 500 == 0:
                take = queue.peek()
                queue.release(take[-1].next)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert all(logged)
    assert queue.sequence == 3000 + len(logged)
    assert sorted(set(steps(queue.peek())) - {10**6}) == list(range(2501, 3000))


CHILD = """
    import os, sys
    from pathlib import Path
    from rundial.queue import Queue
    from rundial.wire import encode
    queue = Queue(1 << 20, "ab" * 16, Path(sys.argv[1]), {"run_id": "run_1"})
    total, released = int(sys.argv[2]), int(sys.argv[3])
    for step in range(released):
        queue.offer(encode((2, 1, step, {"loss": 0.5})))
    while chunks := queue.peek():
        queue.release(chunks[-1].next)
    for step in range(released, total):
        queue.offer(encode((2, 1, step, {"loss": 0.5})))
    if sys.argv[4] == "die":
        os.kill(os.getpid(), 9)
    print("ready", flush=True)
    sys.stdin.read()
"""


def child(path, total, released, then):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(path), str(total), str(released), then],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def wanted(meta):
    return True


@pytest.mark.parametrize(("total", "released"), [(1, 0), (777, 0), (9000, 4000), (40_000, 39_000)])
def test_a_killed_process_leaves_every_record(tmp_path, total, released):
    """SIGKILL right after log(): the ring still has everything that was not taken over."""
    path = tmp_path / f"{STREAM}.ring"
    with child(path, total, released, "die") as process:
        assert process.wait() == -signal.SIGKILL
    abandoned = adopt(path, wanted)
    assert abandoned is not None
    assert abandoned.meta["run_id"] == "run_1"
    chunks = abandoned.chunks()
    assert steps(chunks) == list(range(released, total))
    assert chunks[0].first == released
    abandoned.close(unlink=True)
    assert adopt(path, wanted) is None


def test_a_living_process_keeps_its_ring(tmp_path):
    """Nobody adopts a ring whose owner holds its lock."""
    path = tmp_path / f"{STREAM}.ring"
    with child(path, 10, 0, "stay") as process:
        assert process.stdout.readline() == b"ready\n"
        assert adopt(path, wanted) is None
        process.stdin.close()
        process.wait()
    assert path.exists()


def test_what_is_no_ring_is_said_to_be_none(tmp_path):
    """A foreign file is reported and left alone."""
    path = tmp_path / f"{STREAM}.ring"
    path.write_bytes(b"something else" * 1000)
    with pytest.raises(WireError, match="is no queue"):
        adopt(path, wanted)
    assert path.exists()


def test_a_full_device_is_an_answer_at_start(tmp_path):
    """The space is reserved when the ring is made, so that no log() can meet a bus error."""
    with pytest.raises(OSError):
        Queue(1 << 50, STREAM, tmp_path / f"{STREAM}.ring")
    assert not (tmp_path / f"{STREAM}.ring").exists()


@pytest.mark.parametrize("draining", [True, False])
def test_an_offer_gives_way_only_to_a_reader_that_gets_on(draining: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than half full it hands the interpreter over, but not while the disk takes nothing anyway."""
    naps: list[float] = []
    monkeypatch.setattr("rundial.queue.time.sleep", naps.append)
    queue = Queue(512 * 1024, "0" * 32)
    queue.draining = draining
    while queue.offer(bytes(1000)):
        pass
    assert bool(naps) == draining
    queue.close(unlink=True)
