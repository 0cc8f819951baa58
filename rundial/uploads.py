"""Uploads of one stream: artifacts and media on their way from a call to the server, through a journal on disk.

For whoever has something to upload (``pipeline.uploads``):

``submit(prepare, size=..., kind="media") -> bool``
    Called on the training thread; returns at once. ``prepare(folder)`` runs in a background thread a moment later, with
    or without a server, writes one or more files into ``folder / "files"``, which exists, and returns the
    :class:`~rundial.staging.Job` to journal: ``Job(name, [File("image.png", staged="image.png")], media={...})``. What
    it raises refuses the item: counted, warned about once. ``size`` is what the snapshot it holds takes in memory, in
    bytes. False, and counted, when too much waits.

``new_folder() -> Path`` then ``stage_file(source, folder, name, path, small=True)`` then ``submit_staged(folder, job)``
    For files that exist: staged at the call by hard link, or copied when they are small. ``submit(prepare,
    folder=folder)`` does both: files staged at the call, and a ``prepare`` that makes the job of them.

Everything journalled survives a SIGKILL; what ``prepare`` has not written yet does not. A thread stages (prepares,
copies, hashes), up to ``artifact_concurrency`` others send; each ends when it has had nothing to do for some seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from rundial import leftovers
from rundial.config import Settings, home
from rundial.delivery import Stopped
from rundial.diagnostics import Counters, Progress, Tally, amount
from rundial.errors import RequestError, RundialError
from rundial.senders import Kind, Senders, Staged, start_thread
from rundial.spool import acquire
from rundial.spool_directories import prepare_directory, register
from rundial.staging import FILES, UPLOADS, Changed, Job, make_durable, read_job, remove_job, settle, write_job

Prepare = Callable[[Path], Job]

MAX_HELD_BYTES = 512 * 1024 * 1024
"""Snapshots that may wait in memory to be encoded."""
IDLE_SECONDS = 3.0
DURABLE_SECONDS = 0.5
"""How long a job stays off the disk at most: what a power failure can cost."""
LOOK_SECONDS = 0.02
PROGRESS_AFTER_SECONDS = 1.0


class _Task(NamedTuple):
    """Something to prepare."""

    prepare: Prepare
    kind: Kind
    size: int
    folder: Path | None


class Uploads:
    """The uploads of one stream.

    Args:
        folder: the stream's folder in the spool directory; made when there is something to keep in it.
        meta: where the uploads belong, as in a spool segment.
        settings: bounds, mode.
        counters: where warnings and the last error go.
        server: URL and key of the server, None as long as none is known; must be cheap.
        ready: whether the server knows the run.
    """

    def __init__(
        self,
        folder: Path,
        meta: dict[str, Any],
        settings: Settings,
        counters: Counters,
        server: Callable[[], tuple[str, str | None] | None],
        ready: Callable[[], bool],
    ) -> None:
        self.tallies: dict[Kind, Tally] = {"artifact": Tally(), "media": Tally()}
        self.folder: Path | None = None
        """Where jobs are journalled, once there was one."""
        self._places = [folder, home() / "spool" / folder.name]
        self._meta = meta
        self._settings = settings
        self._counters = counters
        self._senders = Senders(settings, counters, server, ready, self._take_done, self._drop, self._release)
        self._lock = threading.RLock()
        self._opening = threading.RLock()
        self._lock_fd = -1
        self._held = 0
        self._copied = 0
        self._sizes: dict[Path, int] = {}
        self._to_prepare: deque[_Task] = deque()
        self._to_settle: deque[Staged] = deque()
        self._volatile: deque[Staged] = deque()
        self._preparing = 0
        self._tokens: SimpleQueue[None] = SimpleQueue()  # its put is safe in a signal handler
        self._stager: threading.Thread | None = None
        self._threadless = False
        """The interpreter is closing and starts no threads any more."""
        self._stop = threading.Event()

    # -- called from the training thread ----------------------------------------------------------------------------

    def submit(self, prepare: Prepare, size: int = 0, kind: Kind = "media", folder: Path | None = None) -> bool:
        """Have ``prepare`` make a job in the background; False, and counted, when too much waits. Never blocks.

        Args:
            prepare: writes into ``folder / "files"`` of the folder it is given and returns the job. It may emit to the
                pipeline; it is called once, unless the process ends before.
            size: bytes of memory that it holds on to.
            kind: what it is counted as.
            folder: a folder of :meth:`new_folder` with files that were staged at the call.
        """
        if not self._admit(kind, held=size):
            if folder is not None:
                remove_job(folder)
            return False
        self._to_prepare.append(_Task(prepare, kind, size, folder))
        self._start_staging()
        return True

    def new_folder(self) -> Path:
        """A folder for a job, with an empty ``files`` in it. Raises :class:`OSError`."""
        folder = self._open() / os.urandom(16).hex()
        folder.mkdir(mode=0o700)
        (folder / FILES).mkdir(mode=0o700)
        return folder

    def submit_staged(self, folder: Path, job: Job) -> bool:
        """Journal a job whose files are staged in a folder of :meth:`new_folder`; False, and counted, if it cannot be.

        From here on the job survives the process.
        """
        kind: Kind = "artifact" if job.media is None else "media"
        if not self._admit(kind, copied=job.copied):
            remove_job(folder)
            return False
        staged = self._journal(folder, job, kind)
        if staged is None:
            return False
        self._to_settle.append(staged)
        self._start_staging()
        return True

    def refuse(self, kind: Kind, reason: str, message: str) -> None:
        """Count something that was logged and cannot be uploaded, and say so once."""
        with self._lock:
            self.tallies[kind].logged += 1
            self.tallies[kind].dropped[reason] += 1
        self._counters.warn_once(f"{kind} {reason}", message)

    def _admit(self, kind: Kind, held: int = 0, copied: int = 0) -> bool:
        settings = self._settings
        with self._lock:
            reason = None
            if self._stop.is_set():
                reason = "closed"
            elif self.pending >= settings.artifact_queue_capacity:
                reason = "queue_full"
            elif self._held and self._held + held > MAX_HELD_BYTES:
                reason = "memory_full"
            elif copied and self._copied + copied > settings.artifact_staging_bytes:
                reason = "staging_full"
            if reason is None:
                self.tallies[kind].logged += 1
                self.tallies[kind].pending += 1
                self._held += held
                self._copied += copied
                return True
        self.refuse(kind, reason, _WHY[reason])
        return False

    def _open(self) -> Path:
        """The folder of all jobs, made and locked the first time."""
        with self._opening:
            if self.folder is not None:
                return self.folder
            problem: OSError | None = None
            for place in self._places:
                try:
                    prepare_directory(place.parent)
                    register(place.parent)
                    place.mkdir(mode=0o700, exist_ok=True)
                    folder = place / UPLOADS
                    folder.mkdir(mode=0o700, exist_ok=True)
                    held = acquire(folder, owner=True)
                except OSError as error:
                    problem = error
                    continue
                self._lock_fd = -1 if held is None else held
                leftovers.own.add(folder)
                self.folder = folder
                return folder
            assert problem is not None
            raise problem

    def _journal(self, folder: Path, job: Job, kind: Kind) -> Staged | None:
        job.key = folder.name
        job.meta = self._meta
        job.time_ns = job.time_ns or time.time_ns()
        staged = Staged(folder, kind, job.name if kind == "artifact" else "", job.size, job.copied)
        try:
            write_job(folder, job)
        except (OSError, TypeError, ValueError) as error:  # no room, or metadata that JSON has no form for
            remove_job(folder)
            self._drop(staged, "unwritable", f"{job.name} could not be kept in {folder}: {error}.")
            return None
        with self._lock:
            self._sizes[folder] = staged.size
        return staged

    # -- staging ------------------------------------------------------------------------------------------------------

    def _start_staging(self) -> None:
        with self._lock:
            if self._stager is None:
                self._stager = start_thread("rundial-staging", self._stage_loop)
                self._threadless = self._stager is None
        self._tokens.put(None)

    def _stage_loop(self) -> None:
        idle_since = time.monotonic()
        while not self._stop.is_set():
            if self._stage_next():
                idle_since = time.monotonic()
                continue
            if self._volatile and time.monotonic() - idle_since >= DURABLE_SECONDS:
                self._make_durable(self._volatile.popleft())
                continue
            try:
                self._tokens.get(timeout=DURABLE_SECONDS if self._volatile else IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if not (self._to_prepare or self._to_settle or self._volatile):
                        self._stager = None
                        return
        self._release()

    def _stage_next(self) -> bool:
        """Prepare what waits for it, then copy and hash one job; False when there was nothing to do."""
        worked = self._prepare_all()
        try:
            staged = self._to_settle.popleft()
        except IndexError:
            return worked
        try:
            job = read_job(staged.folder)
            settle(staged.folder, job, self._between_pieces)
        except Stopped:
            return True  # it is journalled; whoever comes next settles it
        except Changed as error:
            remove_job(staged.folder)
            self._drop(staged, "changed", f"{error}; it was not uploaded.")
        except (OSError, RundialError) as error:
            remove_job(staged.folder)
            self._drop(staged, "unreadable", f"a file could not be read, so it was not uploaded: {error}.")
        else:
            self._volatile.append(staged)
            self._senders.add(staged)
        return True

    def _between_pieces(self) -> None:
        if self._stop.is_set():
            raise Stopped
        self._prepare_all()  # a checkpoint of many GB must not keep snapshots in memory

    def _prepare_all(self) -> bool:
        worked = False
        while self._to_prepare:
            with self._lock:
                if not self._to_prepare:
                    break
                task = self._to_prepare.popleft()
                self._preparing += 1
            try:
                self._prepare(task)
            finally:
                with self._lock:
                    self._preparing -= 1
            worked = True
        return worked

    def _prepare(self, task: _Task) -> None:
        folder = task.folder
        reason = "unwritable"
        try:
            folder = folder or self.new_folder()
            reason = "invalid"
            job = task.prepare(folder)
            for file in job.files:
                if file.size < 0:
                    file.size = (folder / FILES / str(file.staged)).stat().st_size
        except Exception as error:  # noqa: BLE001 - it handles a stranger's object, and costs only that one
            if folder is not None:
                remove_job(folder)
            with self._lock:
                self._held -= task.size
                self.tallies[task.kind].pending -= 1
                self.tallies[task.kind].dropped[reason] += 1
            self._counters.last_error = f"{task.kind}: {error}"
            self._counters.warn_once(f"{task.kind} {error}", f"{task.kind} was not stored: {error}")
            return
        with self._lock:
            self._held -= task.size
            self._copied += job.copied
            full = self._copied > self._settings.artifact_staging_bytes
        if full:
            remove_job(folder)
            refused = Staged(folder, task.kind, job.name, job.size, job.copied)
            self._drop(refused, "staging_full", _WHY["staging_full"])
            return
        staged = self._journal(folder, job, task.kind)
        if staged is not None:
            self._to_settle.append(staged)

    def _make_durable(self, staged: Staged) -> None:
        """Force a job to the disk, if it still waits there."""
        try:
            make_durable(staged.folder, read_job(staged.folder))
        except FileNotFoundError:
            return  # sent meanwhile
        except (OSError, RundialError) as error:
            self._counters.last_error = f"uploads: {error}"

    def look(self) -> None:
        """Start sending if there is something to send and somebody to send it to. Called now and then; cheap."""
        self._senders.look()

    @property
    def unreachable(self) -> RequestError | None:
        """Why the last try to send brought no answer, None when it did."""
        return self._senders.unreachable

    @property
    def verdict(self) -> RequestError | None:
        """Why the server refuses this stream's uploads, while it does."""
        return self._senders.verdict

    def _take_done(self, staged: Staged) -> None:
        with self._lock:
            tally = self.tallies[staged.kind]
            tally.uploaded += 1
            tally.bytes_uploaded += staged.size
            tally.pending -= 1
            self._forget(staged)

    def _drop(self, staged: Staged, reason: str, message: str) -> None:
        with self._lock:
            self.tallies[staged.kind].pending -= 1
            self.tallies[staged.kind].dropped[reason] += 1
            self._forget(staged)
        self._counters.last_error = message
        self._counters.warn_once(f"{staged.kind} {reason}", message)

    def _forget(self, staged: Staged) -> None:
        self._copied -= staged.copied
        self._sizes.pop(staged.folder, None)

    # -- waiting and ending -------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Uploads that a server has not confirmed."""
        return sum(tally.pending for tally in self.tallies.values())

    @property
    def failed(self) -> int:
        """Uploads that were dropped, for whatever reason."""
        return sum(tally.dropped.total() for tally in self.tallies.values())

    @property
    def bytes_pending(self) -> int:
        """Bytes of journalled uploads that a server does not have."""
        with self._lock:
            return max(0, sum(self._sizes.values()) - self._senders.bytes_sent)

    def prepare(self, timeout: float) -> bool:
        """Wait until nothing is left in memory alone; False when ``timeout`` seconds did not suffice."""
        deadline = time.monotonic() + timeout
        while self._to_prepare or self._preparing:
            if self._stager is None:
                self._prepare_all()  # the interpreter is closing and starts no threads
            elif time.monotonic() >= deadline:
                return False
            else:
                time.sleep(LOOK_SECONDS / 4)
        return True

    def flush(self, timeout: float, give_up: Callable[[], bool] = lambda: False, show: bool = False) -> bool:
        """Wait until a server has everything; False when ``timeout`` seconds did not suffice or there is no server.

        ``give_up`` is asked now and then. ``show`` draws a line of progress on a terminal when it takes long.
        """
        began = time.monotonic()
        deadline = began + timeout
        self.prepare(timeout)
        progress: Progress | None = None
        total = self.bytes_pending
        while self.pending and self._senders.sending and not give_up() and time.monotonic() < deadline:
            if self._threadless or self._senders.threadless:
                break
            self.look()
            time.sleep(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            if show and time.monotonic() - began > PROGRESS_AFTER_SECONDS:
                progress = progress or Progress()
                left = self.bytes_pending
                total = max(total, left)
                progress.show(f"uploading {self.pending:,}: {amount(total - left)} of {amount(total)}")
        if progress is not None:
            progress.clear()
        return not self.pending

    def close(self, timeout: float) -> None:
        """Stop the threads within ``timeout`` seconds; what was not sent stays journalled."""
        self._stop.set()
        self._senders.stop()
        self._tokens.put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads():
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            lost = len(self._to_prepare)
            for task in self._to_prepare:
                self.tallies[task.kind].pending -= 1
                self.tallies[task.kind].dropped["unfinished"] += 1
            self._to_prepare.clear()
        if lost:
            self._counters.warn_once("unfinished", f"{lost} items of media were not encoded in time and are lost.")
        while self._volatile and time.monotonic() < deadline:
            self._make_durable(self._volatile.popleft())
        self._release()

    def discard(self, timeout: float) -> None:
        """Stop and throw everything away."""
        self.close(timeout)
        if self.folder is not None:
            import shutil

            shutil.rmtree(self.folder, ignore_errors=True)

    def abandon(self) -> None:
        """In a forked child: the parent's uploads are the parent's."""
        self._stop.set()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            stager = [self._stager] if self._stager is not None and self._stager.is_alive() else []
        return stager + self._senders.alive()

    def _release(self) -> None:
        """Give the folder up once it is closed and the last thread is done, so that others may take it over."""
        if not self._stop.is_set() or any(thread is not threading.current_thread() for thread in self._threads()):
            return
        with self._opening:
            folder, fd, self._lock_fd = self.folder, self._lock_fd, -1
            if folder is not None and folder in leftovers.own:
                leftovers.own.discard(folder)
                leftovers.release(folder, fd)
            self._senders.close()


_WHY = {
    "closed": "the run is finished; what is logged to it afterwards is dropped.",
    "queue_full": "too many uploads wait (artifact_queue_capacity); newer ones are dropped until some are sent.",
    "memory_full": f"{amount(MAX_HELD_BYTES)} of media wait to be encoded; newer ones are dropped meanwhile.",
    "staging_full": "copies of files and media that wait take artifact_staging_bytes; newer ones are dropped.",
}


def remove_empty(folder: Path) -> None:
    """Remove a stream's folder if there is nothing in it."""
    try:
        folder.rmdir()
    except OSError:
        pass  # the spool still has something in it, and removes it in the end
