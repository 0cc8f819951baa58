"""Workspaces, projects and runs, as lists and one by one; editing, archiving and deleting runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rundial.server.api.errors import ApiError, not_found
from rundial.server.api.request import choice, encode_json, integer, principal_of, read_json, store_of
from rundial.server.store.accounts import now_ms
from rundial.server.store.run_edits import KEEP_MILLISECONDS

MAX_PAGE = 1000
_ARCHIVED = {"no": False, "only": True, "any": None}
_STATUSES = frozenset({"running", "completed", "failed", "aborted", "crashed"})

RunIds = Annotated[list[str], Meta(min_length=1, max_length=MAX_PAGE)]
Tags = Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=100)]


class RunEdit(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``PATCH /api/v1/runs/{runId}``: what to change; null leaves it as it is."""

    name: str | None = None
    tags: Tags | None = None
    notes: str | None = None
    group: str | None = None
    path: str | None = None
    archived: bool | None = None


class RunsEdit(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/runs/edit``."""

    run_ids: RunIds
    add_tags: Tags = []
    remove_tags: Tags = []
    archived: bool | None = None


class RunsChoice(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/runs/delete`` and ``/runs/restore``."""

    run_ids: RunIds


async def answer(produce: Callable[[], Any]) -> Response:
    """What ``produce`` returns as JSON; None is 404. Reading and encoding happen in a thread, off the event loop."""

    def body() -> bytes | None:
        value = produce()
        return None if value is None else encode_json(value)

    encoded = await run_in_threadpool(body)
    if encoded is None:
        raise not_found()
    return Response(encoded, media_type="application/json")


def page_of(name: str, found: tuple[list[Any], str | None] | None) -> dict[str, Any] | None:
    """Rows and a cursor as the document of a list; None stays None."""
    if found is None:
        return None
    rows, cursor = found
    return {name: rows, "page": {"hasMore": cursor is not None, "nextCursor": cursor}}


async def workspaces(request: Request) -> Response:
    """``GET /api/v1/workspaces``"""
    runs, principal = store_of(request).runs, principal_of(request)
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), request.query_params.get("cursor")
    return await answer(lambda: page_of("workspaces", runs.workspaces(principal, limit=limit, cursor=cursor)))


async def projects(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/projects``"""
    runs, principal, workspace = store_of(request).runs, principal_of(request), request.path_params["ws"]
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), request.query_params.get("cursor")
    return await answer(lambda: page_of("projects", runs.projects(principal, workspace, limit=limit, cursor=cursor)))


async def query(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/projects/{pj}/runs/query``"""
    runs, principal, path = store_of(request).runs, principal_of(request), request.path_params
    asked = request.query_params
    options: dict[str, Any] = {
        "limit": integer(request, "limit", 25, MAX_PAGE),
        "order": choice(request, "order", ("asc", "desc"), "desc"),
        "order_by": asked.get("orderBy", "startedAtMs"),
        "cursor": asked.get("cursor"),
        "search": asked.get("search") or None,
        "statuses": _asked_statuses(asked.get("statuses", "")),
        "archived": _ARCHIVED[choice(request, "archived", tuple(_ARCHIVED), "no")],
    }
    return await answer(lambda: page_of("runs", runs.query(principal, path["ws"], path["pj"], **options)))


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


async def edit(request: Request) -> Response:
    """``PATCH /api/v1/runs/{runId}``: change what people say of a run."""
    store, principal, run_id = store_of(request), principal_of(request), request.path_params["runId"]
    asked = await read_json(request, RunEdit)
    named = {"name": asked.name, "notes": asked.notes, "group": asked.group, "path": asked.path}
    texts = {name: text for name, text in named.items() if text is not None}
    edits = store.run_edits.edit(principal, [run_id], texts=texts, tags=asked.tags, archived=asked.archived)
    await asyncio.wrap_future(edits)
    return await answer(lambda: store.runs.row(principal, run_id))


async def edit_many(request: Request) -> Response:
    """``POST /api/v1/runs/edit``: tag and archive several runs at once."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, RunsEdit)
    count = await asyncio.wrap_future(
        store.run_edits.edit(
            principal,
            asked.run_ids,
            texts={},
            add_tags=asked.add_tags,
            remove_tags=asked.remove_tags,
            archived=asked.archived,
        )
    )
    return JSONResponse({"runs": count})


async def delete(request: Request) -> Response:
    """``POST /api/v1/runs/delete``: delete runs, which can be restored for a while."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, RunsChoice)
    count = await asyncio.wrap_future(store.run_edits.delete(principal, asked.run_ids))
    return JSONResponse({"runs": count, "purgedAtMs": now_ms() + KEEP_MILLISECONDS})


async def restore(request: Request) -> Response:
    """``POST /api/v1/runs/restore``: take back a deletion."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, RunsChoice)
    return JSONResponse({"runs": await asyncio.wrap_future(store.run_edits.restore(principal, asked.run_ids))})
