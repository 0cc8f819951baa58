"""What waits on this machine, looked at without touching it: for ``rundial sync --status`` and ``rundial verify``."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import NamedTuple

from rundial.errors import RundialError, WireError
from rundial.locks import holder
from rundial.queue import QUEUE_SUFFIX, AbandonedQueue
from rundial.segments import Place, Segment, scan_segment, segment_paths
from rundial.spool import LOCK_NAME
from rundial.spool_directories import registered
from rundial.staging import UPLOADS, job_folders, read_job
from rundial.streams import Meta, rings, stream_folders
from rundial.wire import Chunk, decode_chunk, unpack_chunk

RING_LOOKS = 5
"""How often a living ring is read that does not add up: its owner may have written while it was read."""


class Waiting(NamedTuple):
    """What waits of one stream on this machine's disks and in its shared memory, at one moment."""

    stream: str
    meta: Meta
    directory: Path
    """The spool directory it lies in; of a ring, the one it would be moved to."""
    places: list[Place]
    """What is there of the sequence, oldest first."""
    size: int
    """Bytes of all records and the files around them."""
    since: float | None
    """When the oldest of it was logged, in Unix seconds, as far as it says."""
    alive: bool
    """The process that logs it lives."""
    sending: bool
    """Another process has taken it over and is sending it."""
    damaged: int = 0
    """Damaged stretches in it."""
    problem: str | None = None
    """Why some file of it cannot be read at all."""
    uploads: int = 0
    """Artifacts and media that wait."""
    upload_bytes: int = 0

    def records(self, start: int = 0) -> int:
        """Records at or above sequence ``start``; a server that has some of them skips those."""
        return sum(place.next - max(place.first, start) for place in self.places if _counts(place, start))


def _counts(place: Place, start: int) -> bool:
    return not place.is_gap and place.next > start


def survey(directories: list[Path] | None = None) -> list[Waiting]:
    """What waits in spool directories and in all rings of this user. Nothing is taken over, changed or locked.

    Never call it in a process that logs: closing a file gives up the locks its own process holds on it.

    Args:
        directories: the spool directories; every one this user ever logged from when None.
    """
    # Everything in this order: what moves meanwhile, from a ring to a folder, is seen twice and not never.
    found_rings = {path.stem: path for path in rings()}
    places = registered() if directories is None else directories
    folders = {folder.name: folder for folder in stream_folders(places)}
    found_rings |= {path.stem: path for folder in folders.values() for path in folder.glob(f"*{QUEUE_SUFFIX}")}
    looks = (_look(stream, folders.get(stream), found_rings.get(stream)) for stream in {**folders, **found_rings})
    return [found for found in looks if found is not None]


def _look(stream: str, folder: Path | None, ring: Path | None) -> Waiting | None:
    look = _Look()
    if ring is not None and not look.at_ring(ring) and folder is None:
        folder = next((it for it in stream_folders(registered()) if it.name == stream), None)
    if folder is not None:
        look.at_folder(folder)
    look.add_ring()
    if look.places and not look.meta:
        look.problems.append(f"nothing in {folder} says which run it belongs to")
    if not (look.meta or look.problems):
        return None
    directory = folder.parent if folder is not None else Path(str(look.meta.get("spool", "")))
    return Waiting(
        stream,
        look.meta,
        directory,
        look.places,
        look.size,
        look.since,
        look.alive and not look.sending,
        look.sending,
        look.damaged,
        "; ".join(look.problems) or None,
        look.uploads,
        look.upload_bytes,
    )


class _Look:
    """What is gathered about one stream while its files are read, which may vanish at any time."""

    def __init__(self) -> None:
        self.meta: Meta = {}
        self.places: list[Place] = []
        self.size = 0
        self.since: float | None = None
        self.alive = False
        self.sending = False
        self.damaged = 0
        self.uploads = 0
        self.upload_bytes = 0
        self.problems: list[str] = []
        self._ring: list[Chunk] = []

    def at_ring(self, path: Path) -> bool:
        """Look into a ring; False when it is not there any more: its stream ended, or it was moved to a folder."""
        for looks_left in range(RING_LOOKS - 1, -1, -1):
            try:
                with path.open("rb") as file:
                    self._held_by(path)
                    if file.read(8) in (b"", bytes(8)):
                        return True  # just being made: nothing is in it
                    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                        ring = AbandonedQueue(path, file.fileno(), data)
                        self.meta, self._ring = ring.meta, ring.chunks()
                break
            except FileNotFoundError:
                return False
            except (OSError, ValueError, WireError) as error:
                if not looks_left or not self.alive:
                    self.problems.append(str(error))
                    break
        return True

    def _held_by(self, path: Path) -> None:
        found = holder(path)
        self.alive |= found == "owner"
        self.sending |= found == "adopter"

    def at_folder(self, folder: Path) -> None:
        try:
            self._held_by(folder / LOCK_NAME)
            paths = segment_paths(folder)
        except FileNotFoundError:
            return  # sent and removed meanwhile
        except OSError as error:
            self.problems.append(str(error))
            return
        for path in paths:
            try:
                meta, segment, damaged = scan_segment(path)
                self.meta = meta or self.meta
                self.since = self.since or _time_of(segment)
            except FileNotFoundError:
                continue  # sent and removed meanwhile
            except (OSError, WireError) as error:
                self.problems.append(str(error))
                continue
            self.places += segment.places
            self.size += segment.size
            self.damaged += damaged
        self._at_uploads(folder)

    def _at_uploads(self, folder: Path) -> None:
        try:
            self._held_by(folder / UPLOADS / LOCK_NAME)
        except OSError as error:
            self.problems.append(str(error))
        for job_folder in job_folders(folder):
            try:
                job = read_job(job_folder)
            except FileNotFoundError:
                continue  # sent and removed meanwhile
            except (OSError, RundialError) as error:
                self.problems.append(str(error))
                continue
            self.uploads += 1
            self.upload_bytes += job.size
            self.meta = self.meta or job.meta
            self.since = self.since or job.time_ns / 1e9

    def add_ring(self) -> None:
        following = max((place.next for place in self.places), default=0)
        for chunk in self._ring:
            if chunk.next > following:  # what was moved to the spool stays in the ring for a moment
                first = max(chunk.first, following)
                self.places.append(Place(first, chunk.next - first, 0, len(chunk.records)))
                self.size += len(chunk.records)
                self.since = self.since or _first_time(chunk)


def _time_of(segment: Segment) -> float | None:
    place = next((place for place in segment.places if not place.is_gap), None)
    if place is None:
        return None
    with segment.path.open("rb") as file:
        file.seek(place.offset)
        return _first_time(unpack_chunk(file.read(place.length))[0])


def _first_time(chunk: Chunk) -> float | None:
    events, _ = decode_chunk(chunk)
    time_ns = getattr(events[0], "time_ns", None) if events else None
    return time_ns / 1e9 if isinstance(time_ns, int) else None
