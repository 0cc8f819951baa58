"""Every call by which the spool changes the disk is made to fail, and to be the last: no record goes missing unsaid.

One story is told again and again: records are written, rotated, synchronised, dropped by the bound, acknowledged,
until the spool is closed. The n-th system call of it is the one that goes wrong, for all n.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rundial import spool as spool_module
from rundial.errors import WireError
from rundial.events import Gap
from rundial.segments import scan_segment, segment_paths
from rundial.spool import Spool
from rundial.wire import Chunk, decode_chunk, encode, unpack_chunk
from tests.faults import seeds

STREAM = "ef" * 16
CHUNK = 5
RECORDS = 240
MAX_BYTES = 2200
SEGMENT_BYTES = 600
PATIENCE = 20
"""How often the story tries again what fails."""


class Death(BaseException):
    """The process ends here: nothing that follows in it is done."""


class Disk:
    """The system calls of the spool, of which one goes wrong.

    Args:
        target: number of the call that goes wrong; -1 for none.
        fault: an error number for a call that fails, None for the death of the process.
        length: how many calls in a row go wrong.
        seed: where a write is cut.
    """

    def __init__(self, target: int = -1, fault: int | None = None, length: int = 1, seed: int = 0) -> None:
        self.calls: list[str] = []
        self.synced: dict[int, int] = {}
        """Bytes that are safe from a power failure, by inode."""
        self._target = range(target, target + length) if target >= 0 else range(0)
        self._fault = fault
        self._random = random.Random(seed)
        self._open: set[int] = set()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Stand before the system's own calls."""
        for name in ("writev", "write", "ftruncate", "fdatasync", "open", "close"):
            patch.setattr(os, name, self._around(name, getattr(os, name)))
        for name in ("unlink", "replace", "write_bytes", "mkdir", "rmdir"):
            patch.setattr(Path, name, self._around(name, getattr(Path, name)))

    def let_go(self) -> None:
        """Close what the dead process had open."""
        for fd in list(self._open):
            os.close(fd)

    def _around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "close":  # it cannot fail in a way that matters here
                self._open.discard(arguments[0])
                return real(*arguments)
            self.calls.append(name)
            if len(self.calls) - 1 in self._target:
                self._go_wrong(name, real, arguments)
            result = real(*arguments, **options)
            if name == "open":
                self._open.add(result)
                self.synced.pop(os.fstat(result).st_ino, None)  # a new file may be given the number of one that is gone
            elif name == "write_bytes":
                self.synced.pop(arguments[0].stat().st_ino, None)
            elif name == "fdatasync":
                found = os.fstat(arguments[0])
                self.synced[found.st_ino] = found.st_size
            return result

        return call

    def _go_wrong(self, name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if name in ("writev", "write", "write_bytes"):
            whole = b"".join(arguments[1]) if name == "writev" else arguments[1]
            part = whole[: self._random.randrange(len(whole) + 1)]
            if name == "write_bytes":
                with arguments[0].open("wb") as file:
                    file.write(part)
            else:
                real(arguments[0], [part] if name == "writev" else part)
        elif self._fault is None and name != "open" and self._random.random() < 0.5:
            real(*arguments)  # it was done, and then the process died
        if self._fault is None:
            raise Death
        raise OSError(self._fault, os.strerror(self._fault))


def chunk(first: int) -> Chunk:
    records = b"".join(encode((2, 1, first + i, {"loss": (first + i) / 3})) for i in range(CHUNK))
    return Chunk(STREAM, first, CHUNK, records)


class Story:
    """What a worker does with a spool, and a server that takes what it is given. What fails is tried again."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder / STREAM, STREAM, {"run_id": "run_1"}, MAX_BYTES)
        self.delivered: set[int] = set()
        self.gaps: set[int] = set()
        self.acknowledged = 0
        self.synced = 0
        """Sequence below which everything was synchronised."""
        self.failures = 0

    def tell(self) -> None:
        """From the first record to the last; the spool is left open."""
        for end in range(2 * CHUNK, RECORDS + 1, 2 * CHUNK):
            self._insist(lambda end=end: self._append(end))
            self._insist(self.spool.sync)
            self.synced = self.spool.next
            if end == RECORDS // 3:
                self._deliver(self.spool.segments[1].next)
        self._deliver(RECORDS - 3 * CHUNK)

    def close(self) -> None:
        """Close the spool, with records still in it."""
        self._insist(self.spool.close)

    def _append(self, end: int) -> None:
        self.spool.append([chunk(first) for first in range(self.spool.next, end, CHUNK)])

    def _deliver(self, end: int) -> None:
        packed = self.spool.read(self.acknowledged, 1 << 30)
        steps, gaps, self.acknowledged = told([piece for piece in packed if unpack_chunk(piece)[0].next <= end])
        self.delivered |= steps
        self.gaps |= gaps
        self._insist(lambda: self.spool.acknowledge(self.acknowledged))

    def _insist(self, deed: Callable[[], object]) -> None:
        for _ in range(PATIENCE):
            try:
                deed()
            except OSError:
                self.failures += 1
            else:
                return
        raise AssertionError("the spool does not come back when the disk does")


def told(packed: list[bytes]) -> tuple[set[int], set[int], int]:
    """Steps of the records, sequences of the gaps, and the sequence after them; fails for what is not right."""
    steps: list[int] = []
    gaps: list[int] = []
    following = 0
    for piece in packed:
        found = unpack_chunk(piece)[0]
        events, bad = decode_chunk(found)
        assert bad == []
        if found.is_gap:
            (gap,) = events
            assert isinstance(gap, Gap) and gap.reason == "spool_bytes"
            gaps += range(gap.first, gap.last + 1)
        else:
            assert events == decode_chunk(chunk(found.first))[0]
            steps += range(found.first, found.next)
        following = found.next
    assert len(steps) == len(set(steps)), "a chunk was written twice"
    assert len(gaps) == len(set(gaps)), "a gap was written twice"
    return set(steps), set(gaps), following


def check_account(story: Story) -> None:
    """Every record was delivered, waits and can be read, or was dropped by the bound and counted; no two of these."""
    spool = story.spool
    steps, gaps, following = told(spool.read(story.acknowledged, 1 << 30))
    pending = {step for step in steps if step >= story.acknowledged}
    assert following == spool.next == RECORDS
    assert story.delivered | story.gaps | pending | gaps == set(range(RECORDS))
    assert spool.pending(story.acknowledged) == len(pending)
    assert spool.dropped.get("spool_bytes", 0) == RECORDS - len(story.delivered | pending)


def check_folder(folder: Path, wanted: set[int]) -> None:
    """A later process finds every record that is ``wanted``, or the gap that stands for it, and nothing wrong."""
    if not wanted:
        return
    spool = Spool.reopen(folder / STREAM, 1 << 30)
    assert spool is not None
    steps: set[int] = set()
    gaps: set[int] = set()
    for piece in spool.read(0, 1 << 30):  # a gap may stand beside the records that it was about to replace
        more_steps, more_gaps, _ = told([piece])
        steps |= more_steps
        gaps |= more_gaps
    spool.abandon()
    assert wanted <= steps | gaps
    assert spool.next > max(wanted)


def records_in(folder: Path) -> set[int]:
    """Steps of all whole records in the folder."""
    found: set[int] = set()
    for path in segments(folder):
        try:
            places = scan_segment(path)[1].places
        except WireError:
            continue  # the process died before it had a header
        found.update(step for place in places if not place.is_gap for step in range(place.first, place.next))
    return found


def segments(folder: Path) -> list[Path]:
    return segment_paths(folder / STREAM) if (folder / STREAM).is_dir() else []


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", SEGMENT_BYTES)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The system calls of the story when nothing goes wrong."""
    disk = Disk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_module, "SEGMENT_BYTES", SEGMENT_BYTES)
        disk.install(patch)
        story = Story(tmp_path_factory.mktemp("undisturbed"))
        story.tell()
        story.close()
    return disk.calls


