"""Log lines out: what a run wrote, searched and followed, or whole for an export."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.request import principal_of, read_json, store_of
from rundial.server.api.runs import answer
from rundial.server.store import Store
from rundial.server.store.accounts import Principal
from rundial.server.store.logs import Wanted

Limit = Annotated[int, Meta(ge=1, le=10_000)]
Milliseconds = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class LogQuery(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/query/logs``."""

    run_id: str
    project_id: str | None = None
    limit: Limit = 100
    min_level: Literal["trace", "debug", "info", "warn", "error", "fatal"] = "trace"
    order: Literal["asc", "desc"] = "desc"
    text: Annotated[str, Meta(max_length=1000)] | None = None
    source: str | None = None
    cursor: str | None = None


class LogExport(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/export/logs``."""

    run_id: str
    project_id: str | None = None
    start_ms: Milliseconds | None = None
    end_ms: Milliseconds | None = None
    limit: Limit = 1000
    format: Literal["json"] = "json"
    cursor: str | None = None


async def query(request: Request) -> Response:
    """``POST /api/v1/query/logs``: newest first, unless asked otherwise."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, LogQuery)
    wanted = Wanted(asked.min_level, asked.text or None, asked.source)

    def find() -> Any:
        if not _may_see(store, principal, asked):
            return None
        page = store.logs.lines(asked.run_id, wanted, order=asked.order, cursor=asked.cursor, limit=asked.limit)
        return {"runId": asked.run_id, **page.document()}

    return await answer(find)


async def export(request: Request) -> Response:
    """``POST /api/v1/export/logs``: every line between two moments, oldest first."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, LogExport)
    wanted = Wanted(start_ms=asked.start_ms, end_ms=asked.end_ms)

    def find() -> Any:
        if not _may_see(store, principal, asked):
            return None
        page = store.logs.lines(asked.run_id, wanted, order="asc", cursor=asked.cursor, limit=asked.limit)
        return {"runId": asked.run_id, **page.document()}

    return await answer(find)


def _may_see(store: Store, principal: Principal, asked: LogQuery | LogExport) -> bool:
    if not store.runs.visible(principal, [asked.run_id]):
        return False
    return asked.project_id is None or store.logs.belongs(principal, asked.run_id, asked.project_id)
