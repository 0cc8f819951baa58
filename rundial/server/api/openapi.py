"""The OpenAPI document, made from the routes and their bodies, and a page that shows it."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from rundial.server.api import (
    accounts,
    agents,
    artifacts,
    control,
    evals,
    keys,
    logs,
    media,
    query,
    runs,
    sweeps,
    traces,
    users,
    wire,
)
from rundial.server.api.request import encode_json
from rundial.server.store.manifest import Initiation
from rundial.version import __version__
from rundial.wire import CONTENT_TYPE

Json = dict[str, Any]

BODIES: dict[Callable[..., Any], type[msgspec.Struct]] = {
    accounts.create_project: accounts.NewProject,
    accounts.create_workspace: accounts.NewWorkspace,
    accounts.login: accounts.Login,
    agents.create: agents.NewAgent,
    agents.create_key: agents.NewAgentKey,
    artifacts.aliases: artifacts.Aliases,
    artifacts.download: artifacts.Download,
    artifacts.finalize: artifacts.Finalization,
    artifacts.initiate: Initiation,
    artifacts.use: artifacts.Use,
    control.send: control.Turn,
    control.switch: control.Switch,
    control.wait: control.Wait,
    evals.create_run: evals.NewEvalRun,
    evals.create_suite: evals.NewSuite,
    evals.diff: evals.DiffQuery,
    evals.results: evals.ResultQuery,
    evals.take: evals.NewResults,
    keys.create: keys.NewKey,
    logs.export: logs.LogExport,
    logs.query: logs.LogQuery,
    media.ingest: media.MediaBatch,
    media.of_runs: media.MediaQuery,
    query.buckets: query.BucketQuery,
    query.markers: query.MarkerQuery,
    query.series: query.SeriesQuery,
    runs.delete: runs.RunsChoice,
    runs.edit: runs.RunEdit,
    runs.edit_many: runs.RunsEdit,
    runs.restore: runs.RunsChoice,
    sweeps.ask: sweeps.SweepQuestion,
    sweeps.put: sweeps.SweepRecord,
    sweeps.turn: sweeps.SweepState,
    traces.query: traces.TraceQuery,
    users.change_role: users.NewRole,
    users.create: users.NewUser,
    users.log_in: users.Credentials,
    users.set_password: users.NewPassword,
    wire.config: wire.Config,
    wire.export_metrics: wire.MetricExport,
    wire.logs: wire.Lines,
    wire.metrics: wire.Points,
    wire.resolve_target: wire.Target,
    wire.start: wire.Start,
    wire.status: wire.Ending,
    wire.traces: wire.Spans,
}
"""The JSON body of each handler that reads one."""
_ROWS: dict[tuple[str, str], type[msgspec.Struct]] = {
    ("NewResults", "rows"): evals.NewResult,
    ("Points", "points"): wire.Point,
    ("Lines", "lines"): wire.Line,
    ("Spans", "spans"): wire.JsonSpan,
}
"""What stands in the lists that are read one by one, so that a bad entry costs only itself."""
_PARAMETER = re.compile(r"query_params\.get\(\"(\w+)\"|asked\.get\(\"(\w+)\"|(?:integer|choice)\(request, \"(\w+)\"")
_LEAD = re.compile(r"^``[^`]*``(?: [^:.]*)?[:.]?\s*")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2128;
background:#fff}code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:#f4f5f7;padding:.75rem;overflow:auto}
summary{cursor:pointer;padding:.3rem 0}b{display:inline-block;min-width:4.5rem}small{color:#59636e}h2{margin-top:2rem}
@media(prefers-color-scheme:dark){body{background:#15181c;color:#d8dde3}pre{background:#1f242a}small{color:#8b949e}}"""


class Described(Protocol):
    """A route with what it needs."""

    @property
    def route(self) -> Route: ...
    @property
    def scope(self) -> str: ...


async def document(request: Request) -> Response:
    """``GET /api/openapi.json``: this interface as OpenAPI 3.1."""
    return Response(encode_json(await _described(request)), media_type="application/json")


async def page(request: Request) -> Response:
    """``GET /api/docs``: this interface as a page."""
    return HTMLResponse(_page(await _described(request)), headers={"content-security-policy": _POLICY})


async def _described(request: Request) -> Json:
    state = request.app.state
    if not hasattr(state, "openapi"):
        state.openapi = await run_in_threadpool(describe, state.rules)  # it reads the sources
    found: Json = state.openapi
    return found


