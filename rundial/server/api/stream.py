"""Live events: what was just committed, sent to every page that watches it.

The store reports each commit on its writer thread; the hub turns it into server-sent events on the event loop, and
only for runs and projects that someone watches, or watched a minute ago and may come back for with ``Last-Event-ID``.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rundial.events import Marker, Metrics
from rundial.server.api.errors import ApiError, not_found
from rundial.server.api.request import principal_of, store_of
from rundial.server.store import Store
from rundial.server.store.accounts import Principal
from rundial.server.store.changes import Change

HISTORY_EVENTS = 1000
HISTORY_BYTES = 16 * 1024 * 1024
CLIENT_EVENTS = 256
CLIENT_BYTES = 4 * 1024 * 1024
STREAMS_PER_PRINCIPAL = 100
RUNS_PER_STREAM = 200
INBOX_COMMITS = 256
"""Commits that may wait for the event loop; beyond it every client is told to fetch again."""
BURST_POINTS = 1000
"""More new points than this for one key are not sent one by one."""
EVENT_POINTS = 20_000
RUN_SECONDS = 0.5
RECHECK_SECONDS = 5.0
"""How soon a stream ends after its key was revoked."""
COMMENT_SECONDS = 15.0
LINGER_SECONDS = 60.0

Topic = tuple[str, str]
"""``("run", id)`` or ``("project", id)``: ids of runs are chosen by clients, so the two must not mix."""

_log = logging.getLogger("rundial.server")


class Event(NamedTuple):
    """An event as it goes over the line, and who should have it."""

    number: int
    topics: tuple[Topic, Topic]
    data: bytes


@dataclass(slots=True)
class Watch:
    """That a topic is watched: events of it are in the history from number ``since`` on."""

    since: int
    principal: Principal
    streams: int = 0
    left_at: float = 0.0


class Client:
    """One open stream and the bounded queue of what it has not been sent yet."""

    def __init__(self, principal: Principal, topics: frozenset[Topic]) -> None:
        self.principal = principal
        self.topics = topics
        self.closed = False
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()

    def put(self, data: bytes, resync: Callable[[], bytes]) -> None:
        """Queue ``data``; when the client is too slow, all that waits gives way to one ``resync``."""
        if len(self._queue) >= CLIENT_EVENTS or self._bytes + len(data) > CLIENT_BYTES:
            self._queue.clear()
            self._bytes = 0
            data = resync()
        self._queue.append(data)
        self._bytes += len(data)
        self._wake.set()

    def close(self) -> None:
        """End the stream after what is queued."""
        self.closed = True
        self._wake.set()

    async def take(self, seconds: float) -> bytes:
        """All that is queued, waiting at most ``seconds`` for it."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return b""
        self._wake.clear()
        data = b"".join(self._queue)
        self._queue.clear()
        self._bytes = 0
        return data


