"""The JSON wire of clients in the field: runs, metrics, logs and traces by plain requests; see docs/wire.md."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.events import LEVELS, LogLine, Metrics, Span
from rundial.server.api.artifacts import read_lenient, require
from rundial.server.api.errors import ApiError
from rundial.server.api.request import INLINE_BYTES, base_url, encode_json, principal_of, read_body, read_json, store_of
from rundial.server.api.runs import answer
from rundial.server.store.json_wire import Delivery, Opening, Record, record

MAX_ITEMS = 20_000
"""Points, lines or spans in one request."""
LOG_WRITERS = ("logs:write", "metrics:write")
TRACE_WRITERS = ("traces:write", "metrics:write")
EXPORT_ROWS = 10_000

Milliseconds = Annotated[int, Meta(ge=0, le=9_223_372_036_854)]
"""Unix milliseconds whose nanoseconds fit into 64 bits."""
Step = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, Meta(max_length=10_000)]
Nanoseconds = Annotated[str, Meta(pattern="^[0-9]{1,19}$")]
T = TypeVar("T")
Ingested = tuple[list[Delivery], dict[int, str], int]


class Target(Struct, rename="camel"):
    """Body of ``POST /api/v1/runs/resolve-target``: slugs, ids or names."""

    workspace: str
    project: str


class Client(Struct):
    """The program that asks."""

    name: str = ""
    version: str = ""


class Start(Struct, rename="camel"):
    """Body of ``POST /api/v1/runs/start``."""

    project_id: str
    kind: Literal["training", "agent", "eval"] = "training"
    resume: Literal["never", "allow", "must"] = "never"
    run_id: str | None = None
    run_name: Name | None = None
    group: Name | None = None
    job_type: Name | None = None
    tags: list[str] | None = None
    config: dict[str, Any] | None = None
    client: Client | None = None


class Ending(Struct, rename="camel"):
    """Body of ``POST /api/v1/runs/{runId}/status``."""

    status: Literal["completed", "failed", "aborted"]
    finished_at_ms: Milliseconds | None = None
    reason: Name | None = None


class Config(Struct):
    """Body of ``POST /api/v1/runs/{runId}/config``: only what changes."""

    config: dict[str, Any]


class Points(Struct, rename="camel"):
    """Body of ``POST /api/v1/ingest/metrics``; each of ``points`` is a :class:`Point`."""

    points: list[Any]


class Lines(Struct, rename="camel"):
    """Body of ``POST /api/v1/ingest/logs``; each of ``lines`` is a :class:`Line`."""

    lines: list[Any]


class Spans(Struct, rename="camel"):
    """Body of ``POST /api/v1/ingest/traces``; each of ``spans`` is a :class:`JsonSpan`."""

    spans: list[Any]


class Item(Struct, rename="camel"):
    """Which run it is for."""

    project_id: str
    run_id: str


class Point(Item, rename="camel"):
    """One value."""

    metric_key: Annotated[str, Meta(min_length=1)]
    step: Step
    timestamp_ms: Milliseconds
    value: float
    context: dict[str, str] | None = None


class Line(Item, rename="camel"):
    """One line of text; ``sequence`` counts in the client's process."""

    timestamp_ms: Milliseconds
    message: str
    sequence: int = 0
    level: str = "info"
    truncated: bool = False


class SpanEvent(Struct, rename="camel"):
    """Something that happened within a span."""

    name: str
    timestamp_ns: Nanoseconds
    attrs_json: str = "{}"


class JsonSpan(Item, rename="camel"):
    """One finished span; times are decimal texts, attributes are JSON in a text."""

    trace_id: str
    span_id: str
    name: str
    start_ns: Nanoseconds
    parent_span_id: str | None = None
    kind: str = "internal"
    end_ns: Nanoseconds | None = None
    status: str = "unset"
    attrs_json: str = "{}"
    events: list[SpanEvent] = []
    model: str | None = None
    gen_ai_system: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None


