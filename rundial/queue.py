"""The bounded ring in shared memory between ``log()`` and the worker.

Records are copied into a mapped file that belongs to the kernel, so what was offered survives SIGKILL, an
out-of-memory kill and ``os._exit``: another process maps the file and reads on. Offering takes no system call and
keeps no Python object.

Layout: a header page of 64-bit words, meta data (MessagePack) at byte 256, a table of cuts at byte 4096, then the
ring itself. Cursors are offsets that only grow; a record may wrap around the end.

===== ==========================================================================================================
word  meaning
===== ==========================================================================================================
0     magic ``RDring01``
1     bytes of the ring
2     write cursor: everything below it is a whole record
3     which of the two read slots is valid
4, 5  read slot 0: offset, sequence
6, 7  read slot 1: offset, sequence
8     records refused because the ring was full
9     bytes of meta data
10    records ever put; may be one behind the write cursor
===== ==========================================================================================================

Each time the write cursor passes a line of 64 KiB, the offset and sequence of that record's end go into the table,
so that a reader cuts chunks without looking into records.
"""

from __future__ import annotations

import mmap
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rundial.errors import WireError
from rundial.locks import lock_as_adopter, lock_as_owner
from rundial.wire import CHUNK_BYTES, Chunk, gap_chunk, split_records

_MAGIC = int.from_bytes(b"RDring01", "little")
_SIZE, _WRITE, _READ_SLOT, _SLOTS, _REFUSED, _META_BYTES, _SEQUENCE = 1, 2, 3, 4, 8, 9, 10
_META_OFFSET = 256
_TABLE_OFFSET = 4096
_MAX_META = _TABLE_OFFSET - _META_OFFSET
_LINE_SHIFT = CHUNK_BYTES.bit_length() - 1
_STILLBORN_SECONDS = 60.0
_NAP_SECONDS = 0.0005
_OFFER_SECONDS = 0.2
QUEUE_SUFFIX = ".ring"
RESERVE_BYTES = 16 * 1024
"""Room that only the end of the stream may use, so that a full ring can still say how it ended."""
PEEK_BYTES = 256 * 1024
"""About this much is read from the ring in one go: the training thread may have to wait that long."""


