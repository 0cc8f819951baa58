"""The narrow waist: everything a run says goes through :meth:`Pipeline.emit` and comes to rest at a server or on disk.

A pipeline owns one stream: its queue, its spool folder, its worker. A forked child gets a stream of its own the moment
it logs; what the parent logged stays the parent's.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from rundial.config import Settings, home, local_server, server_file
from rundial.diagnostics import Counters, Diagnostics, Health, Tally, amount, say, warn
from rundial.errors import RequestError
from rundial.events import Ack, Event, Ledger, RunEnd, RunStart, RunUpdate
from rundial.forks import load, prepare
from rundial.names import new_stream_id
from rundial.queue import QUEUE_SUFFIX, Queue, queue_folder
from rundial.spool import Spool
from rundial.spool_directories import prepare_directory, register
from rundial.transport import Transport
from rundial.wire import MAX_RECORD_BYTES, encode
from rundial.worker import Worker

if TYPE_CHECKING:
    from rundial.uploads import Uploads

MAX_WAITING = 4096
"""Calls that may wait for values on an accelerator."""
T = TypeVar("T")
STATUS_SECONDS = 2.0
"""What is left of the time to finish for the end of the run, where uploads go first."""
STOP_SECONDS = 0.4
"""How long closing waits for the threads beyond the caller's timeout; one that hangs in a request is left behind."""


