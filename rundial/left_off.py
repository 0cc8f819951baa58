"""Where a run left off, as far as it lies on this machine: for one that is resumed while no server says so."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rundial.config import home
from rundial.errors import WireError
from rundial.events import Metrics
from rundial.locks import holder
from rundial.queue import AbandonedQueue
from rundial.segments import scan_segment, segment_paths
from rundial.spool import LOCK_NAME
from rundial.spool_directories import registered
from rundial.streams import Meta, folder_meta, rings, stream_folders
from rundial.wire import Chunk, decode_chunk, unpack_chunk

LAST_CHUNKS = 16
"""So many are looked through in each stream for the last step: about a megabyte."""


def last_step(run_id: str, own: frozenset[str]) -> int | None:
    """The highest step that earlier processes left here of a run, sent or not; None when there is none.

    Args:
        run_id: of the run.
        own: the streams of this process, which are not opened: closing a file gives up its locks.
    """
    found = []
    for path in rings():
        if path.stem not in own and not _lives(path):
            found.append(_highest(_in_ring(path, run_id)))
    for folder in stream_folders(registered()):
        if folder.name in own or not _belongs(folder_meta(folder) or {}, run_id) or _lives(folder / LOCK_NAME):
            continue
        found.append(_highest(_in_folder(folder)))
    return max((step for step in found if step is not None), default=None)


def _lives(locked: Path) -> bool:
    """Whether the process that logs there is still at it, as another rank of the run is: it left nothing."""
    try:
        return holder(locked) == "owner"
    except OSError:
        return False  # gone meanwhile, or not to be read


def _belongs(meta: Meta, run_id: str) -> bool:
    return meta.get("run_id") == run_id and meta.get("home") == str(home())


def _highest(chunks: Iterator[Chunk]) -> int | None:
    """The highest step of the newest chunk that has any; ``chunks`` come newest first."""
    for chunk in islice(chunks, LAST_CHUNKS):
        steps = [event.step for event in decode_chunk(chunk)[0] if isinstance(event, Metrics)]
        if steps:
            return max(steps)
    return None


def _in_ring(path: Path, run_id: str) -> Iterator[Chunk]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            ring = AbandonedQueue(path, file.fileno(), data)
            chunks = ring.chunks() if _belongs(ring.meta, run_id) else []
    except (OSError, ValueError, WireError):
        return  # gone, being made or being written: whoever takes it over says what is wrong with it
    yield from reversed(chunks)


def _in_folder(folder: Path) -> Iterator[Chunk]:
    try:
        for path in reversed(segment_paths(folder)):
            places = scan_segment(path)[1].places
            data = path.read_bytes()
            yield from (unpack_chunk(data[at.offset : at.offset + at.length])[0] for at in reversed(places))
    except (OSError, WireError):
        return  # as above
