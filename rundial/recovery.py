"""Delivery of what dead processes left: records out of their spool folders, and then their uploads.

Several processes may try at once: a lock decides who takes a folder over (see ``adoption.py``), and the server takes
each sequence number once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rundial.adoption import UNBOUNDED, adopt_rings, end_if_open
from rundial.delivery import StoreClient
from rundial.diagnostics import warn
from rundial.errors import RequestError, WireError
from rundial.leftovers import deliver_uploads
from rundial.segments import segment_paths
from rundial.spool import LOCK_NAME, Spool, acquire
from rundial.staging import UPLOADS, job_folders
from rundial.streams import Meta, folder_meta, is_original, rings, stream_folders
from rundial.transport import Transport
from rundial.uploads import remove_empty
from rundial.wire import missing_chunks, unpack_chunk

BATCH_BYTES = 2 * 1024 * 1024

Wanted = Callable[[Meta], bool]
Store = Callable[[Meta], StoreClient | None]


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
    result = deliver_uploads(folder, store(meta), is_original(folder, meta), stopping)
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
        if not waiting and is_original(folder, meta):
            end_if_open(spool, spool.next)
        route = transport(meta)
        if route is None:
            return Sent(folder, meta, 0, spool.pending(0))
        return _deliver(spool, meta, route)
    finally:
        spool.close()


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