class MetricExport(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/export/metrics``."""

    run_id: str
    project_id: str | None = None
    metric_keys: Annotated[list[str], Meta(max_length=10_000)] | None = None
    start_ms: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] = -(2**63)
    end_ms: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] = 2**63 - 1
    limit: Annotated[int, Meta(ge=1, le=EXPORT_ROWS)] = 1000
    format: Literal["json"] = "json"
    details: bool = False
    cursor: str | None = None


async def resolve_target(request: Request) -> Response:
    """``POST /api/v1/runs/resolve-target``: the ids behind a workspace and a project."""
    wire, principal = store_of(request).wire, principal_of(request)
    asked = await read_json(request, Target)
    return await answer(lambda: wire.target(principal, asked.workspace, asked.project))


async def start(request: Request) -> Response:
    """``POST /api/v1/runs/start``: create a run, attach to it or reopen it."""
    asked = await read_lenient(request, Start)
    client = asked.client or Client("json")
    opening = Opening(
        asked.project_id,
        asked.run_id or None,
        asked.run_name or "",
        asked.kind,
        asked.resume,
        asked.group,
        asked.job_type,
        asked.tags or [],
        asked.config or {},
        f"{client.name}/{client.version}".rstrip("/"),
    )
    started = await asyncio.wrap_future(store_of(request).wire.start(principal_of(request), opening))
    return _json(started | {"url": f"{base_url(request)}/#/runs/{started['runId']}"})


async def status(request: Request) -> Response:
    """``POST /api/v1/runs/{runId}/status``: end a run."""
    asked = await read_lenient(request, Ending)
    future = store_of(request).wire.end(
        principal_of(request), request.path_params["runId"], asked.status, asked.finished_at_ms, asked.reason
    )
    return _json(await asyncio.wrap_future(future))


async def config(request: Request) -> Response:
    """``POST /api/v1/runs/{runId}/config``: merge entries into a run's config; the answer has all of it."""
    asked = await read_lenient(request, Config)
    future = store_of(request).wire.configure(principal_of(request), request.path_params["runId"], asked.config)
    return _json(await asyncio.wrap_future(future))


async def metrics(request: Request) -> Response:
    """``POST /api/v1/ingest/metrics``: points of any number of runs; a bad one costs only itself."""
    return await _ingest(request, _points)


async def logs(request: Request) -> Response:
    """``POST /api/v1/ingest/logs``: lines of any number of runs; one that is known by now is not stored again."""
    require(request, LOG_WRITERS)
    return await _ingest(request, _lines)


async def traces(request: Request) -> Response:
    """``POST /api/v1/ingest/traces``: finished spans; one that is sent again replaces the one before."""
    require(request, TRACE_WRITERS)
    return await _ingest(request, _spans)


async def export_metrics(request: Request) -> Response:
    """``POST /api/v1/export/metrics``: every point between two moments, by time, as it was logged."""
    store, principal = store_of(request), principal_of(request)
    asked = await read_json(request, MetricExport)

    def find() -> Any:
        if not store.runs.visible(principal, [asked.run_id]):
            return None
        if asked.project_id is not None and not store.logs.belongs(principal, asked.run_id, asked.project_id):
            return None
        return store.exports.metrics(
            asked.run_id, asked.metric_keys, asked.start_ms, asked.end_ms, asked.limit, asked.cursor, asked.details
        )

    return await answer(find)


def _json(value: Any) -> Response:
    return Response(encode_json(value), media_type="application/json")


async def _ingest(request: Request, read: Callable[[Any], Ingested]) -> Response:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "The body must be JSON.", "Send content-type: application/json.")
    limit = request.app.state.settings.max_inflated_bytes
    body = await read_body(request, limit, limit)
    if len(body) <= INLINE_BYTES:
        deliveries, refused, count = read(_decoded(body))
    else:
        deliveries, refused, count = await run_in_threadpool(lambda: read(_decoded(body)))
    if deliveries:
        future: Future[dict[int, str]] = store_of(request).wire.take(principal_of(request), deliveries)
        more = await asyncio.wrap_future(future)
        refused |= more
    rejected = [{"index": place, "reason": reason} for place, reason in sorted(refused.items())]
    return _json({"accepted": count - len(rejected), "rejected": rejected})


def _decoded(body: bytes) -> Any:
    """The body as plain values. The words NaN and Infinity, which JSON does not have, are read as what they mean."""
    try:
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError:
            return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "The body is no JSON.", "docs/wire.md shows what it has to be.") from error


