"""Control: the dials of a run, the commands that turn them, and the wait of a run for its commands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.errors import ApiError, not_found
from rundial.server.api.request import encode_json, integer, principal_of, read_json, store_of
from rundial.server.api.runs import answer
from rundial.server.store import Store
from rundial.server.store.changes import Change
from rundial.server.store.commands import DEADLINE_MILLISECONDS, MAX_REASON, Asked
from rundial.server.store.dials import MAX_NAME

MAX_WAITING = 10_000
MAX_PAGE = 1000
DAY = 24 * 3600 * 1000


class Turn(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/runs/{runId}/commands``. ``deadlineMs`` is milliseconds from now."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    value: Any = None
    reason: Annotated[str, Meta(max_length=MAX_REASON)] | None = None
    deadline_ms: Annotated[int, Meta(ge=1, le=DAY)] = DEADLINE_MILLISECONDS
    dry_run: bool = False


class Switch(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``PUT /api/v1/projects/{projectId}/control``."""

    enabled: bool


class Wait(Struct, rename="camel"):
    """Body of ``POST /api/v1/ingest/commands``."""

    stream: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    after: Annotated[int, Meta(ge=-1, le=2**53)] = -1
    wait_ms: Annotated[int, Meta(ge=0, le=30_000)] = 0


class Waiters:
    """Requests that wait for a command. Everything but :meth:`_hear` runs on the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._count = 0
        self._unsubscribe: Callable[[], None] | None = None
        self.closed = False

    @contextmanager
    def waiting_for(self, run_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when something about the run's dials changes. Raises :class:`ApiError` 429."""
        if self._count >= MAX_WAITING:
            raise ApiError(429, "Too many runs wait for commands.", "Try again later.")
        if self._unsubscribe is None:
            self._loop = asyncio.get_running_loop()
            self._unsubscribe = self._store.subscribe(self._hear)
        bell = asyncio.Event()
        self._waiting.setdefault(run_id, set()).add(bell)
        self._count += 1
        try:
            yield bell
        finally:
            self._count -= 1
            bells = self._waiting[run_id]
            bells.discard(bell)
            if not bells:
                del self._waiting[run_id]

    def close(self) -> None:
        """Let every request go; the server is about to stop."""
        self.closed = True
        if self._unsubscribe is not None:
            self._unsubscribe()
        for run_id in list(self._waiting):
            self._ring(run_id)

    def _hear(self, change: Change) -> None:
        """The store's callback, on its writer thread."""
        if "dials" in change.kinds and change.run_id in self._waiting:
            self._loop.call_soon_threadsafe(self._ring, change.run_id)

    def _ring(self, run_id: str) -> None:
        for bell in self._waiting.get(run_id, ()):
            bell.set()


async def dials(request: Request) -> Response:
    """``GET /api/v1/runs/{runId}/dials``"""
    store, principal, run_id = store_of(request), principal_of(request), request.path_params["runId"]

    def find() -> Any:
        if not store.runs.visible(principal, [run_id]):
            return None
        may = principal.may("control:write")
        offered = store.commands.dials(run_id)
        for dial in offered:
            dial["mayTurn"] = may and (dial.get("role") != "owner" or principal.may("admin"))
        return {"dials": offered, "enabled": store.commands.is_on(run_id), "mayTurn": may}

    return await answer(find)


async def commands(request: Request) -> Response:
    """``GET /api/v1/runs/{runId}/commands``: newest first."""
    store, principal, run_id = store_of(request), principal_of(request), request.path_params["runId"]
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), request.query_params.get("cursor")

    def find() -> Any:
        if not store.runs.visible(principal, [run_id]):
            return None
        found, following = store.commands.page(run_id, limit, cursor)
        return {"commands": found, "page": {"hasMore": following is not None, "nextCursor": following}}

    return await answer(find)


async def command(request: Request) -> Response:
    """``GET /api/v1/runs/{runId}/commands/{commandId}``"""
    store, principal, path = store_of(request), principal_of(request), request.path_params

    def find() -> Any:
        if not store.runs.visible(principal, [path["runId"]]):
            return None
        return store.commands.get(path["runId"], path["commandId"])

    return await answer(find)


async def send(request: Request) -> Response:
    """``POST /api/v1/runs/{runId}/commands``: answered once it is durable; what becomes of it is to be asked for."""
    store, principal, run_id = store_of(request), principal_of(request), request.path_params["runId"]
    turn = await read_json(request, Turn)
    asked = Asked(turn.name, turn.value, turn.reason, turn.deadline_ms, turn.dry_run)

    def take() -> Any:
        if not store.runs.visible(principal, [run_id]):
            return None
        return store.commands.send(principal, run_id, asked)

    return await answer(take)


async def state(request: Request) -> Response:
    """``GET /api/v1/projects/{projectId}/control``: whether dials of the project may be turned."""
    store, principal, project = store_of(request), principal_of(request), request.path_params["projectId"]

    def find() -> Any:
        project_id = store.runs.project_of(principal, project)
        return project_id and {"projectId": project_id, "enabled": store.commands.is_on_in(project_id)}

    return await answer(find)


async def switch(request: Request) -> Response:
    """``PUT /api/v1/projects/{projectId}/control``"""
    store, principal, project = store_of(request), principal_of(request), request.path_params["projectId"]
    wanted = await read_json(request, Switch)

    def turn() -> Any:
        project_id = store.runs.project_of(principal, project)
        if project_id is None:
            return None
        store.commands.switch(principal, project_id, wanted.enabled)
        return {"projectId": project_id, "enabled": wanted.enabled}

    return await answer(turn)


async def wait(request: Request) -> Response:
    """``POST /api/v1/ingest/commands``: answered as soon as there is a command for the stream, or when time is up."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, Wait)
    run_id = await run_in_threadpool(store.commands.run_of, principal, asked.stream)
    if run_id is None:
        raise not_found()
    waiters: Waiters = request.app.state.waiters
    until = time.monotonic() + asked.wait_ms / 1000
    with waiters.waiting_for(run_id) as bell:
        while True:
            bell.clear()
            found = await run_in_threadpool(store.commands.hand_over, run_id, asked.stream, asked.after)
            left = until - time.monotonic()
            if found or left <= 0 or waiters.closed:
                return Response(encode_json({"commands": found}), media_type="application/json")
            try:
                async with asyncio.timeout(left):
                    await bell.wait()
            except TimeoutError:
                pass  # one last look
            if await request.is_disconnected():
                return Response(status_code=204)  # nobody hears it: what has come waits for the next request
