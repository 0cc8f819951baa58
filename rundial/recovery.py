"""Adopting what dead processes left behind: rings in shared memory, and spool folders.

Who lives is told by POSIX record locks, which the kernel releases at death whatever the cause; process ids, which are
used again and differ between containers, are never asked. Several adopters may race: a lock decides who takes a folder
over, and the server takes each sequence number once.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rundial.config import Settings, home
from rundial.delivery import StoreClient
from rundial.diagnostics import warn
from rundial.errors import RequestError, RundialError, WireError
from rundial.events import RunEnd
from rundial.leftovers import deliver_uploads
from rundial.locks import holder
from rundial.queue import QUEUE_SUFFIX, AbandonedQueue, adopt, queue_folder
from rundial.spool import (
    DAMAGED_SUFFIX,
    LOCK_NAME,
    NewerSegment,
    Place,
    Segment,
    Spool,
    acquire,
    prepare_directory,
    register,
    registered,
    scan_segment,
    segment_meta,
    segment_paths,
)
from rundial.staging import UPLOADS, job_folders, read_job
from rundial.transport import HttpTransport, Transport
from rundial.uploads import remove_empty
from rundial.wire import Chunk, decode_chunk, encode, gap_chunk, missing_chunks, unpack_chunk

BATCH_BYTES = 2 * 1024 * 1024
UNBOUNDED = 1 << 62
RING_LOOKS = 5
"""How often a living ring is read that does not add up: its owner may have written while it was read."""
VANISHED = "the process vanished"

Meta = dict[str, Any]
Wanted = Callable[[Meta], bool]
Store = Callable[[Meta], StoreClient | None]


def is_local(meta: Meta) -> bool:
    """Whether a stream belongs to this user's own store rather than to a server somewhere."""
    return meta.get("endpoint") is None and meta.get("home") == str(home())


# -- rings ---------------------------------------------------------------------------------------------------------


def rings() -> Iterator[Path]:
    """Every ring file of this user: in shared memory, and in spool directories where there is no shared memory."""
    shared = queue_folder()
    if shared is not None:
        yield from shared.glob(f"*{QUEUE_SUFFIX}")
    for folder in stream_folders(registered()):
        try:
            yield from list(folder.glob(f"*{QUEUE_SUFFIX}"))
        except FileNotFoundError:
            continue  # its stream ended this very moment


def adopt_rings(wanted: Wanted, own: frozenset[str] = frozenset()) -> list[Path]:
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
    _end_if_open(spool, following)
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


def _is_original(folder: Path, meta: Meta) -> bool:
    """Whether a folder lies where its process left it: in a copy, what follows may just not have been copied yet."""
    if "spool" not in meta:
        return True
    places = (home() / "spool", Path(str(meta["spool"])))
    return any(folder.parent.resolve() == place.resolve() for place in places)


def _end_if_open(spool: Spool, following: int) -> None:
    """Write the end that the process did not live to write."""
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


# -- spool folders ----------------------------------------------------------------------------------------------------


def stream_folders(directories: list[Path]) -> Iterator[Path]:
    """The folders of all streams in spool directories; of each directory the oldest first, as their ids sort."""
    for directory in dict.fromkeys([*directories, home() / "spool"]):
        try:
            yield from (entry for entry in sorted(directory.iterdir()) if len(entry.name) == 32 and entry.is_dir())
        except OSError:
            continue  # gone or unreadable since it was noted: nothing of ours can be read there


class Sent(NamedTuple):
    """What one attempt to deliver a folder came to."""

    folder: Path
    meta: Meta
    records: int
    """Records acknowledged in this attempt."""
    pending: int
    """Records still in the folder."""
    error: RequestError | None = None
    damaged: int = 0
    """Damaged stretches that were passed over; the server knows them as gaps."""
    uploads: int = 0
    """Uploads confirmed in this attempt."""
    uploads_pending: int = 0
    problems: list[str] = []
    """Uploads that cannot be sent, and why."""


def no_store(meta: Meta) -> StoreClient | None:
    """Nowhere to upload to: only records are sent."""
    return None