def _body(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        text = f"The request cannot be understood: {str(error)[:300]}."
        raise ApiError(400, text, "docs/wire.md shows its fields.") from error


def _gather(
    rows: list[Any], kind: type[T], take: Callable[[int, T, dict[tuple[str, str], Delivery]], None]
) -> Ingested:
    """Rows to deliveries, one for each run; why some are refused; and how many there are."""
    if len(rows) > MAX_ITEMS:
        raise ApiError(413, f"The request has more than {MAX_ITEMS} items.", "Split it.")
    deliveries: dict[tuple[str, str], Delivery] = {}
    refused: dict[int, str] = {}
    for place, row in enumerate(rows):
        try:
            take(place, msgspec.convert(row, kind), deliveries)
        except (ValueError, RecursionError) as error:
            refused[place] = str(error)[:300]
    return list(deliveries.values()), refused, len(rows)


def _records(deliveries: dict[tuple[str, str], Delivery], item: Item) -> list[Record]:
    """The records for the run of an item."""
    key = (item.project_id, item.run_id)
    if key not in deliveries:
        for name in key:
            name.encode()  # the standard library lets lone surrogates pass, which no database takes
        deliveries[key] = Delivery(*key, [])
    return deliveries[key].records


def _points(value: Any) -> Ingested:
    open_records: dict[tuple[str, str], tuple[tuple[Any, ...], Metrics, list[int]]] = {}
    runs: dict[tuple[str, str], Delivery] = {}

    def close(key: tuple[str, str]) -> None:
        _, event, places = open_records.pop(key)
        runs[key].records.append(record(event, places))

    def take(place: int, point: Point, deliveries: dict[tuple[str, str], Delivery]) -> None:
        """Neighbours of one step and time become one record, as one call of ``log()`` would be."""
        point.metric_key.encode()
        context = {key: text for key, text in point.context.items() if text.encode()} if point.context else None
        if not -1.7976931348623157e308 <= point.value <= 1.7976931348623157e308:
            raise ValueError("value must be a finite number")
        _records(deliveries, point)
        key = (point.project_id, point.run_id)
        runs[key] = deliveries[key]
        layout = (point.step, point.timestamp_ms, tuple(sorted(context.items())) if context else None)
        known = open_records.get(key)
        if known is not None and (known[0] != layout or point.metric_key in known[1].values):
            close(key)
            known = None
        if known is None:
            event = Metrics(point.timestamp_ms * 1_000_000, point.step, {}, None, context)
            known = open_records[key] = (layout, event, [])
        known[1].values[point.metric_key] = point.value
        known[2].append(place)

    found = _gather(_body(value, Points).points, Point, take)
    for key in list(open_records):
        close(key)
    return found


def _lines(value: Any) -> Ingested:
    def take(place: int, line: Line, deliveries: dict[tuple[str, str], Delivery]) -> None:
        if line.level.lower() not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}")
        event = LogLine(line.timestamp_ms * 1_000_000, line.level.lower(), line.message, "text", line.truncated)
        mark = f"{line.sequence}\0{line.timestamp_ms}\0{line.message}".encode()
        new = record(event, [place], hashlib.sha256(mark).hexdigest()[:32])
        _records(deliveries, line).append(new)

    return _gather(_body(value, Lines).lines, Line, take)


def _spans(value: Any) -> Ingested:
    def take(place: int, span: JsonSpan, deliveries: dict[tuple[str, str], Delivery]) -> None:
        event = Span(
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            span.name,
            span.kind,
            int(span.start_ns),
            int(span.start_ns if span.end_ns is None else span.end_ns),
            span.status,
            None,
            _attrs(span.attrs_json),
            [(event.name, int(event.timestamp_ns), _attrs(event.attrs_json)) for event in span.events],
            span.model,
            span.gen_ai_system,
            span.tokens_in,
            span.tokens_out,
            span.cost_usd,
        )
        new = record(event, [place])
        _records(deliveries, span).append(new)

    return _gather(_body(value, Spans).spans, JsonSpan, take)


def _attrs(text: str) -> dict[str, Any]:
    """Attributes out of their text, in which NaN and infinities become null. Raises ValueError."""
    found = json.loads(text, parse_constant=lambda _: None)
    if not isinstance(found, dict):
        raise ValueError("attrsJson must be a JSON object")
    return found