class Hub:
    """Between the store's commits and the open streams. All but :meth:`_collect` and :meth:`_miss` is for the loop."""

    def __init__(self, store: Store, most: int = STREAMS_PER_PRINCIPAL) -> None:
        self._store = store
        self._most = most
        self._boot = secrets.token_hex(4)
        self._number = 0
        self._history: deque[Event] = deque()
        self._history_bytes = 0
        self._forgotten = 0
        self._watches: dict[Topic, Watch] = {}
        self._clients: set[Client] = set()
        self._streams: Counter[str] = Counter()
        self._inbox: deque[Change] = deque()
        self._missed = False
        self._changed: dict[str, tuple[Topic, Topic]] = {}
        self._wake = asyncio.Event()
        self._closed = False

    async def run(self) -> None:
        """Pass events on until cancelled."""
        self._loop = asyncio.get_running_loop()
        unsubscribe = self._store.subscribe(self._collect, self._miss)
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._publish_runs()
                await asyncio.sleep(RUN_SECONDS)
        finally:
            unsubscribe()

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self._clients)

    def close(self) -> None:
        """End every stream; the server is about to stop."""
        self._closed = True
        for client in self._clients:
            client.close()

    def join(self, principal: Principal, topics: frozenset[Topic], last_event_id: str | None) -> Client:
        """A new stream over ``topics``, with what it missed since ``last_event_id`` already queued.

        Raises :class:`ApiError` 429 when the principal has too many.
        """
        if self._streams[principal.id] >= self._most:
            raise ApiError(429, f"There are {self._most} streams open already.", "Close some of them.")
        self._forget_watches()
        for topic in topics:
            self._watch(topic, principal)
        client = Client(principal, topics)
        if last_event_id is None:
            client.put(f"id: {self._boot}-{self._number}\n\n".encode(), self._resync)
        else:
            self._replay(client, last_event_id)
        self._clients.add(client)
        self._streams[principal.id] += 1
        if self._closed:
            client.close()
        return client

    def leave(self, client: Client) -> None:
        """The stream has ended."""
        self._clients.discard(client)
        self._streams[client.principal.id] -= 1
        if not self._streams[client.principal.id]:
            del self._streams[client.principal.id]
        for topic in client.topics:
            watch = self._watches[topic]
            watch.streams -= 1
            watch.left_at = time.monotonic()

    def _watch(self, topic: Topic, principal: Principal) -> None:
        watch = self._watches.get(topic)
        if watch is None:
            # A number of its own, so that no id from before this watch looks as if nothing was missed since.
            self._number += 1
            watch = self._watches[topic] = Watch(self._number, principal)
        watch.streams += 1

    def _forget_watches(self) -> None:
        limit = time.monotonic() - LINGER_SECONDS
        for topic in [t for t, watch in self._watches.items() if not watch.streams and watch.left_at < limit]:
            del self._watches[topic]

    def _replay(self, client: Client, last_event_id: str) -> None:
        boot, _, text = last_event_id.partition("-")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
        known = boot == self._boot and self._forgotten <= number <= self._number
        if not known or any(self._watches[topic].since > number for topic in client.topics):
            client.put(self._resync(), self._resync)
            return
        for event in self._history:
            if event.number > number and not client.topics.isdisjoint(event.topics):
                client.put(event.data, self._resync)

    def _resync(self) -> bytes:
        return f"id: {self._boot}-{self._number}\nevent: resync\ndata: {{}}\n\n".encode()

    def _collect(self, change: Change) -> None:
        """The store's callback, on one thread of its own at a time."""
        if not self._watches:
            return
        if len(self._inbox) >= INBOX_COMMITS:
            self._missed = True
            return
        self._inbox.append(change)
        if len(self._inbox) == 1:
            self._loop.call_soon_threadsafe(self._drain)

    def _miss(self) -> None:
        """The store's callback when commits of other processes may have been missed."""
        self._missed = True
        self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        """Publish one commit, then let the loop breathe."""
        if self._missed:
            self._missed = False
            self._inbox.clear()
            self._start_over()
        elif self._inbox:
            self._try_to_publish(self._inbox[0])
            self._inbox.popleft()
        if self._inbox:
            self._loop.call_soon(self._drain)

    def _try_to_publish(self, change: Change) -> None:
        try:
            self._publish_change(change)
        except Exception:  # noqa: BLE001 - whatever a client put into a record, the stream goes on behind it
            _log.exception("a commit of run %r could not be sent to the live stream", change.run_id)
            self._start_over()

    def _start_over(self) -> None:
        self._number += 1
        self._forgotten = self._number
        self._history.clear()
        self._history_bytes = 0
        for client in self._clients:
            client.put(self._resync(), self._resync)

    def _publish_change(self, change: Change) -> None:
        topics = (("run", change.run_id), ("project", change.project_id))
        if not any(topic in self._watches for topic in topics):
            return
        if change.metrics:
            self._publish(topics, "points", {"runId": change.run_id, "keys": points_of(change.metrics)})
        if change.keys:
            self._publish(topics, "points", {"runId": change.run_id, "keys": {key: [] for key in change.keys}})
        for marker in change.markers:
            self._publish(topics, "marker", {"runId": change.run_id, "marker": marker_json(marker)})
        if change.kinds:
            self._publish(topics, "more", {"runId": change.run_id, "kinds": sorted(change.kinds)})
        if change.run_changed or change.metrics or change.keys:
            self._changed[change.run_id] = topics
            self._wake.set()

    async def _publish_runs(self) -> None:
        changed, self._changed = self._changed, {}
        viewers = {run_id: self._viewer(topics) for run_id, topics in changed.items()}

        def rows() -> dict[str, Any]:
            return {
                run_id: self._store.runs.row(viewer, run_id) for run_id, viewer in viewers.items() if viewer is not None
            }

        try:
            found = await run_in_threadpool(rows)
        except Exception:  # noqa: BLE001 - a read that fails must not end the live view of everything else
            _log.exception("the changed runs could not be read for the live stream")
            return
        for run_id, row in found.items():
            if row is not None:
                self._publish(changed[run_id], "run", row)

    def _viewer(self, topics: Iterable[Topic]) -> Principal | None:
        return next((self._watches[topic].principal for topic in topics if topic in self._watches), None)

    def _publish(self, topics: tuple[Topic, Topic], name: str, value: Any) -> None:
        self._number += 1
        head = f"id: {self._boot}-{self._number}\nevent: {name}\ndata: ".encode()
        event = Event(self._number, topics, head + msgspec.json.encode(value, enc_hook=repr) + b"\n\n")
        self._history.append(event)
        self._history_bytes += len(event.data)
        while len(self._history) > HISTORY_EVENTS or self._history_bytes > HISTORY_BYTES:
            oldest = self._history.popleft()
            self._history_bytes -= len(oldest.data)
            self._forgotten = oldest.number
        for client in self._clients:
            if not client.topics.isdisjoint(topics):
                client.put(event.data, self._resync)


