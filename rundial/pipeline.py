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
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rundial.config import Settings, home, local_server, server_file
from rundial.diagnostics import Counters, Diagnostics, Health, say, warn
from rundial.errors import RequestError
from rundial.events import Event, Ledger, RunEnd, RunStart
from rundial.queue import QUEUE_SUFFIX, Queue, queue_folder
from rundial.spool import Spool, prepare_directory, register
from rundial.transport import HttpTransport, Transport
from rundial.wire import MAX_RECORD_BYTES, encode
from rundial.worker import Worker

MAX_WAITING = 4096
"""Calls that may wait for values on an accelerator."""
T = TypeVar("T")
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
        self.stream = os.urandom(16).hex()
        self.queue = self._open_queue(lambda path: Queue(settings.queue_bytes, self.stream, path, self._meta()))
        self.offer = self.queue.offer
        """Put one encoded record into the queue: the hot path, bound once."""
        self._final: Diagnostics | None = None
        self._waiting: deque[Callable[[], bool]] = deque()
        self._resolving = threading.RLock()
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
        self.worker.before_move = self.resolve

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
        endpoint = self.settings.endpoint
        if endpoint is not None:
            return HttpTransport(endpoint, self.settings.api_key, self.settings)
        server = local_server()
        return None if server is None else HttpTransport(server.url, server.api_key, self.settings)

    def emit(self, event: Event) -> bool:
        """Queue an event; False, and counted, when it cannot be taken. Never blocks.

        Raises what encoding raises: TypeError, OverflowError or ValueError for a value that has no MessagePack form.
        """
        record = encode(event)
        if len(record) > MAX_RECORD_BYTES:
            message = f"a record of {len(record):,} bytes was dropped; {MAX_RECORD_BYTES:,} is the most."
            self.refuse("too_large", message)
            return False
        return self.offer(record)

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
        from rundial.recovery import sync  # most runs end before anything is to be recovered

        transport = HttpTransport(endpoint, self.settings.api_key, self.settings)

        def wanted(meta: dict[str, Any]) -> bool:
            return meta.get("endpoint") == endpoint and not self.closed

        own = frozenset(pipeline.stream for pipeline in list(_live))
        for sent in sync([self._spool_root], lambda meta: transport, wanted, own):
            if sent.records and not self.settings.quiet:
                say(f"{sent.meta.get('name')}: {sent.records:,} records of an earlier process sent.")
        transport.close()

    def wait_for_verdict(self, timeout: float) -> RequestError | None:
        """Wait for the server's first answer, at most ``timeout`` seconds; the error when it is a definite no."""
        self.worker.answered.wait(timeout)
        self.worker.awaited = False
        return self.worker.verdict

    def flush(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until everything so far is acknowledged; see :meth:`Worker.flush`."""
        if self._detached:
            return True
        self.resolve()
        return self.worker.flush(timeout, give_up)

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
        self.resolve()
        self.queue.open_reserve()
        account = self.worker.account()
        self.emit(Ledger(time.time_ns(), account.logged, account.dropped, dict(self.counters.non_finite)))
        self.emit(end)
        delivered = self.worker.flush(timeout, give_up)
        self._final = self.diagnostics()
        self.worker.close(STOP_SECONDS)
        return delivered

    def discard(self) -> None:
        """Stop and throw away what was queued: the run was refused before it began."""
        self.closed = True
        _live.discard(self)
        self.worker.discard(STOP_SECONDS)

    def diagnostics(self) -> Diagnostics:
        """The account of this stream now."""
        if self._final is not None:
            return self._final
        account = self.worker.account()
        waiting = len(self._waiting)
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
            worker_running=self.worker.running,
            last_error=self.counters.last_error,
            health=self._health(account.pending, bool(account.dropped)),
        )

    def _health(self, pending: int, dropped: bool) -> Health:
        worker = self.worker
        if not worker.running and not self.closed:
            return "error"
        if dropped or worker.verdict or worker.spool_error or (worker.unreachable and self.settings.endpoint):
            return "degraded"
        offline = self.settings.mode == "offline" or not worker.connected
        return "buffering" if pending and offline else "healthy"

    def detach(self) -> None:
        """In a forked child: leave the parent's stream alone; the first record logged here opens one of its own."""
        self._detached = True
        self._waiting.clear()
        self._resolving = threading.RLock()
        self.spool.abandon()
        self.queue.detach(self._reopen)

    def _reopen(self) -> None:
        self.stream = os.urandom(16).hex()
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


def _after_fork_in_child() -> None:
    for pipeline in list(_live):
        pipeline.detach()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
