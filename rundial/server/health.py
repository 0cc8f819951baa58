"""Health: whether the process answers, and whether it can take in data."""

from __future__ import annotations

import threading
import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rundial.server.api.errors import ApiError
from rundial.server.store import Store

REMEMBERED_SECONDS = 1.0
"""Anybody may ask, so the store is looked at no more often than this."""
_OK = {"status": "ok"}


class Health:
    """What is known of the store's health, looked at again when it is older than :data:`REMEMBERED_SECONDS`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._problem: str | None = None
        self._at: float | None = None
        self.stopping = False

    def problem(self) -> str | None:
        """What keeps the server from taking in data, a sentence; None when nothing does."""
        if self.stopping:
            return "The server is stopping."
        with self._guard:  # the others wait for the one that looks, and get what he found
            if self._at is None or time.monotonic() - self._at > REMEMBERED_SECONDS:
                self._problem = self._store.vitals.problem()
                self._at = time.monotonic()
            return self._problem


async def live(request: Request) -> Response:
    """``GET /health/live``: the process answers. One that does not should be started again."""
    return JSONResponse(_OK)


async def ready(request: Request) -> Response:
    """``GET /health/ready``: the schema is this server's, the writer answers, the disk has room.

    Otherwise 503: nothing should be sent here for a while.
    """
    problem = await run_in_threadpool(request.app.state.health.problem)
    if problem is not None:
        raise ApiError(503, problem, "The server's log has the reason.")
    return JSONResponse(_OK)
