"""Series out: the metric keys of a run, points, and what a chart draws."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.columns import CONTENT_TYPE, json_columns, pack_columns
from rundial.server.api.errors import ApiError, not_found
from rundial.server.api.request import integer, principal_of, read_json, store_of
from rundial.server.api.runs import answer
from rundial.server.store import Store
from rundial.server.store.accounts import Principal

MAX_KEYS = 100_000
MAX_SERIES = 1000
PROJECT_RUNS = 25
"""Keys of a project are those of this many newest runs."""

Names = Annotated[list[str], Meta(min_length=1, max_length=MAX_SERIES)]


class SeriesQuery(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/query/series``. The run says which project it is in."""

    run_id: str
    metric_keys: Names
    max_points_per_series: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    order: Literal["asc", "desc"] = "asc"
    project_id: str | None = None
    range: Literal["full_run"] = "full_run"


class BucketQuery(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/query/buckets``."""

    run_ids: Annotated[list[str], Meta(min_length=1, max_length=200)]
    metric_keys: Names
    x: Literal["step", "relative", "wall", "metric"] = "step"
    x_metric: str | None = None
    log_x: bool = False
    buckets: Annotated[int, Meta(ge=1, le=2000)] = 1000
    start: float | None = field(default=None, name="from")
    end: float | None = field(default=None, name="to")


class MarkerQuery(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/query/markers``; ``limit`` is for each run."""

    run_ids: Annotated[list[str], Meta(min_length=1, max_length=200)]
    limit: Annotated[int, Meta(ge=1, le=1000)] = 200


async def keys(request: Request) -> Response:
    """``GET /api/v1/metrics/keys`` of a run or of a project's newest runs."""
    store, principal = store_of(request), principal_of(request)
    limit = integer(request, "limit", 1000, MAX_KEYS)
    run_id, project = request.query_params.get("runId"), request.query_params.get("projectId")
    if run_id is None and project is None:
        raise ApiError(400, "Either runId or projectId must be given.", "Add ?runId=... to the address.")

    def find() -> Any:
        if run_id is not None:
            return {"keys": store.series.keys(run_id, limit)} if store.runs.visible(principal, [run_id]) else None
        assert project is not None
        return _project_keys(store, principal, project, limit)

    return await answer(find)


def _project_keys(store: Store, principal: Principal, project: str, limit: int) -> dict[str, Any] | None:
    page = store.runs.query(
        principal,
        principal.workspace_slug,
        project,
        limit=PROJECT_RUNS,
        order="desc",
        order_by="startedAtMs",
        cursor=None,
        search=None,
        statuses=(),
    )
    if page is None:
        return None
    merged: dict[str, dict[str, Any]] = {}
    for run in page[0]:
        for key in store.series.keys(run["runId"], limit):
            known = merged.setdefault(key["metricKey"], key)
            if known is not key:
                known["count"] += key["count"]
    return {"keys": list(merged.values())[:limit]}


async def series(request: Request) -> Response:
    """``POST /api/v1/query/series``: the latest value of every step."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, SeriesQuery)

    def find() -> Any:
        if not store.runs.visible(principal, [asked.run_id]):
            return None
        names = list(dict.fromkeys(asked.metric_keys))
        found = store.series.points(asked.run_id, names, max_points=asked.max_points_per_series, order=asked.order)
        return {"runId": asked.run_id, "series": found}

    return await answer(find)


async def buckets(request: Request) -> Response:
    """``POST /api/v1/query/buckets``: many series for a chart, as JSON or as Float64 columns."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, BucketQuery)
    runs, names = list(dict.fromkeys(asked.run_ids)), list(dict.fromkeys(asked.metric_keys))
    if len(runs) * len(names) > MAX_SERIES:
        raise ApiError(400, f"These are {len(runs) * len(names)} series.", f"Ask for at most {MAX_SERIES} at once.")
    if (asked.x == "metric") != bool(asked.x_metric):
        raise ApiError(400, "xMetric names the metric that x: metric is about.", "Give both of them or neither.")
    binary = CONTENT_TYPE in request.headers.get("accept", "")

    def find() -> bytes | None:
        if not store.runs.visible(principal, runs):
            return None
        found = store.series.buckets(
            runs,
            names,
            x=asked.x,
            buckets=asked.buckets,
            start=asked.start,
            end=asked.end,
            over=asked.x_metric,
            log=asked.log_x,
        )
        return pack_columns(asked.x, found) if binary else json_columns(asked.x, found)

    body = await run_in_threadpool(find)
    if body is None:
        raise not_found()
    return Response(body, media_type=CONTENT_TYPE if binary else "application/json")


async def markers(request: Request) -> Response:
    """``POST /api/v1/query/markers``: the markers of many runs, for charts over all of them."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, MarkerQuery)
    runs = list(dict.fromkeys(asked.run_ids))

    def find() -> Any:
        found = store.runs.markers_of(principal, runs, asked.limit)
        return None if found is None else {"markers": found}

    return await answer(find)
