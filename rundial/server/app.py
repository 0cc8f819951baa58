"""The server as an ASGI app: its routes with the scope each needs, its page, and how it starts and stops."""

from __future__ import annotations

import asyncio
import mimetypes
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from rundial.server import health, limits
from rundial.server.api import (
    accounts,
    agents,
    alerts,
    artifact_files,
    artifacts,
    audit,
    blobs,
    control,
    deleted,
    evals,
    ingest,
    keys,
    logs,
    media,
    openapi,
    query,
    runs,
    stream,
    sweeps,
    traces,
    users,
    wire,
)
from rundial.server.api.errors import answer_http_exception, not_found
from rundial.server.auth import ANYONE, PUBLIC, Guard, Rule
from rundial.server.connections import TAKEN_AT_ONCE, Connection, let_wait, most_connections
from rundial.server.logging import LogFormat, LogLevel, configure
from rundial.server.metrics import PATH as METRICS_PATH
from rundial.server.metrics import Metrics, metrics
from rundial.server.rates import Rates
from rundial.server.store import Store

STATIC = Path(__file__).with_name("static")
KEEP_ALIVE_SECONDS = 20
"""Longer than the 15 s between two heartbeats of a quiet run, so that it keeps its connection."""
HEAD_SECONDS = 15.0
"""How long the head of a first request may take; that of a later one has a little longer than a connection may idle."""
STALL_SECONDS = 30.0
"""How long a client may take nothing of an answer that waits for it."""
_WILDCARDS = ("0.0.0.0", "::", "")
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}
_UNBUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Rundial</title>
<h1>Rundial is running</h1>
<p>The HTTP interface works and takes in runs. The page itself is not built yet: run <code>make ui</code> in the clone
of the repository (it needs Node 20), install it again if it was not installed from there with <code>make setup</code>,
then load this address again.</p></html>"""


@dataclass(frozen=True, slots=True)
class ServerSettings(limits.Limits):
    """How a server is run, with its limits. Sizes in bytes."""

    host: str
    port: int
    """The port that is really bound, never 0: the Host check needs it."""
    data: Path
    allowed_hosts: tuple[str, ...] = ()
    """Names besides the local ones that the server answers to, ``NAME`` or ``NAME:PORT``."""
    artifacts: str | None = None
    """``s3://BUCKET/PREFIX`` for the files of artifacts and media; None for the folder."""
    metrics_token: str | None = None
    """Lets in whoever asks for ``/metrics``."""
    log_format: LogFormat = "text"
    log_level: LogLevel = "warning"

    def hosts(self) -> frozenset[str]:
        """Every Host header this server answers to."""
        names = ["127.0.0.1", "localhost", "[::1]", *self.allowed_hosts]
        if self.host not in _WILDCARDS:
            names.append(f"[{self.host}]" if ":" in self.host else self.host)
        hosts = {f"{name}:{self.port}".lower() for name in names} | {name.lower() for name in self.allowed_hosts}
        if self.port == 80:
            hosts.update(name.lower() for name in names)
        return frozenset(hosts)


async def page(request: Request) -> Response:
    """``GET /``: the page, which finds its own way by what stands behind the ``#``."""
    index = STATIC / "index.html"
    text = index.read_text(encoding="utf-8") if index.is_file() else _UNBUILT
    return HTMLResponse(text, headers={"cache-control": "no-cache"})


async def asset(request: Request) -> Response:
    """``GET /assets/{name}``: a built file. Names carry a hash of the content, so browsers may keep them for ever."""
    folder = STATIC / "assets"
    # The name is compared with what is there and never becomes a path.
    known = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    path = known.get(request.path_params["name"])
    if path is None or not path.is_file():
        raise not_found()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Response(path.read_bytes(), headers=_FOR_EVER, media_type=kind)


_API = "/api/v1"
_WORKSPACE = f"{_API}/workspaces/{{ws}}"
_PROJECT = f"{_WORKSPACE}/projects/{{pj}}"
_NEW_KEY = "api_key.create"

