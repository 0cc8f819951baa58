"""The two loops behind the queue: *move* (queue to spool) and *send* (spool, then queue, to the server).

They run in two daemon threads, so that a server that does not answer can never keep data from the disk. Whatever is
sent is sent in sequence, from the sequence number that the server has acknowledged; several senders of one stream
(this worker, a watcher, ``rundial sync``) are therefore harmless.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rundial.config import Settings
from rundial.diagnostics import Counters
from rundial.errors import RequestError, WireError
from rundial.queue import Queue
from rundial.spool import Spool
from rundial.transport import Outcome, Transport, delay
from rundial.wire import Chunk, gap_chunk, missing_chunks, pack_chunk, split_records, unpack_chunk

BATCH_BYTES = 2 * 1024 * 1024
"""About this much travels in one request; a server takes 8 MiB."""
DIRECT_BYTES = 256 * 1024
"""About this much travels in one request straight from the queue; more than that comes by way of the spool."""
SYNC_SECONDS = 0.5
"""Longest time that unacknowledged data stays off the disk: what a power failure can cost."""
DISCOVERY_SECONDS = 1.0
LEAST_PAUSE_SECONDS = 0.25
"""Between two tries, however much somebody hurries."""
LEAST_SECONDS = 1e-6


class Bell:
    """Wakes a waiting thread. Safe to ring in a signal handler, where ``threading.Event`` may wait for itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Let the waiting thread, or the next that waits, go on."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it rings already

    def wait(self, seconds: float) -> bool:
        """Wait until it rings, at most ``seconds``; whether it did."""
        return self._lock.acquire(timeout=seconds)


class Account(NamedTuple):
    """Records by what became of them."""

    logged: int
    acknowledged: int
    pending: int
    dropped: dict[str, int]


