"""Evaluations: suites, eval runs and their results, compared; and how clients that speak JSON make them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.events import EvalResult
from rundial.server.api.errors import ApiError
from rundial.server.api.request import encode_json, integer, principal_of, read_body, read_json, store_of
from rundial.server.api.runs import answer

MAX_PAGE = 1000
MAX_ROWS = 10_000
"""Results in one request."""

Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
Status = Literal["same", "regressed", "improved", "added", "removed"]
Label = Annotated[str, Meta(max_length=1000)]


class ResultQuery(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/query/evals/results``."""

    eval_run_id: str
    project_id: str | None = None
    limit: Limit = 100
    cursor: str | None = None
    scorer: str | None = None
    failed_only: bool = False
    text: Label = ""


class DiffQuery(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/query/evals/diff``."""

    project_id: str
    baseline_eval_run_id: str
    candidate_eval_run_id: str
    limit: Limit = 100
    cursor: str | None = None
    scorer: str | None = None
    statuses: Annotated[list[Status], Meta(max_length=5)] = []


class Scorer(Struct, rename="camel"):
    """What judges an example."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    kind: str | None = None
    config: dict[str, Any] = {}


class NewSuite(Struct, rename="camel"):
    """Body of ``POST /api/v1/evals/suites``."""

    project_id: str
    name: str
    dataset: dict[str, Any] = {}
    scorers: list[Scorer] = []
    suite_id: str | None = None


class NewEvalRun(Struct, rename="camel"):
    """Body of ``POST /api/v1/evals/runs``."""

    project_id: str
    suite_id: str
    config: dict[str, Any] = {}
    run_id: str | None = None
    eval_run_id: str | None = None


class NewResults(Struct, rename="camel"):
    """Body of ``POST /api/v1/evals/results``. Its rows are read one by one: a bad one costs only itself."""

    project_id: str
    eval_run_id: str
    rows: Annotated[list[Any], Meta(max_length=MAX_ROWS)]


class NewResult(Struct, rename="camel"):
    """One of its rows."""

    example_id: str
    scorer: str
    score: float
    passed: bool | None = None
    trace_id: str | None = None
    evidence: dict[str, str] | None = field(default=None, name="evidenceRef")
    meta: dict[str, Any] | None = None


async def suites(request: Request) -> Response:
    """``GET /api/v1/projects/{projectId}/evals``: the project's suites with their newest runs."""
    store, principal, project = store_of(request), principal_of(request), request.path_params["projectId"]
    limit, runs = integer(request, "limit", 100, MAX_PAGE), integer(request, "runs", 20, 200)
    cursor = request.query_params.get("cursor")

    def find() -> Any:
        found = store.evals.suites(principal, project, limit=limit, cursor=cursor, runs=runs)
        if found is None:
            return None
        rows, following = found
        return {"suites": rows, "page": {"hasMore": following is not None, "nextCursor": following}}

    return await answer(find)


async def of_run(request: Request) -> Response:
    """``GET /api/v1/runs/{runId}/evals``: the eval runs that belong to a run."""
    store, principal, run_id = store_of(request), principal_of(request), request.path_params["runId"]

    def find() -> Any:
        return {"evalRuns": store.evals.of_run(run_id)} if store.runs.visible(principal, [run_id]) else None

    return await answer(find)


async def results(request: Request) -> Response:
    """``POST /api/v1/query/evals/results``: by example and scorer."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, ResultQuery)
    return await answer(
        lambda: store.evals.results(
            principal,
            asked.eval_run_id,
            project=asked.project_id,
            limit=asked.limit,
            cursor=asked.cursor,
            scorer=asked.scorer,
            failed_only=asked.failed_only,
            text=asked.text,
        )
    )


async def diff(request: Request) -> Response:
    """``POST /api/v1/query/evals/diff``: what changed from one eval run to another."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, DiffQuery)
    return await answer(
        lambda: store.evals.diff(
            principal,
            asked.project_id,
            asked.baseline_eval_run_id,
            asked.candidate_eval_run_id,
            limit=asked.limit,
            cursor=asked.cursor,
            scorer=asked.scorer,
            statuses=asked.statuses,
        )
    )


async def create_suite(request: Request) -> Response:
    """``POST /api/v1/evals/suites``"""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, NewSuite)
    scorers = [msgspec.to_builtins(scorer) for scorer in asked.scorers]
    future = store.json_evals.create_suite(
        principal, asked.project_id, asked.name, asked.dataset, scorers, asked.suite_id
    )
    suite = await asyncio.wrap_future(future)
    return Response(encode_json({"suite": suite, "dataset": suite["dataset"]}), media_type="application/json")


async def create_run(request: Request) -> Response:
    """``POST /api/v1/evals/runs``"""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, NewEvalRun)
    future = store.json_evals.create_run(
        principal, asked.project_id, asked.suite_id, asked.config, asked.run_id, asked.eval_run_id
    )
    return Response(encode_json({"evalRun": await asyncio.wrap_future(future)}), media_type="application/json")


async def take(request: Request) -> Response:
    """``POST /api/v1/evals/results``: answered after the commit, with how many were taken and why others were not."""
    store, principal, settings = store_of(request), principal_of(request), request.app.state.settings
    body = await read_body(request, settings.max_body_bytes, settings.max_inflated_bytes)
    asked, events, refused = await run_in_threadpool(_results, body)
    places = [place for place in range(len(asked.rows)) if place not in refused]
    future = store.json_evals.take(principal, asked.project_id, asked.eval_run_id, events)
    for place, reason in (await asyncio.wrap_future(future)).items():
        refused[places[place]] = reason
    rejected = [{"index": place, "reason": reason} for place, reason in sorted(refused.items())]
    reply = {"accepted": len(asked.rows) - len(rejected), "rejected": rejected}
    return Response(encode_json(reply), media_type="application/json")


def _results(body: bytes) -> tuple[NewResults, list[EvalResult], dict[int, str]]:
    """The request, its rows as events, and why some are none, by their place."""
    try:
        # The older client writes NaN where JSON has no word for it, and the standard library reads it.
        asked = msgspec.convert(json.loads(body), type=NewResults)
    except (ValueError, RecursionError) as error:
        text = f"The request cannot be understood: {str(error)[:200]}."
        raise ApiError(400, text, "docs/http.md shows its fields.") from error
    if not asked.project_id.isprintable():  # unlike msgspec it lets lone surrogates pass, which no database takes
        raise ApiError(400, "The projectId cannot be used.", "Send the id or slug of a project.")
    events: list[EvalResult] = []
    refused: dict[int, str] = {}
    now = time.time_ns()
    for place, row in enumerate(asked.rows):
        try:
            new = msgspec.convert(row, type=NewResult)
        except (msgspec.ValidationError, RecursionError) as error:
            refused[place] = str(error)[:200]
            continue
        events.append(
            EvalResult(
                now,
                asked.eval_run_id,
                new.example_id,
                new.scorer,
                new.score,
                new.passed,
                new.trace_id,
                new.evidence,
                new.meta or {},
            )
        )
    return asked, events, refused
