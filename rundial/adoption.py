"""Adopting what dead processes left in shared memory: their rings are moved into spool folders, up to their end.

Who lives is told by POSIX record locks, which the kernel releases at death whatever the cause; process ids, which are
used again and differ between containers, are never asked. Several adopters may race: a lock decides who takes a ring
over, and the server takes each sequence number once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from rundial.config import home
from rundial.diagnostics import warn
from rundial.errors import WireError
from rundial.events import RunEnd
from rundial.queue import AbandonedQueue, adopt
from rundial.segments import DAMAGED_SUFFIX, NewerSegment, Segment, segment_paths
from rundial.spool import Spool
from rundial.spool_directories import prepare_directory, register
from rundial.streams import Meta, rings
from rundial.wire import Chunk, decode_chunk, encode, gap_chunk, unpack_chunk

UNBOUNDED = 1 << 62
VANISHED = "the process vanished"


def adopt_rings(wanted: Callable[[Meta], bool], own: frozenset[str] = frozenset()) -> list[Path]:
    """Move what dead processes left in rings into their spool folders, and give those folders.

    ``own`` names the streams of this process, whose locks would not refuse it.
    """
    adopted = []
    for path in list(rings()):
        if path.stem in own:
            continue
        try:
            ring = adopt(path, wanted)
        except WireError as error:
            warn(f"{error}; the file is left where it is")
            continue
        if ring is None:
            continue
        taken = False
        try:
            adopted.append(_to_spool(ring))
            taken = True
        except (OSError, WireError) as error:
            warn(f"cannot take over {path}: {error}; the file is left where it is")
        finally:
            ring.close(unlink=taken)
    return adopted


def _to_spool(ring: AbandonedQueue) -> Path:
    folder = _spool_folder(ring)
    spool = _reopened(folder) or Spool(folder, ring.stream, ring.meta, UNBOUNDED)
    chunks = [_checked(chunk, ring.path) for chunk in ring.chunks()]
    spool.append(chunks)
    following = max(spool.next, chunks[-1].next if chunks else ring.sequence_read)
    end_if_open(spool, following)
    spool.close()
    return folder


def _reopened(folder: Path) -> Spool | None:
    """The folder's spool; None when there is none, or only what a process left that died while beginning it."""
    if not folder.is_dir() or not segment_paths(folder):
        return None
    try:
        return Spool.reopen(folder, UNBOUNDED)
    except NewerSegment:
        raise
    except WireError as error:
        for path in segment_paths(folder):
            path.rename(path.with_suffix(DAMAGED_SUFFIX))
        warn(f"{error}; kept as *{DAMAGED_SUFFIX}")
        return None


def _checked(chunk: Chunk, path: Path) -> Chunk:
    """A chunk out of a ring, which has no checksum: a gap in its place when its records do not add up."""
    _, bad = decode_chunk(chunk)
    if chunk.is_gap:
        warn(f"{path} is damaged at sequence {chunk.first}: {chunk.count} records are lost")
    if not bad:
        return chunk
    warn(f"{path} is damaged at sequence {chunk.first}: {bad[0].reason}; {chunk.count} records are lost")
    return gap_chunk(chunk.stream, chunk.first, chunk.next - 1, "queue_damaged")


def _spool_folder(ring: AbandonedQueue) -> Path:
    """The spool folder the dead process used, or one in the home when that place is gone."""
    for directory in (Path(str(ring.meta.get("spool", ""))), home() / "spool"):
        try:
            prepare_directory(directory)
            register(directory)
            _note_for_owner(directory, ring.meta)
            if os.access(directory, os.W_OK):
                return directory / ring.stream
        except OSError:
            continue  # the next place is tried; the last one's failure shows when it is written
    return home() / "spool" / ring.stream


def _note_for_owner(directory: Path, meta: Meta) -> None:
    """Note a spool directory in the home it was logged from, whose `rundial sync` must find it, too."""
    place = Path(str(meta.get("home", "")))
    if place == home() or not place.parent.is_dir():
        return
    try:
        register(directory, place)
    except OSError as error:
        warn(f"cannot note {directory} in {place}: {error}; `rundial sync` must be told of it there")


def end_if_open(spool: Spool, following: int) -> None:
    """Write the end that the process did not live to write, at sequence ``following``."""
    last = spool.segments[-1] if spool.segments else None
    if last is not None and _ends(last):
        return
    chunks = []
    if last is not None and last.places and last.places[-1].offset + last.places[-1].length < last.size:
        chunks.append(gap_chunk(spool.stream, following, following, "spool_damaged"))  # how many, nobody can tell
        following += 1
    end = RunEnd(time.time_ns(), "crashed", VANISHED)
    spool.append([*chunks, Chunk(spool.stream, following, 1, encode(end))])


def _ends(segment: Segment) -> bool:
    if not segment.places or segment.places[-1].is_gap:
        return False
    place = segment.places[-1]
    with segment.path.open("rb") as file:
        file.seek(place.offset)
        events, _ = decode_chunk(unpack_chunk(file.read(place.length))[0])
    return bool(events) and isinstance(events[-1], RunEnd)