class Pipeline:
    """Takes records from any thread without blocking and brings them to a server, or to the disk until there is one.

    Args:
        settings: where to, how much, how often.
        start: the first record of the stream.
        connect: makes the transport; tests put their own here.
    """

    def __init__(
        self, settings: Settings, start: RunStart, connect: Callable[[], Transport | None] | None = None
    ) -> None:
        self.settings = settings
        self.counters = Counters()
        self.closed = False
        self._start = start
        self._make_transport = connect or self._connect
        self.stream = new_stream_id()
        self.queue = self._open_queue(lambda path: Queue(settings.queue_bytes, self.stream, path, self._meta()))
        self.offer = self.queue.offer
        """Put one encoded record into the queue: the hot path, bound once."""
        self._final: Diagnostics | None = None
        self._waiting: deque[Callable[[], bool]] = deque()
        self._resolving = threading.RLock()
        self._uploads: Uploads | None = None
        self._opening = threading.RLock()
        self.on_child: Callable[[], None] = lambda: None
        """Called in a forked child when it opens a stream of its own."""
        self._open_spool()
        self.emit(start)
        _live.add(self)

    def start(self, on_run: Callable[[dict[str, Any]], None] = lambda known: None, awaited: bool = False) -> None:
        """Begin moving and sending.

        Args:
            on_run: called in the sending thread with what the server says about the run.
            awaited: somebody calls :meth:`wait_for_verdict` next.
        """
        prepare()
        self._on_run = on_run
        self.worker.on_run = self._met
        self.worker.awaited = awaited
        self.worker.start()

    def _open_spool(self) -> None:
        self._detached = False
        self.spool = Spool(
            self._spool_root / self.stream,
            self.stream,
            self._meta(),
            self.settings.spool_max_bytes,
            self.settings.spool_max_age_seconds,
        )
        self.worker = Worker(
            self.queue,
            self.spool,
            self.settings,
            self.counters,
            self._make_transport,
            known=lambda: self.settings.endpoint is not None or server_file().exists(),
            local=self.settings.endpoint is None,
        )
        self.queue.wake = self.worker.wake
        self.worker.before_move = self._before_move

    def _before_move(self) -> None:
        self.resolve()
        if self._uploads is not None:
            self._uploads.look()

    def _server(self) -> tuple[str, str | None] | None:
        if self.settings.endpoint is not None:
            return self.settings.endpoint, self.settings.api_key
        server = local_server()
        return None if server is None else (server.url, server.api_key)

    def store(self) -> tuple[str, str | None] | None:
        """The server that has routes besides that of records, and the key; None as long as there is none.

        Records that go to a test's own transport have no such server.
        """
        server = self._server()
        return server if server is not None and server[0].startswith("http") else None

    @property
    def uploads(self) -> Uploads:
        """Where artifacts and media go; see :mod:`rundial.uploads`."""
        if self._detached and not self.closed:
            self.emit(RunUpdate(time.time_ns()))  # a forked child's first record opens a stream of its own
        with self._opening:
            if self._uploads is None:
                opened = self._open_uploads()
                self._uploads = self._uploads or opened  # a signal handler may have been quicker
            return self._uploads

    def _open_uploads(self) -> Uploads:
        load("rundial.uploads")  # most runs upload nothing
        from rundial.uploads import Uploads

        worker = self.worker
        uploads = Uploads(
            self.spool.folder,
            {name: value for name, value in self._meta().items() if name != "opening"},
            self.settings,
            self.counters,
            self.store,
            ready=lambda: worker.acknowledged > 0,
        )
        if self.closed:
            uploads.close(0)
        return uploads

    @property
    def _spool_root(self) -> Path:
        return Path(self.settings.spool_directory)

    def _meta(self) -> dict[str, Any]:
        """What an adopter must know: where the data belongs, never a key."""
        start = self._start
        return {
            "stream": self.stream,
            "endpoint": self.settings.endpoint,
            "run_id": start.run_id,
            "name": start.name,
            "project": start.project,
            "workspace": start.workspace,
            "host": start.host,
            "home": str(home()),
            "spool": str(self._spool_root),
            "opening": encode(msgspec.structs.replace(start, config={}, tags=[], system={}, resume="allow")),
        }

    def _open_queue(self, make: Callable[[Path | None], T]) -> T:
        """Make the ring in shared memory, else in the spool directory, else in this process's memory alone."""
        shared = queue_folder()
        problem: OSError | None = None
        for folder in (shared, self._spool_root / self.stream):
            if folder is None:
                continue
            try:
                if folder is not shared:
                    prepare_directory(self._spool_root)
                    register(self._spool_root)
                    folder.mkdir(mode=0o700, exist_ok=True)
                return make(folder / f"{self.stream}{QUEUE_SUFFIX}")
            except OSError as error:
                problem = error
        warn(
            f"no room for the queue in shared memory or in {self._spool_root} ({problem}); "
            "if this process is killed, what it has not sent by then is lost"
        )
        return make(None)

    def _connect(self) -> Transport | None:
        server = self._server()
        if server is None:
            return None
        # What earlier processes left is looked for after the first answer: loaded now, while init still waits for that.
        load("rundial.protocols", *(["rundial.recovery"] if self.settings.endpoint else []))
        from rundial.protocols import AnyTransport

        return AnyTransport(*server, self.settings, live=True)

    def emit(self, event: Event) -> bool:
        """Queue an event; False, and counted, when it cannot be taken. Never blocks.

        Raises what encoding raises: TypeError, OverflowError or ValueError for a value that has no MessagePack form.
        """
        record = encode(event)
        if len(record) > MAX_RECORD_BYTES:
            message = f"a record of {len(record):,} bytes was dropped; {MAX_RECORD_BYTES:,} is the most."
            self.refuse("too_large", message)
            return False
        accepted = self.offer(record)
        if event.__class__ is Ack:
            self.worker.wake()  # somebody looks at a dial he has turned
        return accepted

    def defer(self, call: Callable[[], bool]) -> bool:
        """Have the worker do what would make the training thread wait, such as reading a tensor from an accelerator.

        ``call`` emits what it reads and must not raise. False, and counted, when too many wait already.
        """
        if len(self._waiting) >= MAX_WAITING:
            message = f"{MAX_WAITING:,} calls wait for values on an accelerator; newer ones are dropped."
            self.refuse("device_busy", message)
            return False
        self._waiting.append(call)
        return True

    def resolve(self) -> None:
        """Do what was deferred."""
        with self._resolving:
            while self._waiting:
                self._waiting[0]()
                self._waiting.popleft()

    def refuse(self, reason: str, message: str) -> None:
        """Count a record that gets no place in the stream, and say so once."""
        self.counters.refused[reason] += 1
        self.counters.warn_once(reason, message)

    def _met(self, known: dict[str, Any]) -> None:
        """A server has answered: pass on what it said, and send it what earlier processes left for it."""
        self._on_run(known)
        endpoint = self.settings.endpoint
        if endpoint is not None:  # the local server has a watcher of its own
            thread = threading.Thread(target=self._send_leftovers, args=(endpoint,), daemon=True)
            thread.name = "rundial-recovery"
            try:
                thread.start()
            except RuntimeError:
                pass  # the interpreter is closing and starts no threads; the next process will see to it

    def _send_leftovers(self, endpoint: str) -> None:
        """Adopt and deliver what dead processes left for this server, in this spool directory and in shared memory."""
        from rundial.delivery import StoreClient
        from rundial.protocols import AnyTransport
        from rundial.recovery import sync

        transport = AnyTransport(endpoint, self.settings.api_key, self.settings)
        store = StoreClient(endpoint, self.settings.api_key, self.settings.request_timeout_seconds)

        def wanted(meta: dict[str, Any]) -> bool:
            return meta.get("endpoint") == endpoint and not self.closed

        own = own_streams()
        for sent in sync([self._spool_root], lambda meta: transport, wanted, own, lambda meta: store):
            if sent.records and not self.settings.quiet:
                say(f"{sent.meta.get('name')}: {sent.records:,} records of an earlier process sent.")
            for problem in sent.problems:
                warn(f"{sent.meta.get('name')}: {problem}")
        transport.close()
        store.close()

    def wait_for_verdict(self, timeout: float) -> RequestError | None:
        """Wait for the server's first answer, at most ``timeout`` seconds; the error when it is a definite no."""
        self.worker.answered.wait(timeout)
        self.worker.awaited = False
        return self.worker.verdict

    def flush(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until everything so far is acknowledged, uploads too; see :meth:`Worker.flush`."""
        if self._detached:
            return True
        deadline = time.monotonic() + timeout
        self.resolve()
        uploads = self._uploads
        if uploads is not None:
            uploads.prepare(timeout)
        delivered = self.worker.flush(max(0.0, deadline - time.monotonic()), give_up)
        if uploads is None:
            return delivered
        return uploads.flush(max(0.0, deadline - time.monotonic()), give_up) and delivered

    def close(self, end: RunEnd, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Emit the end of the stream, wait for delivery and stop. True when the server has everything.

        Returns within ``timeout`` seconds and half a second; what is not acknowledged by then is on disk.
        """
        if self.closed:
            return True
        self.closed = True
        _live.discard(self)
        if self._detached:
            return True
        deadline = time.monotonic() + timeout
        self.resolve()
        with self._opening:
            uploads = self._uploads
        if uploads is not None:
            uploads.prepare(timeout)  # what is written there may emit
            from rundial.protocols import is_known_to_lack_records

            if is_known_to_lack_records(self.settings.endpoint):
                # A server of the older kind may take no file for a run that has ended; its own client waits like this.
                uploads.flush(max(0.0, timeout - STATUS_SECONDS), give_up, show=not self.settings.quiet)
        self.queue.open_reserve()
        account = self.worker.account()
        self.emit(Ledger(time.time_ns(), account.logged, account.dropped, dict(self.counters.non_finite)))
        self.emit(end)
        delivered = self.worker.flush(max(0.0, deadline - time.monotonic()), give_up)
        left = max(0.0, deadline - time.monotonic())
        if uploads is not None:
            delivered = uploads.flush(left, give_up, show=not self.settings.quiet) and delivered
        stopping = time.monotonic()
        if uploads is not None:
            uploads.close(STOP_SECONDS / 2)
        self._final = self.diagnostics()
        self.worker.close(STOP_SECONDS - (time.monotonic() - stopping))
        self._remove_folder()
        return delivered

    def _remove_folder(self) -> None:
        with suppress(OSError):  # there is still something in it
            self.spool.folder.rmdir()

    def left(self) -> str:
        """What waits on disk, for people: ``3 records and 2 uploads (1.3 GB)``."""
        account = self.diagnostics()
        uploads = account.artifacts_pending + account.media_pending
        size = 0 if self._uploads is None else self._uploads.bytes_pending
        parts = [f"{account.pending:,} record{'' if account.pending == 1 else 's'}"] if account.pending else []
        if uploads:
            parts.append(f"{uploads:,} upload{'' if uploads == 1 else 's'} ({amount(size)})")
        return " and ".join(parts) or "0 records"

    def discard(self) -> None:
        """Stop and throw away what was queued: the run was refused before it began."""
        self.closed = True
        _live.discard(self)
        if self._uploads is not None:
            self._uploads.discard(STOP_SECONDS / 2)
        self.worker.discard(STOP_SECONDS / 2)
        self._remove_folder()

    def diagnostics(self) -> Diagnostics:
        """The account of this stream now."""
        if self._final is not None:
            return self._final
        account = self.worker.account()
        waiting = len(self._waiting)
        uploads = self._uploads
        artifacts, media = (Tally(), Tally()) if uploads is None else uploads.tallies.values()
        return Diagnostics(
            logged=account.logged + waiting,
            acknowledged=account.acknowledged,
            pending=account.pending + waiting,
            dropped=account.dropped,
            invalid_values=self.counters.invalid_values,
            non_finite_dropped=dict(self.counters.non_finite),
            acknowledged_sequence=self.worker.acknowledged,
            queue_depth=self.queue.depth,
            queue_bytes=self.queue.bytes_held,
            spool_segments=len(self.spool.segments),
            spool_bytes=self.spool.size,
            spool_directory=str(self._spool_root),
            sent_batches=self.counters.sent_batches,
            retry_attempts=self.counters.retry_attempts,
            failed_flush_attempts=self.counters.retry_attempts,
            out_of_order_step_writes=self.counters.out_of_order_steps,
            config_truncations=self.counters.config_truncations,
            log_lines_truncated=self.counters.log_lines_truncated,
            dropped_log_lines_queue_full=self.counters.dropped_log_lines_queue_full,
            dropped_log_lines_invalid=self.counters.dropped_log_lines_invalid,
            system_samples_collected=self.counters.system_samples_collected,
            system_samples_skipped_backpressure=self.counters.system_samples_skipped_backpressure,
            artifacts_logged=artifacts.logged,
            artifacts_uploaded=artifacts.uploaded,
            artifacts_pending=artifacts.pending,
            artifacts_dropped=dict(artifacts.dropped),
            artifact_bytes_uploaded=artifacts.bytes_uploaded,
            media_logged=media.logged,
            media_uploaded=media.uploaded,
            media_pending=media.pending,
            media_dropped=dict(media.dropped),
            worker_running=self.worker.running,
            last_error=self.counters.last_error,
            health=self._health(
                account.pending + artifacts.pending + media.pending,
                bool(account.dropped or artifacts.dropped or media.dropped),
            ),
        )

    def _health(self, pending: int, dropped: bool) -> Health:
        worker = self.worker
        if not worker.running and not self.closed:
            return "error"
        uploads = self._uploads
        unreachable = worker.unreachable or (uploads is not None and uploads.unreachable)
        refused = worker.verdict or (uploads is not None and uploads.verdict)
        if dropped or refused or worker.spool_error or (unreachable and self.settings.endpoint):
            return "degraded"
        offline = self.settings.mode == "offline" or not worker.connected
        return "buffering" if pending and offline else "healthy"

    def detach(self) -> None:
        """In a forked child: leave the parent's stream alone; the first record logged here opens one of its own."""
        self._detached = True
        self._waiting.clear()
        self._resolving = threading.RLock()
        self._opening = threading.RLock()
        self.spool.abandon()
        if self._uploads is not None:
            self._uploads.abandon()
            self._uploads = None
        self.queue.detach(self._reopen)

    def _reopen(self) -> None:
        self.stream = new_stream_id()
        self.counters = Counters()
        self._start = msgspec.structs.replace(
            self._start, time_ns=time.time_ns(), pid=os.getpid(), part=True, resume="allow", config={}
        )
        first = encode(self._start)
        self._open_queue(lambda path: self.queue.reopen(self.stream, path, self._meta(), first))
        self._open_spool()
        self.start()
        self.on_child()


_live: weakref.WeakSet[Pipeline] = weakref.WeakSet()


def own_streams() -> frozenset[str]:
    """The streams of this process."""
    return frozenset(pipeline.stream for pipeline in list(_live))


def _after_fork_in_child() -> None:
    for pipeline in list(_live):
        pipeline.detach()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