def test_the_story_is_worth_telling(calls: list[str], tmp_path: Path) -> None:
    """Undisturbed, it rotates, evicts and acknowledges, and its own account is right."""
    story = Story(tmp_path)
    story.tell()
    check_account(story)
    assert story.failures == 0
    assert story.spool.dropped["spool_bytes"] > 0
    assert {"writev", "fdatasync", "open", "write_bytes", "replace", "unlink"} <= set(calls)
    story.close()
    check_folder(tmp_path, set(range(story.acknowledged, RECORDS)))


def test_what_was_acknowledged_is_not_dropped(tmp_path: Path) -> None:
    """A segment that was acknowledged in part and then has to go costs only what was not acknowledged."""
    spool = Spool(tmp_path / STREAM, STREAM, {"run_id": "run_1"}, MAX_BYTES)
    spool.append([chunk(0), chunk(CHUNK)])
    spool.acknowledge(CHUNK + 2)
    for first in range(2 * CHUNK, RECORDS, CHUNK):
        spool.append([chunk(first)])
    pending = spool.pending(CHUNK + 2)
    assert spool.dropped == {"spool_bytes": RECORDS - pending - (CHUNK + 2)}
    spool.acknowledge(RECORDS)
    spool.close()


@pytest.mark.parametrize("length", [1, 2, 3, 8])
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_call_that_fails_costs_nothing(calls: list[str], tmp_path: Path, fault: int, length: int) -> None:
    """The n-th call fails, and perhaps the next ones too: the spool goes on, and its account stays exact."""
    problems = []
    for target in range(len(calls)):
        for seed in seeds(1, 5):
            folder = tmp_path / f"{target}-{seed}"
            disk = Disk(target, fault, length, seed)
            with pytest.MonkeyPatch.context() as patch:
                disk.install(patch)
                story = Story(folder)
                try:
                    story.tell()
                    check_account(story)
                    story.close()
                except Exception as error:  # noqa: BLE001 - all n are told of at once
                    problems.append(describe(disk, target, seed, error))
                    continue
                finally:
                    story.spool.abandon()
                    disk.let_go()
            check_folder(folder, set(range(story.acknowledged, RECORDS)))
    assert not problems, "\n".join(problems)


