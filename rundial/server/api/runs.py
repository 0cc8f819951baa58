"""Workspaces, projects and runs, as lists and one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.errors import ApiError, not_found
from rundial.server.api.request import choice, encode_json, integer, principal_of, store_of

MAX_PAGE = 1000
_STATUSES = frozenset({"running", "completed", "failed", "aborted", "crashed"})


async def answer(produce: Callable[[], Any]) -> Response:
    """What ``produce`` returns as JSON; None is 404. Reading and encoding happen in a thread, off the event loop."""

    def body() -> bytes | None:
        value = produce()
        return None if value is None else encode_json(value)

    encoded = await run_in_threadpool(body)
    if encoded is None:
        raise not_found()
    return Response(encoded, media_type="application/json")


def _page(name: str, found: tuple[list[Any], str | None] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    rows, cursor = found
    return {name: rows, "page": {"hasMore": cursor is not None, "nextCursor": cursor}}


async def workspaces(request: Request) -> Response:
    """``GET /api/v1/workspaces``"""
    runs, principal = store_of(request).runs, principal_of(request)
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), request.query_params.get("cursor")
    return await answer(lambda: _page("workspaces", runs.workspaces(principal, limit=limit, cursor=cursor)))


async def projects(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/projects``"""
    runs, principal, workspace = store_of(request).runs, principal_of(request), request.path_params["ws"]
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), request.query_params.get("cursor")
    return await answer(lambda: _page("projects", runs.projects(principal, workspace, limit=limit, cursor=cursor)))


async def query(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/projects/{pj}/runs/query``"""
    runs, principal, path = store_of(request).runs, principal_of(request), request.path_params
    asked = request.query_params
    options: dict[str, Any] = {
        "limit": integer(request, "limit", 25, MAX_PAGE),
        "order": choice(request, "order", ("asc", "desc"), "desc"),
        "order_by": choice(request, "orderBy", ("runId", "startedAtMs", "updatedAtMs", "runName"), "startedAtMs"),
        "cursor": asked.get("cursor"),
        "search": asked.get("search") or None,
        "statuses": _asked_statuses(asked.get("statuses", "")),
    }
    return await answer(lambda: _page("runs", runs.query(principal, path["ws"], path["pj"], **options)))


def _asked_statuses(text: str) -> list[str]:
    statuses = [status for status in text.split(",") if status]
    if not _STATUSES.issuperset(statuses):
        raise ApiError(400, f"statuses may hold {', '.join(sorted(_STATUSES))}.", "Leave it out for all.")
    return statuses


async def run(request: Request) -> Response:
    """``GET /api/v1/runs/{runId}``"""
    runs, principal, run_id = store_of(request).runs, principal_of(request), request.path_params["runId"]
    return await answer(lambda: runs.get(principal, run_id))


async def project_run(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/projects/{pj}/runs/{runId}``: the run, if it is in that project."""
    runs, principal, path = store_of(request).runs, principal_of(request), request.path_params

    def find() -> Any:
        found = runs.get(principal, path["runId"])
        if found is None or path["ws"] not in (found["workspaceSlug"], principal.workspace_id):
            return None
        return found if path["pj"] in (found["projectSlug"], found["projectId"]) else None

    return await answer(find)


async def markers(request: Request) -> Response:
    """``GET /api/v1/runs/{runId}/markers``"""
    runs, principal, run_id = store_of(request).runs, principal_of(request), request.path_params["runId"]

    def find() -> Any:
        found = runs.markers(principal, run_id)
        return None if found is None else {"markers": found}

    return await answer(find)