class Worker:
    """Moves and sends the records of one stream.

    Args:
        queue: where ``log()`` puts records.
        spool: where they wait for a server.
        settings: intervals, bounds, mode.
        counters: where outcomes are counted.
        connect: a new transport, or None as long as no server is known; called in the sending thread.
        known: whether a server is known; must be cheap.
        local: the server is the user's own on this machine: it may come and go, and that is worth no warning.
    """

    def __init__(
        self,
        queue: Queue,
        spool: Spool,
        settings: Settings,
        counters: Counters,
        connect: Callable[[], Transport | None],
        known: Callable[[], bool] = lambda: True,
        local: bool = False,
    ) -> None:
        self._queue = queue
        self._spool = spool
        self._settings = settings
        self._counters = counters
        self._connect = connect
        self._known = known
        self._local = local
        self._lock = threading.RLock()
        self._wake = Bell()
        self._send = Bell()
        self._progress = Bell()
        self._hurry = Bell()
        self._stop = threading.Event()
        self._mover: threading.Thread | None = None
        self._sender: threading.Thread | None = None
        self._transport: Transport | None = None
        self._held_since: float | None = None
        self._moving = False
        self._synced_at = 0.0
        self._looked_at = 0.0
        self._attempt = 0
        self._under_way: list[Chunk] = []
        self._confirmed = 0
        self._confirmed_to = 0
        self._wanted = 0
        self.acknowledged = 0
        """Sequence number the server expects next."""
        self.answered = threading.Event()
        """Set once the first delivery came to an end, good or bad."""
        self.verdict: RequestError | None = None
        """Why the server refuses this stream, while it does."""
        self.unreachable: RequestError | None = None
        """Why the last delivery brought no answer, None when it did."""
        self.run: dict[str, Any] | None = None
        """What the server said about the run when it took the first record."""
        self.on_run: Callable[[dict[str, Any]], None] = lambda known: None
        """Called in the sending thread with what the server says about the run."""
        self.on_commands: Callable[[list[dict[str, Any]]], None] = lambda commands: None
        """Called in the sending thread with the commands that a reply brings for the dials of this stream."""
        self.before_move: Callable[[], None] = lambda: None
        """Called in the moving thread each time before it looks at the queue."""
        self.awaited = False
        """Whether somebody waits for the verdict and will speak of it, so that no warning need."""
        self.spool_error: OSError | None = None
        """Why the spool cannot be written, while it cannot."""

    # -- called from the training thread ------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads."""
        self._mover = _thread("rundial-worker", self._move_loop)
        self._discover()

    def wake(self) -> None:
        """Look at the queue now. Does not block."""
        self._wake.ring()

    @property
    def running(self) -> bool:
        return self._mover is not None and self._mover.is_alive()

    @property
    def connected(self) -> bool:
        """Whether the last delivery was answered."""
        return self._transport is not None and self.unreachable is None and self.verdict is None and self._attempt == 0

    def flush(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until everything accepted so far is acknowledged; False when ``timeout`` seconds did not suffice.

        Without a server, move everything to the disk and answer at once. ``give_up`` is asked now and then.
        """
        target = self._wanted = self._queue.sequence
        deadline = time.monotonic() + timeout
        self._discover()
        self._wake.ring()
        self._send.ring()
        self._hurry.ring()
        while self.acknowledged < target and not self._stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0 or not self.sending or give_up():
                break
            self._progress.wait(min(left, 0.05))
        if self.acknowledged < target:
            self.move(everything=True)
        return self.acknowledged >= target

    def close(self, timeout: float) -> None:
        """Stop the threads within ``timeout`` seconds and leave what is not acknowledged in the spool."""
        self._stop.set()
        self._wake.ring()
        self._send.ring()
        self._hurry.ring()
        deadline = time.monotonic() + timeout
        for thread in (self._mover, self._sender):
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            self._close_stores()
            if self._transport is not None and not (self._sender and self._sender.is_alive()):
                self._transport.close()
                self._transport = None

    def discard(self, timeout: float) -> None:
        """Stop and throw everything away."""
        with self._lock:
            self._queue.release_all()
            self._spool.acknowledge(self._queue.sequence)
        self.close(timeout)

    def _close_stores(self) -> None:
        self.move(everything=True)
        try:
            self._spool.close()
        except OSError as error:
            self._spool_failed(error)
        # Where the disk took nothing, the ring's file keeps the records for whoever comes next.
        self._queue.close(unlink=self._queue.depth == 0)

    # -- moving ---------------------------------------------------------------------------------------------------

    def _move_loop(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._settings.flush_interval_seconds)
            if self._stop.is_set():
                return
            self.before_move()
            if time.monotonic() - self._looked_at >= DISCOVERY_SECONDS:
                self._discover()
            with self._lock:
                if self._must_move():
                    self.move()
                self._sync_when_due()
            if self._queue.sequence > self.acknowledged:
                self._send.ring()

    def _must_move(self) -> bool:
        if self._queue.depth == 0:
            self._held_since = None
            return False
        now = time.monotonic()
        if self._held_since is None:
            self._held_since = now
        return not self.connected or self._queue.crowded or now - self._held_since > SYNC_SECONDS

    def move(self, everything: bool = False) -> None:
        """Write what is in the queue to the spool; with ``everything``, all of it and down to the disk."""
        with self._lock:
            if self._moving:
                return  # a signal handler that flushes has interrupted us; what it wants is being done
            self._moving = True
            try:
                self._move(everything)
            finally:
                self._moving = False

    def _move(self, everything: bool) -> None:
        while chunks := self._queue.peek():
            held = self._queue.depth
            try:
                self._spool.append(chunks)
                self.spool_error = None
                self._queue.draining = True
            except OSError as error:
                self._spool_failed(error)
                break
            finally:
                self._queue.release(min(self._spool.next, self._queue.sequence))
            if self._queue.depth >= held or not (everything or self._queue.crowded):
                break
        if everything:
            self._sync()

    def _sync_when_due(self) -> None:
        now = time.monotonic()
        if now - self._synced_at >= SYNC_SECONDS:
            self._synced_at = now
            self._sync()

    def _sync(self) -> None:
        try:
            self._spool.sync()
        except OSError as error:
            self._spool_failed(error)

    def _spool_failed(self, error: OSError) -> None:
        self.spool_error = error
        self._queue.draining = False
        self._counters.last_error = f"spool: {error}"
        self._counters.warn_once(
            "spool",
            f"cannot write the spool {self._spool.folder}: {error}. Records wait in memory until there is room again.",
        )

    # -- sending --------------------------------------------------------------------------------------------------

    @property
    def sending(self) -> bool:
        """Whether there is a server to send to, as far as is known."""
        return self._sender is not None and self._sender.is_alive()

    def _discover(self) -> None:
        """Start sending once a server is known: at once when one was configured, later when it announces itself."""
        self._looked_at = time.monotonic()
        with self._lock:
            if self._settings.mode != "online" or self._sender is not None or not self._known():
                return
            try:
                self._sender = _thread("rundial-sender", self._send_loop)
            except RuntimeError:
                return  # the interpreter is closing and starts no threads; the spool keeps everything

    def _send_loop(self) -> None:
        looked = time.monotonic()
        while not self._stop.is_set():
            transport = self._transport = self._transport or self._connect()
            if transport is None:
                self._send.wait(DISCOVERY_SECONDS)
                continue
            with self._lock:
                batch = self._next_batch()
            if not batch and self._send.wait(self._settings.heartbeat_seconds):
                continue
            if self._stop.is_set():
                return
            before, looked = looked, time.monotonic()
            outcome = self._deliver(transport, batch)
            self._handle(outcome)
            if outcome.verdict in ("retry", "denied", "refused"):
                self._pause(outcome, time.monotonic() - looked)
            elif batch and outcome.verdict == "acknowledged":
                self._let_gather(sum(map(len, batch)) / max(looked - before, LEAST_SECONDS))

    def _let_gather(self, rate: float) -> None:
        """Wait for more, unless more waits already: a request costs some time of the interpreter, whatever is in it.

        Args:
            rate: bytes that have come a second.
        """
        waited_for = self.acknowledged < max(self._wanted, self._spool.next)
        if not waited_for and self._queue.bytes_held < DIRECT_BYTES:
            self._send.wait(min(self._settings.flush_interval_seconds, DIRECT_BYTES / rate))

    def _pause(self, outcome: Outcome, elapsed: float) -> None:
        """Wait before the next try. Somebody who waits for delivery shortens it, unless the server asked for peace."""
        seconds = delay(outcome, self._attempt)
        if outcome.verdict != "retry" or outcome.retry_after is not None:
            self._stop.wait(seconds)
            return
        # A request that timed out has been waiting already.
        self._stop.wait(min(LEAST_PAUSE_SECONDS, seconds))
        self._hurry.wait(max(0.0, seconds - elapsed - LEAST_PAUSE_SECONDS))

    def _deliver(self, transport: Transport, batch: list[bytes]) -> Outcome:
        """Deliver a batch; an empty one is a sign of life."""
        self._under_way = _unpacked(batch)
        outcome = transport.deliver(self._queue.stream, b"".join(batch))
        return self._narrow_down(transport, batch, outcome) if outcome.verdict == "bad" else outcome

    def _next_batch(self) -> list[bytes]:
        packed = self._spool.read(self.acknowledged, BATCH_BYTES)
        packed = packed or [pack_chunk(c) for c in self._queue.peek(self.acknowledged, DIRECT_BYTES)]
        if not packed:
            return []
        first = unpack_chunk(packed[0])[0].first
        if first > self.acknowledged:
            # The server has less than it once acknowledged (a restored backup): without a gap it would wait for ever.
            reason = "acknowledged_before"
            missing = missing_chunks(self._queue.stream, self._spool.opening, self.acknowledged, first - 1, reason)
            packed[:0] = missing
        self._spool.in_flight = unpack_chunk(packed[-1])[0].next
        return packed

    def _handle(self, outcome: Outcome) -> None:
        with self._lock:
            self._spool.in_flight = 0
            if outcome.reply is not None:
                self._take_reply(outcome)
            else:
                self._take_failure(outcome)
            self.answered.set()
            self._progress.ring()

    def _take_reply(self, outcome: Outcome) -> None:
        reply = outcome.reply
        assert reply is not None
        self._attempt = 0
        self.unreachable = None
        self.verdict = None
        self._counters.sent_batches += 1
        for entry in reply.rejected:
            unsupported = entry.get("code") == "UNSUPPORTED"
            self._counters.dropped["unsupported" if unsupported else "rejected"] += 1
            if unsupported:
                self._counters.warn_once(str(entry.get("reason")), f"a record was dropped: {entry.get('reason')}.")
            else:
                self._counters.warn_once("rejected", f"the server rejected a record: {entry.get('reason')}")
        for what, number in outcome.left_out.items():
            self._counters.invalid_values += number
            self._counters.warn_once(f"left out {what}", f"the server does not take everything that is logged: {what}")
        if reply.run is not None:
            self.run = reply.run
            self.on_run(reply.run)
        if reply.commands:
            self.on_commands(reply.commands)
        if outcome.verdict == "behind":
            self.acknowledged = reply.next
            return
        self.acknowledged = max(self.acknowledged, min(reply.next, self._queue.sequence))
        self._confirm(len(reply.rejected))
        try:
            self._spool.acknowledge(self.acknowledged)
        except OSError as error:
            self._spool_failed(error)
        self._queue.release(self.acknowledged)
        self._held_since = None

    def _confirm(self, rejected: int) -> None:
        """Count the records that were confirmed for the first time: those sent that are no gap, less the rejected.

        What lies beyond the batch was confirmed to another sender of this stream.
        """
        start, end = self._confirmed_to, self.acknowledged
        if end <= start:
            return
        known = sum(_overlap(chunk, start, end) for chunk in self._under_way if not chunk.is_gap)
        sent_to = max((chunk.next for chunk in self._under_way), default=start)
        self._confirmed += known + max(0, end - max(sent_to, start)) - rejected
        self._confirmed_to = end
        self._under_way = []

    def _take_failure(self, outcome: Outcome) -> None:
        error = outcome.error or RequestError("no answer")
        self._attempt += 1
        self._counters.retry_attempts += 1
        self._counters.last_error = str(error)
        if outcome.verdict == "retry":
            self.unreachable = error
            if self._local:
                self._drop_transport()  # the local server may come back at another port, with another key
            else:
                where = self._spool.folder.parent
                self._counters.warn_once("unreachable", f"{error}. Training goes on; data waits in {where}.")
            return
        self.unreachable = None
        self.verdict = error
        if self._local:
            self._drop_transport()
        if self.awaited:
            return
        self._counters.warn_once(
            outcome.verdict,
            f"{error} Nothing is lost: data waits in {self._spool.folder.parent} and is tried again each minute.",
        )

    def _drop_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # -- one bad record costs no other --------------------------------------------------------------------------------

    def _narrow_down(self, transport: Transport, batch: list[bytes], outcome: Outcome) -> Outcome:
        """Deliver a refused batch in ever smaller parts, until the one bad record is found and set aside."""
        for packed in batch:
            try:
                outcome = self._deliver_parts(transport, unpack_chunk(packed)[0])
            except WireError as error:
                return Outcome("retry", error=RequestError(str(error)))
            if outcome.verdict != "acknowledged":
                break
            self._handle(outcome)
        return outcome

    def _deliver_parts(self, transport: Transport, chunk: Chunk) -> Outcome:
        self._under_way = [chunk]
        outcome = transport.deliver(chunk.stream, pack_chunk(chunk))
        if outcome.verdict != "bad" or chunk.is_gap:
            # A gap is as plain as a record can be: a server that refuses even that refuses us altogether.
            return outcome if outcome.verdict != "bad" else outcome._replace(verdict="refused")
        records = list(split_records(chunk.records))
        if len(records) <= 1:
            return self._set_aside(transport, chunk, outcome)
        half = len(records) // 2
        for first, part in ((chunk.first, records[:half]), (chunk.first + half, records[half:])):
            outcome = self._deliver_parts(transport, Chunk(chunk.stream, first, len(part), b"".join(part)))
            if outcome.verdict != "acknowledged":
                break
            self._handle(outcome)
        return outcome

    def _set_aside(self, transport: Transport, chunk: Chunk, refusal: Outcome) -> Outcome:
        gap = gap_chunk(chunk.stream, chunk.first, chunk.next - 1, "rejected")
        self._under_way = [gap]
        outcome = transport.deliver(chunk.stream, pack_chunk(gap))
        if outcome.verdict != "acknowledged":
            return outcome._replace(verdict="refused") if outcome.verdict == "bad" else outcome
        self._counters.dropped["rejected"] += chunk.count
        place = self._spool.folder.parent / "rejected" / f"{chunk.stream}-{chunk.first:020d}.rec"
        self._counters.warn_once("rejected", f"{refusal.error} The record is kept in {place}.")
        try:
            _keep(place, chunk.records)
        except OSError as error:
            self._spool_failed(error)
        return outcome

    # -- account ------------------------------------------------------------------------------------------------------

    def account(self) -> Account:
        """What became of the records, at one moment."""
        with self._lock:
            sequence = self._queue.sequence
            waiting = sequence - min(sequence, max(self._spool.next, self.acknowledged))
            pending = self._spool.pending(self.acknowledged) + waiting
            lost = Counter(self._spool.dropped) + self._counters.dropped
            refused = Counter(self._counters.refused)
            refused["queue_full"] += self._queue.refused
            return Account(
                logged=sequence + refused.total(),
                acknowledged=self._confirmed,
                pending=pending,
                dropped=dict(lost + refused),
            )


def _unpacked(batch: list[bytes]) -> list[Chunk]:
    try:
        return [unpack_chunk(packed)[0] for packed in batch]
    except WireError:
        return []  # damaged on the disk: no server takes it, and what becomes of it is counted chunk by chunk


def _overlap(chunk: Chunk, start: int, end: int) -> int:
    return max(0, min(chunk.next, end) - max(chunk.first, start))


def _keep(place: Path, records: bytes) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.write_bytes(records)


def _thread(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