def test_a_process_may_die_at_any_call(calls: list[str], tmp_path: Path) -> None:
    """The n-th call is the last, done, half done or not done: what was written before it is all there, and whole."""
    problems = []
    for target in range(len(calls)):
        for seed in seeds(3, 30):
            folder = tmp_path / f"{target}-{seed}"
            story, disk = die(folder, target, seed)
            try:
                check_folder(folder, set(range(story.acknowledged, story.spool.next)))
            except Exception as error:  # noqa: BLE001 - all n are told of at once
                problems.append(describe(disk, target, seed, error))
    assert not problems, "\n".join(problems)


def test_power_may_fail_at_any_call(calls: list[str], tmp_path: Path) -> None:
    """What was not synchronised may be cut or be zeros: what was is there, and nothing that is there is wrong."""
    problems = []
    for target in range(len(calls)):
        for seed in seeds(3, 30):
            folder = tmp_path / f"{target}-{seed}"
            story, disk = die(folder, target, seed)
            synced = set(range(story.acknowledged, story.synced))
            waiting = synced & records_in(folder)  # not what the bound dropped: its gap may be lost, and is made again
            lose_power(folder, disk.synced, random.Random(seed))
            try:
                check_folder(folder, waiting)
            except Exception as error:  # noqa: BLE001 - all n are told of at once
                problems.append(describe(disk, target, seed, error))
    assert not problems, "\n".join(problems)


def die(folder: Path, target: int, seed: int) -> tuple[Story, Disk]:
    """Tell the story until the process dies at one of its calls."""
    disk = Disk(target, None, 1, seed)
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        story = Story(folder)
        try:
            story.tell()
            story.close()
        except Death:
            disk.let_go()  # which also releases the lock, as the kernel does
        story.spool._fd = story.spool._lock_fd = -1
    return story, disk


def lose_power(folder: Path, synced: dict[int, int], random_: random.Random) -> None:
    """Cut every segment somewhere behind what is safe, or leave zeros there, as file systems do."""
    for path in segments(folder):
        data = path.read_bytes()
        safe = synced.get(path.stat().st_ino, 0)
        end = random_.randrange(safe, len(data) + 1)
        path.write_bytes(data[:end] + bytes(random_.choice((0, len(data) - end))))


def describe(disk: Disk, target: int, seed: int, error: Exception) -> str:
    name = disk.calls[target] if target < len(disk.calls) else "none"
    return f"call {target} ({name}), seed {seed}: {type(error).__name__}: {str(error).splitlines()[:1]}"
