"""A stream's folder on disk: where records wait until a server has acknowledged them.

It lies inside the spool directory and holds ``lock`` (held by the owner with a POSIX record lock) and segments (see
``segments.py``), to the newest of which is appended.

Data leaves a segment for two reasons only: it was acknowledged, or the bound in bytes was reached; then the oldest
segment gives way to a gap record that says how much is missing and why.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rundial.config import home
from rundial.diagnostics import warn
from rundial.errors import WireError
from rundial.locks import lock_as_adopter, lock_as_owner
from rundial.segments import (
    DAMAGED_SUFFIX,
    SUFFIX,
    NewerSegment,
    Place,
    Segment,
    scan_segment,
    segment_header,
    segment_paths,
)
from rundial.spool_directories import prepare_directory, register
from rundial.wire import HEADER_BYTES, Chunk, chunk_header, missing_chunks

SEGMENT_BYTES = 4 * 1024 * 1024
WRITE_CHUNKS = 2
DRAFT_SUFFIX = ".tmp"
LOCK_NAME = "lock"


class Spool:
    """The spool folder of one stream, written by its owner.

    Args:
        folder: the stream's own folder; made here, with its lock.
        stream: id of the stream.
        meta: what a later sender must know; written into every segment.
        max_bytes: bound on all segments together.
        max_age: seconds after which unsent segments are dropped; None for never.

    Raises :class:`OSError` when the folder cannot be made or another process holds it. The folder is only made by
    :meth:`append`, so that a stream that never needs a spool leaves no trace.
    """

    def __init__(
        self,
        folder: Path,
        stream: str,
        meta: Mapping[str, Any],
        max_bytes: int,
        max_age: float | None = None,
    ) -> None:
        self.folder = folder
        self.stream = stream
        self.segments: list[Segment] = []
        self.dropped: dict[str, int] = {}
        """Records dropped by a bound, by reason."""
        self.damaged = 0
        """Damaged stretches found when the folder was opened again."""
        self._header = segment_header({"stream": stream, **meta})
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._lock_fd = -1
        self._fd = -1
        self._dirty = False
        self.next = 0
        """Sequence number the next chunk begins with."""
        self.opening: bytes | None = meta.get("opening")
        """A RunStart to put in the place of the first record should it get lost."""
        self._acknowledged = 0
        self.in_flight = 0
        """Sequence below which records are being sent: no bound touches them."""

    @classmethod
    def reopen(cls, folder: Path, max_bytes: int) -> Spool | None:
        """Take over the folder of a process that is gone; None while somebody holds it.

        Raises :class:`WireError` when no segment in it can be read.
        """
        lock = acquire(folder)
        if lock is None:
            return None
        segments: list[Segment] = []
        meta: dict[str, Any] = {}
        damaged = 0
        problems = []
        for path in segment_paths(folder):
            try:
                found, segment, bad = scan_segment(path)
            except NewerSegment:
                os.close(lock)
                raise
            except (WireError, OSError) as error:
                problems.append(str(error))
                continue
            meta = found or meta
            damaged += bad
            if segment.places:
                segments.append(segment)
        if not meta:
            os.close(lock)
            raise WireError("; ".join(problems) or f"{folder} holds no segment")
        spool = cls(folder, str(meta.pop("stream")), meta, max_bytes)
        spool._lock_fd = lock
        spool.segments = segments
        spool.damaged = damaged
        spool.next = max((segment.next for segment in segments), default=0)
        return spool

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    def append(self, chunks: list[Chunk]) -> None:
        """Write chunks, in order. On :class:`OSError` none of them are in, or those below ``next``."""
        new = [chunk for chunk in chunks if chunk.next > self.next]
        while new:
            # Few chunks in a system call: the kernel may keep the training thread off its core for the length of it.
            if self._fd < 0 or self.segments[-1].size >= min(SEGMENT_BYTES, self._max_bytes // 4):
                self._rotate(new[0].first)
            self._write(new[:WRITE_CHUNKS])
            new = new[WRITE_CHUNKS:]
        self._keep_bounds()

    def _write(self, chunks: list[Chunk]) -> None:
        if os.fstat(self._fd).st_nlink == 0:
            self._leave_removed()
            self._rotate(chunks[0].first)
        segment = self.segments[-1]
        pieces = [piece for chunk in chunks for piece in (chunk_header(chunk), chunk.records)]
        try:
            _write_all(self._fd, pieces)
        except OSError:
            # A torn chunk at the end would be skipped by every reader; cutting it off keeps the file whole.
            try:
                os.ftruncate(self._fd, segment.size)
                os.lseek(self._fd, segment.size, os.SEEK_SET)
            except OSError:
                os.close(self._fd)  # then the torn end stays, and the next chunk begins another segment
                self._fd = -1
            raise
        for chunk in chunks:
            length = HEADER_BYTES + len(chunk.records)
            segment.places.append(Place(chunk.first, chunk.count, segment.size, length, chunk.is_gap))
            segment.size += length
        self.next = chunks[-1].next
        self._dirty = True

    def _leave_removed(self) -> None:
        """Somebody removed files from under us: what was in them is gone, and the stream must know."""
        for segment in self.segments:
            if segment.lost_to is None and not segment.path.exists():
                self._become_gap(segment, "spool_lost")
        if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:
            os.close(self._fd)
            self._fd = -1

    def _rotate(self, first: int) -> None:
        self.sync()
        self._make_folder()
        path = self.folder / f"{first:020d}{SUFFIX}"
        if self.segments and self.segments[-1].path == path:
            self.segments.pop().path.unlink(missing_ok=True)  # it was begun before, and nothing was written to it
        fd = self._create(path)
        try:
            _write_all(fd, [self._header])
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self.segments.append(Segment(path, len(self._header), made=time.time()))

    def _create(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileExistsError:
            if path.stat().st_size <= len(self._header):
                path.unlink()  # begun on a failing disk, and never more than that
            else:
                path.replace(path.with_suffix(DAMAGED_SUFFIX))  # nobody could read it; it is not ours to overwrite
            return os.open(path, flags, 0o600)

    def _make_folder(self) -> None:
        if self._lock_fd >= 0 and self.folder.is_dir():
            return
        prepare_directory(self.folder.parent)
        try:
            register(self.folder.parent)
        except OSError as error:
            warn(f"cannot note {self.folder.parent} in {home()}: {error}; `rundial sync` must be told of it")
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
        lock = acquire(self.folder, owner=True)
        if lock is None:
            raise OSError(errno.EBUSY, "spool folder is held by another process", str(self.folder))
        self._lock_fd = lock

    def _keep_bounds(self) -> None:
        while self.size > self._max_bytes and self._evict("spool_bytes", math.inf):
            pass
        while self._max_age is not None and self._evict("spool_age", time.time() - self._max_age):
            pass

    def _evict(self, reason: str, made_before: float) -> bool:
        """Put a gap record in the place of the oldest segment; False when none may go.

        The segment being written stays, and so does what is being sent: its fate is not known yet.
        """
        position, segment = next(
            (
                (position, segment)
                for position, segment in enumerate(self.segments[:-1])
                if not segment.is_gap and segment.first >= self.in_flight
            ),
            (0, None),
        )
        if segment is None or segment.made >= made_before:
            return False
        before = self.segments[position - 1] if position else segment
        gap = before if before.is_gap else segment  # a long outage leaves one gap, not thousands
        first, last = gap.first, segment.next - 1
        written = self._write_gap(gap.path, first, last, reason)
        self._become_gap(segment, reason)
        if gap is not segment:
            gap.places = [Place(first, last - first + 1, 0, 0, True)]
            del self.segments[position]
        if gap is not segment or not written:
            segment.path.unlink(missing_ok=True)
        return True

    def _write_gap(self, path: Path, first: int, last: int, reason: str) -> bool:
        """Leave word on disk of what is missing; False where there is no room even for that, and memory must do."""
        draft = path.with_suffix(DRAFT_SUFFIX)
        chunks = missing_chunks(self.stream, self.opening, first, last, reason)
        try:
            draft.write_bytes(self._header + b"".join(chunks))
            draft.replace(path)
        except OSError:
            return False
        return True

    def _become_gap(self, segment: Segment, reason: str) -> None:
        lost = self._pending_in(segment, self._acknowledged)
        if segment.first == 0 and self.opening is not None and self._acknowledged == 0:
            lost -= 1  # the first record has a stand-in
        self.dropped[reason] = self.dropped.get(reason, 0) + lost
        segment.places = [Place(segment.first, segment.next - segment.first, 0, 0, True)]
        segment.size = 0
        segment.lost_to = reason

    def read(self, start: int, limit: int) -> list[bytes]:
        """Packed chunks from the one that holds sequence ``start`` on: at least one, at most ``limit`` bytes."""
        found: list[bytes] = []
        size = 0
        for segment in self.segments:
            if segment.next <= start or not segment.places:
                continue
            for packed in self._chunks_of(segment, start):
                if found and size + len(packed) > limit:
                    return found
                found.append(packed)
                size += len(packed)
        return found

    def _chunks_of(self, segment: Segment, start: int) -> Iterator[bytes]:
        if segment.lost_to is None:
            try:
                with segment.path.open("rb") as file:
                    for place in segment.places:
                        if place.next > start:
                            file.seek(place.offset)
                            yield file.read(place.length)
                return
            except OSError:
                # Somebody removed it, or the disk fails: what was in it is gone, and the stream must know.
                self._become_gap(segment, "spool_lost")
        reason = segment.lost_to or "unknown"
        yield from missing_chunks(self.stream, self.opening, max(start, segment.first), segment.next - 1, reason)

    def pending(self, acknowledged: int) -> int:
        """Records in the spool at or above sequence ``acknowledged``."""
        return sum(self._pending_in(segment, acknowledged) for segment in self.segments)

    def _pending_in(self, segment: Segment, acknowledged: int) -> int:
        if segment.lost_to is not None:
            return int(segment.first == 0 and self.opening is not None and acknowledged == 0)
        return sum(
            place.next - max(place.first, acknowledged)
            for place in segment.places
            if not place.is_gap and place.next > acknowledged
        )

    def acknowledge(self, seq: int) -> None:
        """Remove segments whose records all lie below ``seq``."""
        self._acknowledged = max(self._acknowledged, seq)
        while self.segments and self.segments[0].next <= seq and self.segments[0].places:
            segment = self.segments.pop(0)
            if not self.segments and self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
                self._dirty = False
            segment.path.unlink(missing_ok=True)
        if self.next < seq and not self.segments:
            self.next = seq

    def sync(self) -> None:
        """Force to the disk what was written since the last time."""
        if self._dirty and self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:
            self._leave_removed()
        if self._dirty and self._fd >= 0:
            self._dirty = False  # after an error the kernel forgets the pages: asking again would only pretend
            os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)

    def close(self) -> None:
        """Sync, release the lock, and remove the folder when nothing is left in it."""
        self.sync()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._lock_fd < 0:
            return
        for draft in self.folder.glob(f"*{DRAFT_SUFFIX}"):
            draft.unlink()
        if not self.segments and not any(path.name != LOCK_NAME for path in self.folder.iterdir()):
            (self.folder / LOCK_NAME).unlink(missing_ok=True)
            self.folder.rmdir()
        os.close(self._lock_fd)
        self._lock_fd = -1

    def abandon(self) -> None:
        """In a forked child: drop the parent's descriptors without touching its files."""
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1


def _write_all(fd: int, pieces: list[bytes]) -> None:
    left = sum(map(len, pieces)) - os.writev(fd, pieces)
    if left:  # a short write says that the device is filling up; the rest goes through or raises
        data = b"".join(pieces)
        while left:
            left -= os.write(fd, data[len(data) - left :])


def acquire(folder: Path, owner: bool = False) -> int | None:
    """A descriptor that holds the folder's lock, or None while another process does. Raises :class:`OSError`.

    On a file system without locks the ``owner`` goes on without one, and nobody else can take the folder over.
    """
    fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        (lock_as_owner if owner else lock_as_adopter)(fd)
    except OSError as error:
        if owner and error.errno not in (errno.EACCES, errno.EAGAIN):
            return fd
        os.close(fd)
        return None
    if os.fstat(fd).st_nlink == 0:  # the owner finished and removed the folder meanwhile
        os.close(fd)
        return None
    return fd