def deliver_folder(
    folder: Path, transport: Callable[[Meta], Transport | None], wanted: Wanted, store: Store = no_store
) -> Sent | None:
    """Take a dead process's folder over and deliver it; None while its owner lives or when it is not wanted.

    Uploads follow once no record is left. What is acknowledged is removed, the folder too when it is empty.
    """
    meta = folder_meta(folder)
    if meta is None or not wanted(meta):
        return None
    sent = _deliver_records(folder, meta, transport) if _has_records(folder) else None
    if sent is not None and (sent.error or sent.pending):
        return sent._replace(uploads_pending=len(job_folders(folder)))
    uploads = deliver_uploads_of(folder, meta, store)
    if sent is None or uploads is None:
        return sent or uploads
    return uploads._replace(records=sent.records, damaged=sent.damaged)


def _has_records(folder: Path) -> bool:
    try:
        return bool(segment_paths(folder))
    except FileNotFoundError:
        return False  # sent and removed meanwhile


def deliver_uploads_of(
    folder: Path, meta: Meta, store: Store, stopping: Callable[[], bool] = lambda: False
) -> Sent | None:
    """Send the uploads of a dead process; None while it lives, while a record of it waits, or when there are none."""
    if not (folder / UPLOADS).is_dir() or _has_records(folder) or any(path.stem == folder.name for path in rings()):
        return None
    result = deliver_uploads(folder, store(meta), _is_original(folder, meta), stopping)
    if result is None:
        return None
    lock = acquire(folder) if folder.is_dir() else None
    if lock is not None:
        if {entry.name for entry in folder.iterdir()} == {LOCK_NAME}:
            (folder / LOCK_NAME).unlink()
        remove_empty(folder)
        os.close(lock)
    return Sent(folder, meta, 0, 0, result.error, 0, result.sent, result.pending, result.problems)


def _deliver_records(folder: Path, meta: Meta, transport: Callable[[Meta], Transport | None]) -> Sent | None:
    try:
        spool = Spool.reopen(folder, UNBOUNDED)
    except FileNotFoundError:
        return None
    if spool is None:
        return None
    try:
        waiting = any(path.stem == folder.name for path in rings())  # a ring that waits has the rest, and its end
        if not waiting and _is_original(folder, meta):
            _end_if_open(spool, spool.next)
        route = transport(meta)
        if route is None:
            return Sent(folder, meta, 0, spool.pending(0))
        return _deliver(spool, meta, route)
    finally:
        spool.close()


def folder_meta(folder: Path) -> Meta | None:
    """What the newest readable segment says of its stream, or else one of its uploads; None when there is neither."""
    try:
        paths = segment_paths(folder)
    except OSError:
        return None
    for path in reversed(paths):
        try:
            return segment_meta(path)
        except (OSError, WireError) as error:
            warn(f"{error}")
    for job_folder in job_folders(folder):
        try:
            return read_job(job_folder).meta
        except FileNotFoundError:
            continue  # sent and removed meanwhile
        except (OSError, RundialError) as error:
            warn(f"{error}")
    return None


def _deliver(spool: Spool, meta: Meta, transport: Transport) -> Sent:
    acknowledged = 0
    before = spool.pending(0)
    error: RequestError | None = None
    while batch := contiguous(spool, acknowledged):
        outcome = transport.deliver(spool.stream, b"".join(batch))
        if outcome.verdict == "behind" and outcome.reply is not None:
            outcome = transport.deliver(spool.stream, b"".join(fill_gap(spool, outcome.reply.next)))
        if outcome.verdict != "acknowledged" or outcome.reply is None:
            error = outcome.error or RequestError("the server does not take the stream up where it left off.")
            break
        acknowledged = outcome.reply.next
        spool.acknowledge(acknowledged)
    pending = spool.pending(acknowledged)
    return Sent(spool.folder, meta, before - pending, pending, error, spool.damaged)


def contiguous(spool: Spool, start: int) -> list[bytes]:
    """The next chunks to send, with a gap in the place of what is missing between them."""
    batch: list[bytes] = []
    expected: int | None = None
    for packed in spool.read(start, BATCH_BYTES):
        chunk = unpack_chunk(packed)[0]
        if expected is not None and chunk.first > expected:
            batch += missing_chunks(spool.stream, spool.opening, expected, chunk.first - 1, "spool_damaged")
        batch.append(packed)
        expected = chunk.next
    return batch