RULES = (
    Rule(Route(f"{_API}/ingest/records", ingest.records, methods=["POST"]), "metrics:write"),
    Rule(Route(f"{_API}/ingest/metrics", wire.metrics, methods=["POST"]), "metrics:write"),
    Rule(Route(f"{_API}/ingest/logs", wire.logs, methods=["POST"]), ANYONE),
    Rule(Route(f"{_API}/ingest/traces", wire.traces, methods=["POST"]), ANYONE),
    Rule(Route(f"{_API}/runs/resolve-target", wire.resolve_target, methods=["POST"]), ANYONE),
    Rule(Route(f"{_API}/runs/start", wire.start, methods=["POST"]), "metrics:write"),
    Rule(Route(f"{_API}/runs/{{runId}}/status", wire.status, methods=["POST"]), "metrics:write"),
    Rule(Route(f"{_API}/runs/{{runId}}/config", wire.config, methods=["POST"]), "metrics:write"),
    Rule(Route(f"{_API}/ingest/media", media.ingest, methods=["POST"]), ANYONE),
    Rule(Route(f"{_API}/artifacts/initiate", artifacts.initiate, methods=["POST"]), ANYONE),
    Rule(Route(f"{_API}/artifacts/finalize", artifacts.finalize, methods=["POST"]), ANYONE),
    Rule(Route(f"{_API}/artifacts/use", artifacts.use, methods=["POST"]), ANYONE),
    Rule(Route(f"{_API}/artifacts/download", artifacts.download, methods=["POST"]), ANYONE),
    Rule(Route(f"{_API}/artifacts/{{artifactId}}", artifacts.artifact), "project:read"),
    Rule(
        Route(f"{_API}/artifacts/{{artifactId}}", artifacts.delete, methods=["DELETE"]),
        "artifacts:write",
        "artifact.delete",
    ),
    Rule(
        Route(f"{_API}/artifacts/{{artifactId}}/aliases", artifacts.aliases, methods=["POST"]),
        "artifacts:write",
        "artifact.aliases",
    ),
    Rule(Route(f"{_API}/artifacts/{{artifactId}}/content", artifact_files.content), "project:read"),
    Rule(Route(f"{_API}/artifacts/{{artifactId}}/archive", artifact_files.archive), "project:read"),
    Rule(Route(f"{_API}/projects/{{projectId}}/artifacts", artifacts.of_project), "project:read"),
    Rule(Route(f"{_API}/runs/{{runId}}/artifacts", artifacts.of_run), "project:read"),
    Rule(Route(f"{_API}/runs/{{runId}}/media", media.of_run), "project:read"),
    Rule(Route(f"{_API}/runs/{{runId}}/media/{{mediaId}}", media.content), "project:read"),
    Rule(Route(f"{_API}/blobs/{{uploadId}}/{{sha256}}", blobs.put, methods=["PUT"]), PUBLIC),
    Rule(Route(f"{_API}/blobs/{{artifactId}}/{{sha256}}", blobs.get), PUBLIC),
    Rule(Route(f"{_API}/query/buckets", query.buckets, methods=["POST"]), "project:read"),
    Rule(Route(f"{_API}/query/markers", query.markers, methods=["POST"]), "project:read"),
    Rule(Route(f"{_API}/query/media", media.of_runs, methods=["POST"]), "project:read"),
    Rule(Route(f"{_API}/query/series", query.series, methods=["POST"]), "project:read"),
    Rule(Route(f"{_API}/query/logs", logs.query, methods=["POST"]), "project:read"),
    Rule(Route(f"{_API}/export/metrics", wire.export_metrics, methods=["POST"]), "project:read"),
    Rule(Route(f"{_API}/export/logs", logs.export, methods=["POST"]), "project:read"),
    Rule(Route(f"{_API}/query/traces", traces.query, methods=["POST"]), "project:read"),
    Rule(Route(f"{_API}/query/evals/results", evals.results, methods=["POST"]), "project:read"),
    Rule(Route(f"{_API}/query/evals/diff", evals.diff, methods=["POST"]), "project:read"),
    Rule(Route(f"{_API}/evals/suites", evals.create_suite, methods=["POST"]), "evals:write"),
    Rule(Route(f"{_API}/evals/runs", evals.create_run, methods=["POST"]), "evals:write"),
    Rule(Route(f"{_API}/evals/results", evals.take, methods=["POST"]), "evals:write"),
    Rule(Route(f"{_API}/metrics/keys", query.keys), "project:read"),
    Rule(Route(f"{_API}/stream", stream.stream), "stream:read"),
    Rule(Route(f"{_API}/runs/edit", runs.edit_many, methods=["POST"]), "project:write", "runs.edit"),
    Rule(Route(f"{_API}/runs/delete", runs.delete, methods=["POST"]), "project:write", "runs.delete"),
    Rule(Route(f"{_API}/runs/restore", runs.restore, methods=["POST"]), "project:write", "runs.restore"),
    Rule(Route(f"{_API}/runs/{{runId}}", runs.edit, methods=["PATCH"]), "project:write", "run.edit"),
    Rule(Route(f"{_API}/runs/{{runId}}", runs.run), "project:read"),
    Rule(Route(f"{_API}/runs/{{runId}}/markers", runs.markers), "project:read"),
    Rule(Route(f"{_API}/runs/{{runId}}/dials", control.dials), "project:read"),
    Rule(Route(f"{_API}/runs/{{runId}}/commands", control.commands), "project:read"),
    Rule(Route(f"{_API}/runs/{{runId}}/commands", control.send, methods=["POST"]), "control:write", "command.send"),
    Rule(Route(f"{_API}/runs/{{runId}}/commands/{{commandId}}", control.command), "project:read"),
    Rule(Route(f"{_API}/projects/{{projectId}}/alerts", alerts.of_project), "project:read"),
    Rule(Route(f"{_API}/projects/{{projectId}}/deleted", deleted.of_project), "project:read"),
    Rule(Route(f"{_API}/projects/{{projectId}}/control", control.state), "project:read"),
    Rule(Route(f"{_API}/projects/{{projectId}}/control", control.switch, methods=["PUT"]), "admin", "control.switch"),
    Rule(Route(f"{_API}/ingest/commands", control.wait, methods=["POST"]), "metrics:write"),
    Rule(Route(f"{_API}/runs/{{runId}}/traces/{{traceId}}", traces.trace), "project:read"),
    Rule(Route(f"{_API}/runs/{{runId}}/evals", evals.of_run), "project:read"),
    Rule(Route(f"{_API}/projects/{{projectId}}/evals", evals.suites), "project:read"),
    Rule(Route(f"{_API}/workspaces", runs.workspaces), "project:read"),
    Rule(Route(f"{_API}/workspaces", accounts.create_workspace, methods=["POST"]), "admin", "workspace.create"),
    Rule(Route(f"{_WORKSPACE}/projects", runs.projects), "project:read"),
    Rule(Route(f"{_WORKSPACE}/projects", accounts.create_project, methods=["POST"]), "project:write", "project.create"),
    Rule(Route(f"{_WORKSPACE}/agents", agents.of_workspace), "admin"),
    Rule(Route(f"{_WORKSPACE}/agents", agents.create, methods=["POST"]), "admin", "agent.create"),
    Rule(Route(f"{_WORKSPACE}/agents/{{agentId}}/revoke", agents.revoke, methods=["POST"]), "admin", "agent.revoke"),
    Rule(Route(f"{_WORKSPACE}/agents/{{agentId}}/api-keys", agents.keys_of), "admin"),
    Rule(Route(f"{_WORKSPACE}/agents/{{agentId}}/api-keys", agents.create_key, methods=["POST"]), "admin", _NEW_KEY),
    Rule(Route(f"{_WORKSPACE}/audit", audit.events), "admin"),
    Rule(Route(f"{_WORKSPACE}/users", users.of_workspace), "admin"),
    Rule(Route(f"{_WORKSPACE}/users", users.create, methods=["POST"]), "admin", "user.create"),
    Rule(Route(f"{_WORKSPACE}/users/{{userId}}/role", users.change_role, methods=["POST"]), "admin", "user.role"),
    Rule(Route(f"{_WORKSPACE}/users/{{userId}}/links", users.invite, methods=["POST"]), "admin", "user.invite"),
    Rule(Route(f"{_WORKSPACE}/users/{{userId}}/remove", users.remove, methods=["POST"]), "admin", "user.remove"),
    Rule(Route(f"{_PROJECT}/api-keys", keys.of_project), "admin"),
    Rule(Route(f"{_PROJECT}/api-keys", keys.create, methods=["POST"]), "admin", _NEW_KEY),
    Rule(Route(f"{_PROJECT}/api-keys/{{keyId}}/revoke", keys.revoke, methods=["POST"]), "admin", "api_key.revoke"),
    Rule(Route(f"{_PROJECT}/runs/query", runs.query), "project:read"),
    Rule(Route(f"{_PROJECT}/runs/{{runId}}", runs.project_run), "project:read"),
    Rule(Route(f"{_PROJECT}/sweeps", sweeps.of_project), "project:read"),
    Rule(Route(f"{_PROJECT}/sweeps/{{sweepId}}", sweeps.sweep), "project:read"),
    Rule(Route(f"{_PROJECT}/sweeps/{{sweepId}}", sweeps.put, methods=["PUT"]), "metrics:write"),
    Rule(Route(f"{_PROJECT}/sweeps/{{sweepId}}/ask", sweeps.ask, methods=["POST"]), "metrics:write"),
    Rule(Route(f"{_PROJECT}/sweeps/{{sweepId}}/state", sweeps.turn, methods=["POST"]), "control:write", "sweep.state"),
    Rule(Route(f"{_API}/auth/whoami", accounts.whoami), ANYONE),
    Rule(Route(f"{_API}/auth/links", accounts.links, methods=["POST"]), "admin", "login_link.create"),
    Rule(Route(f"{_API}/auth/login/link", accounts.login, methods=["POST"]), PUBLIC),
    Rule(Route(f"{_API}/auth/login/credentials", users.log_in, methods=["POST"]), PUBLIC),
    Rule(Route(f"{_API}/auth/password", users.set_password, methods=["POST"]), ANYONE, "user.password"),
    Rule(Route(f"{_API}/auth/logout", accounts.logout, methods=["POST"]), ANYONE, "session.end"),
    Rule(Route(f"{_API}/cli/capabilities", accounts.capabilities), ANYONE),
    Rule(Route("/api/openapi.json", openapi.document), ANYONE),
    Rule(Route("/api/docs", openapi.page), ANYONE),
    Rule(Route("/health/live", health.live), PUBLIC),
    Rule(Route("/health/ready", health.ready), PUBLIC),
    Rule(Route(METRICS_PATH, metrics), "admin"),
    Rule(Route("/", page), PUBLIC),
    Rule(Route("/assets/{name}", asset), PUBLIC),
)
"""Every route and what it needs. A route that is not here does not exist."""


