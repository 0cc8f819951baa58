"""Uploads that a dead process left in its spool: taken over under their lock and sent."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rundial.delivery import Refusal, Stopped, StoreClient
from rundial.errors import RequestError, RundialError
from rundial.protocols import deliver_upload
from rundial.spool import LOCK_NAME, acquire
from rundial.staging import JOB_NAME, UPLOADS, Changed, job_folders, read_job, remove_job, set_aside, settle

own: set[Path] = set()
"""Folders of this process, whose record locks would not keep it out."""


class Delivered(NamedTuple):
    """What one attempt to send the uploads of a dead process came to."""

    sent: int
    pending: int
    error: RequestError | None = None
    problems: list[str] = []
    """Uploads that cannot be sent, and why."""


def deliver_uploads(
    stream_folder: Path, client: StoreClient | None, original: bool, stopping: Callable[[], bool] = lambda: False
) -> Delivered | None:
    """Take over the uploads of a stream and send them; None while their owner lives, or when there are none.

    Args:
        stream_folder: the stream's folder; all of its records are at the server.
        client: the server; None only counts.
        original: the folder lies where it was written. In a copy, a file that was left in its place cannot be found;
            that is a problem to report, while in the original it is gone for good.
        stopping: asked while something is sent.
    """
    folder = stream_folder / UPLOADS
    if folder in own or not folder.is_dir():
        return None
    try:
        lock = acquire(folder)
    except FileNotFoundError:
        return None  # sent and removed meanwhile
    if lock is None:
        return None
    try:
        _remove_unfinished(folder)
        return _deliver_all(stream_folder, client, original, stopping)
    finally:
        release(folder, lock)


def _remove_unfinished(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not (entry / JOB_NAME).exists():
            remove_job(entry)  # its process died before the call that staged it came back


def _deliver_all(
    stream_folder: Path, client: StoreClient | None, original: bool, stopping: Callable[[], bool]
) -> Delivered:
    sent = 0
    problems: list[str] = []
    left = deque(job_folders(stream_folder))
    kept = 0
    while left and client is not None:
        folder = left[0]
        try:
            job = read_job(folder)
            if not job.settled:
                settle(folder, job, lambda: _raise_if(stopping()))
            deliver_upload(folder, job, client, stopping=stopping)
        except Stopped:
            break
        except Refusal as refusal:
            if refusal.outcome.verdict != "bad":
                return Delivered(sent, len(left) + kept, refusal.error, problems)
            place = set_aside(folder)
            problems.append(f"{refusal.error} The upload is kept in {place}.")
        except (Changed, FileNotFoundError) as error:
            problems.append(f"{error}; it was not uploaded.")
            if original:
                remove_job(folder)
            else:
                kept += 1
        except (OSError, RundialError) as error:
            problems.append(f"{error}; it was not uploaded.")
            kept += 1
        else:
            remove_job(folder)
            sent += 1
        left.popleft()
    return Delivered(sent, len(left) + kept, None, problems)


def _raise_if(stopping: bool) -> None:
    if stopping:
        raise Stopped


def release(folder: Path, fd: int) -> None:
    """Give up the lock of a folder of uploads, and remove the folder when no job is left in it."""
    try:
        if not any(entry.name != LOCK_NAME for entry in folder.iterdir()):
            (folder / LOCK_NAME).unlink(missing_ok=True)
            folder.rmdir()
    except OSError:
        pass  # somebody was quicker, or something new is in it
    if fd >= 0:
        os.close(fd)