def _data_offset(size: int) -> int:
    table = 16 * ((size >> _LINE_SHIFT) + 2)
    return _TABLE_OFFSET + -(-table // 4096) * 4096


def queue_folder() -> Path | None:
    """This user's folder for rings in shared memory, made if need be; None where there is no safe one."""
    folder = Path(f"/dev/shm/rundial-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    # Anybody may create names in /dev/shm: a folder that is not ours alone could be read or swapped by others.
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if ours else None


class Queue:
    """A ring that one process writes and its worker, or later an adopter, reads.

    Args:
        size: bytes of the ring, rounded up to whole lines of 64 KiB.
        stream: id of the stream the records belong to, 32 hex digits.
        path: the file to create; None keeps the ring in this process's memory alone.
        meta: what an adopter must know, at most 3,840 bytes of MessagePack.
        wake: called once when the ring passes a quarter; must not block.

    Raises :class:`OSError` when the file cannot be created or its space cannot be reserved.
    """

    def __init__(
        self,
        size: int,
        stream: str,
        path: Path | None = None,
        meta: Mapping[str, Any] | None = None,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        self._size = -(-size // CHUNK_BYTES) * CHUNK_BYTES
        self._base = _data_offset(self._size)
        self._quarter = self._size // 4
        self._limit = self._size - RESERVE_BYTES
        self._open(stream, path, meta or {})
        self.wake = wake

    def _open(self, stream: str, path: Path | None, meta: Mapping[str, Any]) -> None:
        packed = msgspec.msgpack.encode({"stream": stream, **meta})
        if len(packed) > _MAX_META:
            raise ValueError(f"queue meta data of {len(packed)} bytes; at most {_MAX_META} fit")
        self._fd, self._map = _create(path, self._base + self._size)
        self.stream = stream
        self.path = path
        self._words = memoryview(self._map)[:_TABLE_OFFSET].cast("Q")
        self._table = memoryview(self._map)[_TABLE_OFFSET : self._base].cast("Q")
        self._map[_META_OFFSET : _META_OFFSET + len(packed)] = packed
        self._words[_META_BYTES] = len(packed)
        self._words[_SIZE] = self._size
        self._words[0] = _MAGIC
        self._entries = len(self._table) // 2
        self._lock = threading.RLock()
        self._write = 0
        self._read = 0
        self._read_seq = 0
        self._ends: dict[int, int] = {0: 0}
        self._put = self._copy_in
        self._haste = 0
        """Bytes held when the ring was last found more than half full; 0 while there is no hurry."""
        self.draining = True
        """Whether the reader gets on. While it cannot, as on a full disk, no offer waits for it."""
        self.sequence = 0
        """Sequence number the next record will get: the number of records accepted so far."""
        self.refused = 0
        """Records refused because the ring was full."""

    def release_all(self) -> None:
        """Give back all room: nobody wants these records."""
        with self._lock:
            self._ends[self.sequence] = self._write
        self.release(self.sequence)

    def open_reserve(self) -> None:
        """Let the last records of the stream have the room that was kept for them."""
        self._limit = self._size

    def detach(self, reopen: Callable[[], object]) -> None:
        """In a forked child: let go of the parent's ring. The first record offered here calls ``reopen`` first.

        The object stays the same, so that whoever holds ``offer`` goes on without noticing, and at no cost.
        """

        def put_first(record: bytes) -> bool:
            reopen()
            return self._copy_in(record)

        self._lock = threading.RLock()  # another thread of the parent may have held the old one
        self._release_mapping()
        self._put = put_first
        self.sequence = self.refused = self._write = self._read = self._read_seq = 0

    def reopen(self, stream: str, path: Path | None, meta: Mapping[str, Any], first: bytes) -> None:
        """A fresh ring after :meth:`detach`, with its first record. Raises :class:`OSError` like the constructor."""
        lock = self._lock
        self._open(stream, path, meta)
        self._lock = lock  # we are inside an offer that holds it
        self._copy_in(first)

    def offer(self, record: bytes) -> bool:
        """Copy a record into the ring; False, and counted, when it does not fit.

        Safe from any thread and from a signal handler that interrupts another offer.
        """
        with self._lock:
            accepted = self._put(record)
        if self._haste:
            self._give_way()
        return accepted

    def _give_way(self) -> None:
        """Let the worker run: a flood that outruns it waits a moment once in 64 KiB, instead of being refused.

        At more than half full this only hands the interpreter over, which would otherwise take a switch interval of
        5 ms; at more than three quarters it sleeps for half a millisecond.
        """
        nearly_full = self._haste > 3 * self._quarter
        self._haste = 0
        time.sleep(_NAP_SECONDS if nearly_full else 0)

    def _copy_in(self, record: bytes) -> bool:
        size = len(record)
        # From here to the publication nothing is called: CPython runs signal handlers and other threads only around
        # calls and loops, so that a handler that logs finds the ring before this record or after it, never within.
        before = self._write
        after = before + size
        held = after - self._read
        if held > self._limit:
            return self._refuse()
        start = before % self._size
        room = self._size - start
        place = self._base + start
        if size <= room:
            self._map[place : place + size] = record
        else:
            self._map[place : place + room] = record[:room]
            self._map[self._base : self._base + size - room] = record[room:]
        self._write = after
        self.sequence += 1
        self._words[_WRITE] = after
        self._words[_SEQUENCE] = self.sequence
        line = after >> _LINE_SHIFT
        if line != before >> _LINE_SHIFT:
            slot = 2 * (line % self._entries)
            self._table[slot + 1] = self.sequence
            self._table[slot] = after
            if held > self._quarter:
                if self.draining and held > 2 * self._quarter:
                    self._haste = held
                self.wake()
        return True

    def _refuse(self) -> bool:
        self.refused += 1
        self._words[_REFUSED] = self.refused
        self.wake()
        return False

    @property
    def depth(self) -> int:
        """Records in the ring that have not been released."""
        return self.sequence - self._read_seq

    @property
    def bytes_held(self) -> int:
        """Bytes in the ring that have not been released."""
        return self._write - self._read

    @property
    def crowded(self) -> bool:
        """Whether more than a quarter of the ring is held."""
        return self.bytes_held > self._quarter

    def peek(self, start: int | None = None, limit: int = PEEK_BYTES) -> list[Chunk]:
        """Chunks from sequence ``start`` on (the end of a chunk seen before; default the oldest), not released.

        None of them while an offer takes long: a signal handler has interrupted it, which may be waiting for the
        very thread that reads here.
        """
        if not self._lock.acquire(timeout=_OFFER_SECONDS):
            return []
        try:
            end, end_seq = self._write, self.sequence
            seq = self._read_seq if start is None else max(start, self._read_seq)
            offset = self._ends.get(seq)
        finally:
            self._lock.release()
        if offset is None:
            offset, seq = self._read, self._read_seq
        chunks = []
        for cut, cut_seq in _cuts(self._table, offset, end, end_seq):
            chunks.append(Chunk(self.stream, seq, cut_seq - seq, self._bytes(offset, cut)))
            offset, seq = cut, cut_seq
            self._ends[seq] = offset
            limit -= len(chunks[-1].records)
            if limit <= 0:
                break
        return chunks

    def release(self, seq: int) -> None:
        """Give back the room of all records below sequence ``seq``, the end of a chunk that was peeked."""
        offset = self._ends.get(seq)
        if offset is None or seq <= self._read_seq:
            return
        slot = 1 - self._words[_READ_SLOT]
        self._words[_SLOTS + 2 * slot] = offset
        self._words[_SLOTS + 2 * slot + 1] = seq
        self._words[_READ_SLOT] = slot
        self._read_seq = seq
        self._read = offset
        self._ends = {s: o for s, o in self._ends.items() if s >= seq}

    def _bytes(self, start: int, end: int) -> bytes:
        return _ring_bytes(self._map, self._base, self._size, start, end)

    def close(self, unlink: bool) -> None:
        """Let go of the mapping and, when ``unlink``, of the file: only once everything in it lies elsewhere."""
        if self.path is not None and unlink:
            self.path.unlink(missing_ok=True)
        with self._lock:
            self._put = _refuse_all
            self._release_mapping()

    def _release_mapping(self) -> None:
        self._words.release()
        self._table.release()
        self._map.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _refuse_all(record: bytes) -> bool:
    return False


def _create(path: Path | None, total: int) -> tuple[int, mmap.mmap]:
    populate = getattr(mmap, "MAP_POPULATE", 0)  # page faults belong into init, not into the first lap of the ring
    if path is None:
        return -1, mmap.mmap(-1, total)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Reserved now: a full device answers here, and never as a SIGBUS inside log().
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, total)
        else:
            os.truncate(fd, total)
        lock_as_owner(fd, wait=True)  # only an adopter looking for abandoned rings can hold it, and only for a moment
        return fd, mmap.mmap(fd, total, flags=mmap.MAP_SHARED | populate)
    except OSError:
        path.unlink(missing_ok=True)
        os.close(fd)
        raise


def _cuts(table: memoryview, start: int, end: int, end_seq: int) -> list[tuple[int, int]]:
    """(offset, sequence) of chunk ends after ``start``: one for each line that was passed, then the end itself."""
    entries = len(table) // 2
    found = []
    for line in range((start >> _LINE_SHIFT) + 1, (end >> _LINE_SHIFT) + 1):
        slot = 2 * (line % entries)
        seq, offset = table[slot + 1], table[slot]
        if offset >> _LINE_SHIFT == line and start < offset <= end:
            found.append((offset, seq))
    if end > start and (not found or found[-1][0] < end):
        found.append((end, end_seq))
    return found


def _ring_bytes(data: mmap.mmap, base: int, size: int, start: int, end: int) -> bytes:
    first, last = start % size, (end - 1) % size + 1
    if end - start <= size - first:
        return data[base + first : base + first + end - start]
    return data[base + first : base + size] + data[base : base + last]


class AbandonedQueue:
    """The ring of a process that is gone, held under its lock while its records are taken over.

    Use :func:`adopt`; close it when done.
    """

    def __init__(self, path: Path, fd: int, data: mmap.mmap) -> None:
        self.path = path
        self._fd = fd
        self._map = data
        with memoryview(data) as view, view[:_TABLE_OFFSET].cast("Q") as words:
            if words[0] != _MAGIC:
                raise WireError(f"{path} is no queue")
            self._size = words[_SIZE]
            self._write = words[_WRITE]
            slot = words[_READ_SLOT] & 1
            self._read, self._read_seq = words[_SLOTS + 2 * slot], words[_SLOTS + 2 * slot + 1]
            self.refused = words[_REFUSED]
            self._sequence = words[_SEQUENCE]
        self._base = _data_offset(self._size)
        held = self._write - self._read
        sound = len(data) >= self._base + self._size and 0 <= held <= self._size
        if not sound or self._read_seq > self._read or not self._read_seq <= self._sequence <= self._write:
            raise WireError(f"{path} has a damaged header")
        self.meta = _meta_of(path, data)
        self.stream = str(self.meta["stream"])

    @property
    def sequence_read(self) -> int:
        """Sequence number of the first record that was not released."""
        return self._read_seq

    def chunks(self) -> list[Chunk]:
        """Everything that was not released, as chunks. What lies behind the last cut is counted record by record."""
        with memoryview(self._map) as view, view[_TABLE_OFFSET : self._base].cast("Q") as table:
            cuts = _cuts(table, self._read, self._write, 0)
        chunks = []
        offset, seq = self._read, self._read_seq
        for cut, cut_seq in cuts:
            if not 0 < cut_seq - seq <= cut - offset:
                continue  # never written, or damaged: the next one, or counting, tells
            records = _ring_bytes(self._map, self._base, self._size, offset, cut)
            chunks.append(Chunk(self.stream, seq, cut_seq - seq, records))
            offset, seq = cut, cut_seq
        if offset < self._write:
            rest = _ring_bytes(self._map, self._base, self._size, offset, self._write)
            chunks += _chunks_of(self.stream, seq, rest)
        end = chunks[-1].next if chunks else self._read_seq
        if end < self._sequence:  # a record is damaged so that nothing behind it can be told apart
            chunks.append(gap_chunk(self.stream, end, self._sequence - 1, "queue_damaged"))
        return chunks

    def close(self, unlink: bool) -> None:
        """Release the lock and, when ``unlink``, remove the file."""
        if unlink:
            self.path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._fd)


def _chunks_of(stream: str, first: int, records: bytes) -> list[Chunk]:
    chunks: list[Chunk] = []
    pending: list[bytes] = []
    held = 0
    for record in split_records(records):
        pending.append(record)
        held += len(record)
        if held >= CHUNK_BYTES:
            chunks.append(Chunk(stream, first, len(pending), b"".join(pending)))
            first += len(pending)
            pending, held = [], 0
    if pending:
        chunks.append(Chunk(stream, first, len(pending), b"".join(pending)))
    return chunks


def _meta_of(path: Path, data: mmap.mmap) -> dict[str, Any]:
    """What a ring says of its stream, which never changes: it is read without the lock as well. Raises WireError."""
    with memoryview(data) as view, view[:_TABLE_OFFSET].cast("Q") as words:
        if words[0] != _MAGIC:
            raise WireError(f"{path} is no queue")
        size = words[_META_BYTES]
    try:
        meta: dict[str, Any] = msgspec.msgpack.decode(data[_META_OFFSET : _META_OFFSET + size], type=dict[str, Any])
        stream = str(meta["stream"])
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
        raise WireError(f"{path} has damaged meta data") from error
    if size > _MAX_META or stream != path.stem:
        raise WireError(f"{path} claims to be the stream {stream[:40]!r}")
    return meta


def adopt(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> AbandonedQueue | None:
    """The ring at ``path`` if it is wanted, its owner is gone and nobody else is taking it over; None otherwise.

    Never call it for a ring of this process: a POSIX record lock is not refused to its own holder.

    Args:
        path: the ring.
        wanted: asked with what the ring says of its stream, before the lock is taken: who does not want it must not
            keep it, even for a moment, from who does.

    Raises:
        WireError: the file is no ring.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        begun = os.pread(fd, 8, 0) not in (b"", bytes(8))
        if begun:
            with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data:
                if not wanted(_meta_of(path, data)):
                    raise FileNotFoundError(path)
        try:
            lock_as_adopter(fd)
        except OSError as error:
            raise FileNotFoundError(path) from error
        found = os.fstat(fd)
        if found.st_nlink == 0:  # somebody else took it over before we had the lock
            raise FileNotFoundError(path)
        if not begun:
            # No magic: its owner died, or is just now, making it. Nothing was ever offered to it.
            if time.time() - found.st_mtime > _STILLBORN_SECONDS:
                path.unlink()
            raise FileNotFoundError(path)
        return AbandonedQueue(path, fd, mmap.mmap(fd, 0))
    except FileNotFoundError:  # there is nothing to take over
        os.close(fd)
        return None
    except (OSError, ValueError, WireError) as error:
        os.close(fd)
        raise WireError(str(error)) from error