def prepare(settings: ServerSettings) -> None:
    """Set up this process: its log, and those limits that hold for all of it. To be called before the store opens."""
    configure(settings.log_format, settings.log_level)
    limits.apply(settings)


def create_app(store: Store, settings: ServerSettings) -> Starlette:
    """The app over an open store. The caller closes the store after the server has stopped."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        live = asyncio.create_task(app.state.hub.run())
        yield
        live.cancel()
        with suppress(asyncio.CancelledError):
            await live

    counts = Metrics()
    guard = Middleware(
        Guard,
        rules=RULES,
        accounts=store.accounts,
        audit=store.audit,
        hosts=settings.hosts(),
        metrics=counts,
        rates=Rates(settings.requests_per_second),
        metrics_token=settings.metrics_token,
        files_origin=store.blobs.origin,
    )
    app = Starlette(
        routes=[rule.route for rule in RULES],
        middleware=[guard],
        exception_handlers={HTTPException: answer_http_exception},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.store = store
    app.state.settings = settings
    app.state.rules = RULES
    app.state.metrics = counts
    app.state.health = health.Health(store)
    app.state.hub = stream.Hub(store, settings.streams_per_key)
    app.state.waiters = control.Waiters(store)
    return app


class Server(uvicorn.Server):
    """uvicorn around the app; it calls ``ready`` once it listens and ends the open streams before it stops."""

    def __init__(self, app: Starlette, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,  # the log is that of rundial.server.logging
            lifespan="on",
            # h11 bounds the head of a request; httptools, where it is installed, does not.
            http=type("Bounded", (Connection,), {"most": most_connections()}),
            backlog=TAKEN_AT_ONCE,
            ws="none",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=2,
        )
        super().__init__(config)
        self._app = app
        self._ready = ready
        self._idle: dict[Any, tuple[Any, float]] = {}
        self._unread: dict[Any, tuple[int, float]] = {}

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            for server in self.servers:
                let_wait(server)
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            self._close_stalled()
        return await super().on_tick(counter)

    def _close_stalled(self) -> None:
        """Close connections that never finish a head, or never take their answer; uvicorn would wait for ever."""
        now = time.monotonic()
        idle: dict[Any, tuple[Any, float]] = {}
        unread: dict[Any, tuple[int, float]] = {}
        for connection in self.server_state.connections:
            waiting = connection.transport.get_write_buffer_size()
            if waiting:
                size, since = self._unread.get(connection, (waiting, now))
                unread[connection] = (waiting, since if size == waiting else now)
            last_request = getattr(connection, "cycle", None)
            if last_request is None or last_request.response_complete:
                known, since = self._idle.get(connection, (last_request, now))
                idle[connection] = (last_request, since if known is last_request else now)
        self._idle, self._unread = idle, unread
        later = HEAD_SECONDS + KEEP_ALIVE_SECONDS
        late = [it for it, (last, since) in idle.items() if now - since > (later if last else HEAD_SECONDS)]
        for connection in [*late, *(it for it, (_, since) in unread.items() if now - since > STALL_SECONDS)]:
            connection.transport.abort()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._app.state.health.stopping = True
        self._app.state.hub.close()
        self._app.state.waiters.close()
        await super().shutdown(sockets=sockets)