def fill_gap(spool: Spool, expected: int) -> list[bytes]:
    """A batch for a server that expects sequences which the folder does not have any more."""
    batch = contiguous(spool, expected)
    first = unpack_chunk(batch[0])[0].first if batch else spool.next
    if first <= expected:
        return batch
    return [*missing_chunks(spool.stream, spool.opening, expected, first - 1, "spool_damaged"), *batch]


def sync(
    directories: list[Path],
    transport: Callable[[Meta], Transport | None],
    wanted: Wanted,
    own: frozenset[str],
    store: Store = no_store,
) -> Iterator[Sent]:
    """Adopt and deliver everything in ``directories`` whose owner is gone and that is wanted."""
    adopted = adopt_rings(wanted, own)
    for folder in stream_folders([*directories, *(folder.parent for folder in adopted)]):
        if folder.name in own:
            continue
        try:
            sent = deliver_folder(folder, transport, wanted, store)
        except (OSError, WireError) as error:
            warn(f"cannot send {folder}: {error}; nothing in it was removed")
            continue
        if sent is not None:
            yield sent


# -- the watcher beside the local server ---------------------------------------------------------------------------


class Watcher:
    """Brings this user's spools into the local server, of dead processes and of living ones that cannot reach it.

    Args:
        endpoint: the local server's URL.
        api_key: its owner key.
        interval: seconds between looks.
    """

    def __init__(self, endpoint: str, api_key: str, interval: float = 1.0) -> None:
        self._transport = HttpTransport(endpoint, api_key, Settings(endpoint=endpoint))
        self._store = StoreClient(endpoint, api_key)
        self._endpoint = endpoint
        self._interval = interval
        self._stopping = threading.Event()
        # A checkpoint of many GB must not keep the records of other runs waiting.
        looks = {"rundial-watcher": self.look, "rundial-watcher-uploads": self.look_for_uploads}
        self._threads = [
            threading.Thread(target=self._watch, args=(look,), name=name, daemon=True) for name, look in looks.items()
        ]
        self._positions: dict[str, int] = {}
        self._said: set[str] = set()

    def start(self) -> None:
        """Begin watching, in threads of its own."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop, and wait for what is being sent."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(10)
        self._transport.close()
        self._store.close()

    def _watch(self, look: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                look()
            except Exception as error:  # noqa: BLE001 - the server must not lose its watcher to one strange folder
                warn(f"the watcher met {type(error).__name__}: {error}; it looks again in a moment")
            self._stopping.wait(self._interval)

    def look(self) -> None:
        """Take in everything there is now."""
        directories = registered()
        for _ in sync(directories, lambda _meta: self._transport, self._belongs_here, frozenset()):
            if self._stopping.is_set():
                return
        for folder in stream_folders(directories):
            meta = folder_meta(folder)
            # A living process on this host has found the server itself; one on another node cannot reach it.
            if meta is not None and self._belongs_here(meta) and meta.get("host") != os.uname().nodename:
                self._follow(folder)

    def look_for_uploads(self) -> None:
        """Take in the uploads of dead processes whose records are all here."""
        for folder in stream_folders(registered()):
            meta = folder_meta(folder) if (folder / UPLOADS).is_dir() and not self._stopping.is_set() else None
            if meta is None or not self._belongs_here(meta):
                continue
            sent = deliver_uploads_of(folder, meta, lambda _meta: self._store, self._stopping.is_set)
            for problem in sent.problems if sent is not None else ():
                if problem not in self._said:  # what cannot be read now cannot be read a second later either
                    self._said.add(problem)
                    warn(f"{meta.get('name')}: {problem}")

    def _belongs_here(self, meta: Meta) -> bool:
        return is_local(meta) or meta.get("endpoint") == self._endpoint

    def _follow(self, folder: Path) -> None:
        """Send what is new in a living process's folder, which stays as it is."""
        position = self._positions.get(folder.name, 0)
        for path in segment_paths(folder):
            try:
                _, segment, _ = scan_segment(path)
            except (OSError, WireError):
                continue  # removed or still being written: the next look sees more
            if segment.next <= position:
                continue
            data = path.read_bytes()
            body = b"".join(data[p.offset : p.offset + p.length] for p in segment.places if p.next > position)
            outcome = self._transport.deliver(folder.name, body) if body else None
            if outcome is None or outcome.reply is None:
                return
            position = self._positions[folder.name] = outcome.reply.next


# -- looking without touching --------------------------------------------------------------------------------------


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
