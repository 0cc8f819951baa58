"""Traces out: the list of a run's traces, and one of them with its spans."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.request import principal_of, read_json, store_of
from rundial.server.api.runs import answer


class TraceQuery(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/query/traces``."""

    run_id: str
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None
    text: Annotated[str, Meta(max_length=1000)] = ""
    status: Literal["ok", "error"] | None = None


async def query(request: Request) -> Response:
    """``POST /api/v1/query/traces``: newest first."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, TraceQuery)

    def find() -> Any:
        if not store.runs.visible(principal, [asked.run_id]):
            return None
        traces, cursor = store.spans.traces(
            asked.run_id, limit=asked.limit, cursor=asked.cursor, text=asked.text, status=asked.status
        )
        return {"traces": traces, "page": {"hasMore": cursor is not None, "nextCursor": cursor}}

    return await answer(find)


async def trace(request: Request) -> Response:
    """``GET /api/v1/runs/{runId}/traces/{traceId}``: with its spans, at most 10,000."""
    store, principal = store_of(request), principal_of(request)
    run_id, trace_id = request.path_params["runId"], request.path_params["traceId"]

    def find() -> Any:
        return store.spans.trace(run_id, trace_id) if store.runs.visible(principal, [run_id]) else None

    return await answer(find)