def points_of(metrics: Iterable[Metrics]) -> dict[str, list[tuple[int, int, float | str]]]:
    """``{key: [[step, timeMs, value], ...]}``; ``[]`` for a key with too many points to be sent one by one."""
    counts: Counter[str] = Counter()
    for one in metrics:
        counts.update(one.values.keys())
    if counts.total() > EVENT_POINTS:
        return {key: [] for key in counts}
    points: dict[str, list[tuple[int, int, float | str]]] = {key: [] for key in counts}
    for one in metrics:
        time_ms = one.time_ns // 1_000_000
        for key, value in one.values.items():
            if counts[key] <= BURST_POINTS and (isinstance(value, str) or math.isfinite(value)):
                points[key].append((one.step, time_ms, value if isinstance(value, str) else float(value)))
    return points


def marker_json(marker: Marker) -> dict[str, Any]:
    """A marker as in ``GET /api/v1/runs/{runId}/markers``."""
    time_ms = marker.time_ns // 1_000_000
    return {"timeMs": time_ms, "kind": marker.kind, "name": marker.name, "step": marker.step, "attrs": marker.attrs}


class EventStream(Response):
    """The answer that stays open until the page goes, the key is revoked or the server stops."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, client: Client, still_valid: Callable[[], bool]) -> None:
        super().__init__()
        self._hub = hub
        self._client = client
        self._still_valid = still_valid

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = self._client
        gone = asyncio.create_task(_close_when_gone(receive, client))
        headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            checked = spoke = time.monotonic()
            while not client.closed:
                data = await client.take(RECHECK_SECONDS)
                now = time.monotonic()
                if now - checked >= RECHECK_SECONDS:
                    checked = now
                    if not self._still_valid():
                        break
                if not data and now - spoke >= COMMENT_SECONDS:
                    data = b": still here\n\n"
                if data:
                    spoke = now
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            self._hub.leave(client)


async def _close_when_gone(receive: Receive, client: Client) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    client.close()


async def stream(request: Request) -> Response:
    """``GET /api/v1/stream`` of ``runId`` (repeatable) and/or ``projectId``."""
    store, principal = store_of(request), principal_of(request)
    run_ids = list(dict.fromkeys(request.query_params.getlist("runId")))
    project = request.query_params.get("projectId")
    if not 0 < len(run_ids) + (project is not None) <= RUNS_PER_STREAM:
        raise ApiError(400, f"Name 1 to {RUNS_PER_STREAM} runs, or a project.", "Add ?runId=... or ?projectId=...")
    topics = await run_in_threadpool(_topics, store, principal, run_ids, project)
    if topics is None:
        raise not_found()
    if request.method == "HEAD":
        return Response(media_type=EventStream.media_type)
    hub: Hub = request.app.state.hub
    identify = request.scope["identify"]
    client = hub.join(principal, topics, request.headers.get("last-event-id"))
    return EventStream(hub, client, lambda: identify() is not None)


def _topics(store: Store, principal: Principal, run_ids: list[str], project: str | None) -> frozenset[Topic] | None:
    if run_ids and not store.runs.visible(principal, run_ids):
        return None
    topics = {("run", run_id) for run_id in run_ids}
    if project is not None:
        project_id = store.runs.project_of(principal, project)
        if project_id is None:
            return None
        topics.add(("project", project_id))
    return frozenset(topics)
