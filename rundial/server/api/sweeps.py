"""The sweeps of a project: what is known of them, what people want of them, and what their agents ask."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.errors import not_found
from rundial.server.api.request import encode_json, integer, principal_of, read_json, store_of
from rundial.server.api.runs import MAX_PAGE, answer, page_of


class SweepRecord(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``PUT /api/v1/workspaces/{ws}/projects/{pj}/sweeps/{sweepId}``."""

    config: dict[str, Any] = {}
    name: Annotated[str, Meta(max_length=200)] | None = None


class SweepState(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST …/sweeps/{sweepId}/state``."""

    state: Literal["running", "paused", "stopped"]


class SweepQuestion(Struct, rename="camel"):
    """Body of ``POST …/sweeps/{sweepId}/ask``."""

    finished: bool = False


def _place(request: Request) -> tuple[str, str]:
    return request.path_params["ws"], request.path_params["pj"]


async def of_project(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/projects/{pj}/sweeps``: newest first."""
    sweeps, principal, place = store_of(request).sweeps, principal_of(request), _place(request)
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), request.query_params.get("cursor")
    return await answer(lambda: page_of("sweeps", sweeps.page(principal, *place, limit=limit, cursor=cursor)))


async def sweep(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/projects/{pj}/sweeps/{sweepId}``"""
    sweeps, principal, place = store_of(request).sweeps, principal_of(request), _place(request)
    sweep_id = request.path_params["sweepId"]
    return await answer(lambda: sweeps.get(principal, *place, sweep_id))


async def put(request: Request) -> Response:
    """``PUT /api/v1/workspaces/{ws}/projects/{pj}/sweeps/{sweepId}``: make it, or say more of it."""
    sweeps, principal, place = store_of(request).sweeps, principal_of(request), _place(request)
    asked = await read_json(request, SweepRecord)
    said = {"name": asked.name, "config": asked.config}
    return await _answer(sweeps.put(principal, *place, request.path_params["sweepId"], said))


async def turn(request: Request) -> Response:
    """``POST …/sweeps/{sweepId}/state``: pause it, resume it, stop it."""
    sweeps, principal, place = store_of(request).sweeps, principal_of(request), _place(request)
    asked = await read_json(request, SweepState)
    return await _answer(sweeps.turn(principal, *place, request.path_params["sweepId"], asked.state))


async def ask(request: Request) -> Response:
    """``POST …/sweeps/{sweepId}/ask``: an agent, before each trial."""
    sweeps, principal, place = store_of(request).sweeps, principal_of(request), _place(request)
    asked = await read_json(request, SweepQuestion)
    sweep_id = request.path_params["sweepId"]
    found = await run_in_threadpool(lambda: sweeps.ask(principal, *place, sweep_id, finished=asked.finished))
    if found is None:
        raise not_found()
    return await _answer(found)


async def _answer(found: Future[dict[str, Any]] | dict[str, Any]) -> Response:
    document = await asyncio.wrap_future(found) if isinstance(found, Future) else found
    return Response(encode_json(document), media_type="application/json")