def describe(rules: Sequence[Described]) -> Json:
    """The OpenAPI document of the routes under ``/api`` and ``/health``."""
    paths: dict[str, Json] = {}
    for rule in rules:
        if rule.route.path.startswith(("/api/", "/health/")):
            for method in sorted((rule.route.methods or set()) - {"HEAD"}):
                paths.setdefault(rule.route.path, {})[method.lower()] = _operation(rule, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rundial", "version": __version__, "description": "docs/http.md says more of each route."},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": accounts.SESSION_COOKIE},
            },
        },
        "security": [{"key": []}, {"session": []}],
    }


def _schemas() -> dict[str, Json]:
    kinds = [*dict.fromkeys(BODIES.values()), *_ROWS.values()]
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    for (name, field), row in _ROWS.items():
        components[name]["properties"][field]["items"] = {"$ref": f"#/components/schemas/{row.__name__}"}
    components["Error"] = {
        "type": "object",
        "required": ["requestId", "error"],
        "properties": {
            "requestId": {"type": "string"},
            "error": {
                "type": "object",
                "required": ["code", "message", "details"],
                "properties": {
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "details": {"type": "object", "properties": {"hint": {"type": "string"}}},
                },
            },
        },
    }
    return components


def _operation(rule: Described, method: str) -> Json:
    handler: Callable[..., Any] = rule.route.endpoint
    module = handler.__module__.rpartition(".")[2]
    operation: Json = {
        "operationId": f"{module}.{handler.__name__}" + ("" if "health" not in rule.route.path else rule.route.path),
        "tags": [module],
        "summary": _LEAD.sub("", " ".join((handler.__doc__ or "").split())).rstrip("."),
        "description": _needs(rule.scope),
        "parameters": [*_path_parameters(rule.route.path), *_query_parameters(handler)],
        "responses": {
            "200": {"description": "It worked."},
            "default": {
                "description": "It did not.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if rule.scope == "public":
        operation["security"] = []
    if method in ("POST", "PUT", "PATCH"):
        operation |= _request_body(handler)
    return operation


def _needs(scope: str) -> str:
    if scope == "public":
        return "Needs no key."
    return "Needs a valid key or session." if scope == "anyone" else f"Needs the scope `{scope}`."


def _path_parameters(path: str) -> Iterable[Json]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(handler: Callable[..., Any]) -> Iterable[Json]:
    names = [next(filter(None, found)) for found in _PARAMETER.findall(inspect.getsource(handler))]
    for name in dict.fromkeys(names):
        yield {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}


def _request_body(handler: Callable[..., Any]) -> Json:
    body = BODIES.get(handler)
    if body is not None:
        schema = {"$ref": f"#/components/schemas/{body.__name__}"}
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    if handler.__name__ in ("records", "put"):
        kind = CONTENT_TYPE if handler.__name__ == "records" else "application/octet-stream"
        return {"requestBody": {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}}
    return {}


def _page(described: Json) -> str:
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Rundial: HTTP</title><style>{_STYLE}</style>",
        f"<h1>The HTTP interface of Rundial {html.escape(__version__)}</h1>",
        "<p>As <a href=/api/openapi.json>OpenAPI</a>. Send <code>authorization: Bearer rdk_…</code>.</p>",
    ]
    tag = ""
    operations = [
        (path, method, one) for path, methods in described["paths"].items() for method, one in methods.items()
    ]
    for path, method, operation in sorted(operations, key=lambda found: (found[2]["tags"][0], found[0], found[1])):
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            parts.append(f"<h2>{html.escape(tag)}</h2>")
        parts.append(_details(path, method, operation, described["components"]["schemas"]))
    return "\n".join(parts)


def _details(path: str, method: str, operation: Json, schemas: Json) -> str:
    query = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
    text = html.escape(operation["description"])
    if query:
        text += f" Query: {html.escape(', '.join(query))}."
    body = ""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        shown = msgspec.json.format(msgspec.json.encode(schemas[name]), indent=2).decode() if name else kind
        body = f"<pre>{html.escape(shown)}</pre>"
    summary = (
        f"<b>{method.upper()}</b> <code>{html.escape(path)}</code> <small>{html.escape(operation['summary'])}</small>"
    )
    return f"<details><summary>{summary}</summary><p>{text}</p>{body}</details>"
