"""The threads that send staged uploads: as many as there is work for, none when there is none."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from rundial.config import Settings
from rundial.delivery import Refusal, Stopped, StoreClient
from rundial.diagnostics import Counters
from rundial.errors import RequestError, RundialError
from rundial.protocols import deliver_upload
from rundial.staging import Changed, read_job, remove_job, set_aside
from rundial.transport import delay

Kind = Literal["artifact", "media"]
IDLE_SECONDS = 3.0
POLL_SECONDS = 0.1


class Staged(NamedTuple):
    """A journalled job."""

    folder: Path
    kind: Kind
    name: str
    """Of the artifact, whose versions are numbered and aliased as they arrive; empty for media, which have no order."""
    size: int
    """Bytes of its files."""
    copied: int
    """Bytes that they take on the disk beyond what the originals do."""


class Senders:
    """Sends staged jobs until they are at the server: several at a time, the versions of one artifact in their order.

    Args:
        settings: how many threads, time-outs, mode.
        counters: where tries and the last error are counted.
        server: URL and key of the server, None as long as none is known; must be cheap.
        ready: whether the server knows the run.
        done: called in a sending thread when the server has a job.
        drop: called when a job cannot be sent, with the reason and a sentence about it; its folder is gone by then.
        ended: called when a thread ends because of :meth:`stop`.
    """

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        server: Callable[[], tuple[str, str | None] | None],
        ready: Callable[[], bool],
        done: Callable[[Staged], None],
        drop: Callable[[Staged, str, str], None],
        ended: Callable[[], None],
    ) -> None:
        self.unreachable: RequestError | None = None
        """Why the last try brought no answer, None when it did."""
        self.verdict: RequestError | None = None
        """Why the server refuses these uploads, while it does."""
        self.threadless = False
        """The interpreter is closing and starts no threads any more."""
        self._settings = settings
        self._counters = counters
        self._server = server
        self._ready = ready
        self._done = done
        self._drop = drop
        self._ended = ended
        self._waiting: deque[Staged] = deque()
        self._under_way: set[str] = set()
        """Names of the artifacts that are being sent."""
        self._progress: dict[Path, int] = {}
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._client: StoreClient | None = None
        self._busy = 0
        self._attempt = 0
        self._pause_until = 0.0
        self._stop = threading.Event()

    def add(self, staged: Staged) -> None:
        """Send a job when there is a server for it."""
        with self._lock:
            self._waiting.append(staged)
        self.look()

    def look(self) -> None:
        """Start sending if there is something to send and somebody to send it to. Called now and then; cheap."""
        if not self._waiting or self._stop.is_set() or not self.sending or not self._ready():
            return
        with self._lock:
            self._threads = self.alive()
            names = {thread.name for thread in self._threads}
            wanted = min(self._settings.artifact_concurrency, self._busy + len(self._waiting))
            for number in range(1, self._settings.artifact_concurrency + 1):
                name = f"rundial-upload-{number}"
                if len(self._threads) < wanted and name not in names:
                    thread = start_thread(name, self._loop)
                    if thread is None:
                        self.threadless = True
                        return
                    self._threads.append(thread)

    @property
    def sending(self) -> bool:
        """Whether there is a server to send to, as far as is known."""
        return self._settings.mode == "online" and self._server() is not None

    @property
    def bytes_sent(self) -> int:
        """Bytes at the server of jobs that are under way."""
        with self._lock:
            return sum(self._progress.values())

    def stop(self) -> None:
        """Let the threads end as soon as they can. Does not wait."""
        self._stop.set()

    def alive(self) -> list[threading.Thread]:
        """The threads that run now."""
        return [thread for thread in self._threads if thread.is_alive()]

    def close(self) -> None:
        """Let go of connections, once no thread is alive."""
        if self._client is not None:
            self._client.close()

    def _loop(self) -> None:
        idle_since = time.monotonic()
        while not self._stop.is_set() and time.monotonic() - idle_since < IDLE_SECONDS:
            pause = self._pause_until - time.monotonic()
            if pause > 0:
                self._stop.wait(pause)
                idle_since = time.monotonic()
                continue
            client = self._connected()
            if client is None:
                break  # the worker's thread looks again now and then
            if not self._send_next(client):
                self._stop.wait(POLL_SECONDS)
                continue
            idle_since = time.monotonic()
        if self._stop.is_set():
            self._ended()

    def _send_next(self, client: StoreClient) -> bool:
        with self._lock:
            staged = next((it for it in self._waiting if it.name not in self._under_way), None)
            if staged is None:
                return False
            self._waiting.remove(staged)
            if staged.name:
                self._under_way.add(staged.name)
            self._busy += 1
        try:
            self._send(staged, client)
        finally:
            with self._lock:
                self._busy -= 1
                self._under_way.discard(staged.name)
        return True

    def _connected(self) -> StoreClient | None:
        server = self._server() if self._settings.mode == "online" else None
        if server is None:
            return None
        with self._lock:
            client = self._client
            # The local server may come back at another port, with another key.
            if client is None or (client.endpoint, client.api_key) != server:
                seconds, connections = self._settings.request_timeout_seconds, self._settings.artifact_concurrency
                client = self._client = StoreClient(*server, seconds, connections)
        return client

    def _send(self, staged: Staged, client: StoreClient) -> None:
        folder = staged.folder
        try:
            job = read_job(folder)
            deliver_upload(folder, job, client, lambda size: self._advance(folder, size), self._stop.is_set)
        except Stopped:
            return
        except Refusal as refusal:
            self._take_refusal(staged, refusal)
        except Changed as error:
            remove_job(folder)
            self._drop(staged, "changed", f"{error}; it was not uploaded.")
        except (OSError, RundialError) as error:
            remove_job(folder)
            self._drop(staged, "unreadable", f"a staged file could not be read, so it was not uploaded: {error}.")
        else:
            self._attempt = 0
            self.unreachable = self.verdict = None
            remove_job(folder)
            self._done(staged)
        with self._lock:
            self._progress.pop(folder, None)

    def _take_refusal(self, staged: Staged, refusal: Refusal) -> None:
        outcome, error = refusal.outcome, refusal.error
        self._counters.last_error = f"upload: {error}"
        if outcome.verdict in ("bad", "refused"):
            place = set_aside(staged.folder)
            self._drop(staged, "rejected", f"{error} The upload is kept in {place}.")
            return
        self._counters.retry_attempts += 1
        with self._lock:
            self._attempt += 1
            self._pause_until = time.monotonic() + delay(outcome, self._attempt)
        denied = outcome.verdict == "denied"
        self.unreachable, self.verdict = (None, error) if denied else (error, None)
        if denied:
            message = f"{error} Uploads wait in {staged.folder.parent} and are tried again each minute."
            self._counters.warn_once("upload denied", message)
        with self._lock:  # others get their turn, but no later version of the same artifact
            later = [it for it in self._waiting if staged.name and it.name == staged.name]
            self._waiting = deque([*(it for it in self._waiting if it not in later), staged, *later])

    def _advance(self, folder: Path, size: int) -> None:
        with self._lock:
            self._progress[folder] = self._progress.get(folder, 0) + size


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread | None:
    """A daemon thread that runs; None when the interpreter is closing and starts none."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
