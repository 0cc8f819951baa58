"""The guard: one middleware around every route, which lets nothing through that no rule allows.

In this order it checks the Host header (DNS rebinding), the Origin (other sites), the key or session, and the scope
that the route's rule asks for. A path without a rule needs a principal too, so that nobody without one can tell
what exists. It also gives every request its id, every answer the security headers, and turns every exception
into the error envelope.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rundial.server.api.accounts import SESSION_COOKIE
from rundial.server.api.errors import ApiError, envelope, new_request_id
from rundial.server.logging import request_id as current_request
from rundial.server.metrics import PATH as METRICS_PATH
from rundial.server.metrics import UNKNOWN, Answered, Metrics
from rundial.server.rates import Rates
from rundial.server.store.accounts import Accounts, Principal
from rundial.server.store.audit import Audit, Entry
from rundial.server.store.refusal import Refusal

PUBLIC = "public"
"""Rule of a route that anyone may call."""
ANYONE = "anyone"
"""Rule of a route for every valid key and session, whatever its scopes."""

PAGE_POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
SECURITY_HEADERS = (
    (b"content-security-policy", PAGE_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
_NO_STORE = (b"cache-control", b"no-store")
_READS = frozenset({"GET", "HEAD"})
_LONGEST_KEY = 256
_KINDS = {
    "runId": "run",
    "projectId": "project",
    "artifactId": "artifact",
    "keyId": "api_key",
    "agentId": "agent",
    "userId": "user",
    "sweepId": "sweep",
    "ws": "workspace",
    "pj": "project",
}
"""What the audit calls what a path names."""

_log = logging.getLogger("rundial.server")


class Rule(NamedTuple):
    """A route and what it needs: a scope, :data:`ANYONE` or :data:`PUBLIC`."""

    route: Route
    scope: str
    action: str | None = None
    """What the audit calls it: routes that change what is not a run's own data have one."""


class Guard:
    """The middleware.

    Args:
        app: what it protects.
        rules: every route that may be called.
        accounts: knows keys and sessions.
        audit: where changes are written down, allowed and denied ones.
        hosts: the Host headers that are this server's own, lowercase, with port where the address has one.
        metrics: counts what was answered.
        rates: how many requests a key may send.
        metrics_token: lets in whoever asks for the metrics; None or empty lets nobody in.
        files_origin: another origin that the page may get the content of media from.
    """

    def __init__(
        self,
        app: ASGIApp,
        rules: Sequence[Rule],
        accounts: Accounts,
        audit: Audit,
        hosts: frozenset[str],
        metrics: Metrics,
        rates: Rates,
        metrics_token: str | None = None,
        files_origin: str | None = None,
    ) -> None:
        self._app = app
        self._rules = rules
        self._accounts = accounts
        self._audit = audit
        self._hosts = hosts
        self._metrics = metrics
        self._rates = rates
        self._metrics_token = (metrics_token or "").encode()
        self._headers = SECURITY_HEADERS
        if files_origin is not None:
            kinds = ("img-src", "media-src", "connect-src", "frame-src")
            more = "".join(f"; {kind} 'self' {files_origin}" for kind in kinds)
            self._headers = ((SECURITY_HEADERS[0][0], (PAGE_POLICY + more).encode()), *SECURITY_HEADERS[1:])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope["request_id"] = new_request_id()
        current_request.set(request_id)
        begin = time.perf_counter()
        status = 0
        started = False
        extra = [*self._headers, (b"x-request-id", request_id.encode())]
        if scope["path"] != "/" and not scope["path"].startswith("/assets/"):
            extra.append(_NO_STORE)

        async def secured(message: Message) -> None:
            nonlocal started, status
            if message["type"] == "http.response.start":
                status = message["status"]
                if message["status"] < 300 or message["status"] == 403:
                    await self._note(scope, "allowed" if message["status"] < 300 else "denied")
                started = True
                headers = list(message.get("headers", ()))
                own = {name for name, _ in headers}  # a route that serves users' files knows better for them
                message["headers"] = [*headers, *(header for header in extra if header[0] not in own)]
            await send(message)

        try:
            self._admit(scope)
            await self._app(scope, receive, secured)
        except (ApiError, Refusal) as error:
            self._metrics.refused(error.code)
            headers = {"www-authenticate": "Bearer"} if error.status == 401 else None
            await envelope(request_id, error, headers)(scope, receive, secured)
        except Exception:  # the last place before the client, who must not see what went wrong inside
            _log.exception("request %s failed: %s %r", request_id, scope["method"], scope["path"])
            if started:
                raise
            failure = ApiError(500, "The server failed to answer.", "Its log has the reason under this request id.")
            await envelope(request_id, failure)(scope, receive, secured)
        finally:
            self._observe(scope, status, time.perf_counter() - begin)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer and write its line into the log. What the client wrote into its address is in neither."""
        one = Answered(scope["method"], scope.get("route_template", UNKNOWN), status, seconds)
        self._metrics.answered(one)
        if _log.isEnabledFor(logging.INFO):
            fields = {"method": one.method, "route": one.route, "status": status, "ms": round(1000 * seconds, 1)}
            if "principal" in scope:
                fields["principal"] = scope["principal"].id
            _log.info("%s %s %s %.1f ms", one.method, one.route, status, 1000 * seconds, extra={"fields": fields})

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        _check_origin(headers, scope["scheme"])
        rule = self._rule(scope)
        need = None if rule is None else rule.scope
        if need == PUBLIC or (rule is not None and rule.route.path == METRICS_PATH and self._may_scrape(headers)):
            return
        identify = self._credential(headers, scope["method"])
        principal = identify()
        if principal is None:
            raise _unauthorized()
        if (wait := self._rates.take(principal.id)) > 0:
            raise ApiError(
                429, "This key sends too many requests in a second.", "Send fewer and larger ones.", math.ceil(wait)
            )
        workspace = scope.get("audit_path", {}).get("ws")
        scope["principal"] = principal if workspace is None else self._accounts.within(principal, workspace)
        scope["identify"] = identify
        scope["audit_action"] = rule.action if rule is not None else None
        if need not in (None, ANYONE) and not principal.may(need):
            raise ApiError(403, f"This needs the scope {need}.", "Use a key that has it.")

    async def _note(self, scope: Scope, verdict: str) -> None:
        """Write down what was done or denied, before the answer leaves."""
        action = scope.get("audit_action")
        if action is None:
            return
        kind, identity = scope.get("audit_target") or _target(scope)
        entry = Entry(action, verdict, kind, identity, scope["request_id"])
        await asyncio.wrap_future(self._audit.note(scope["principal"], entry))

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise ApiError(
                421,
                "This server does not answer to that Host.",
                "Use its own address, or start it with --allowed-host NAME (or NAME:PORT).",
            )

    def _rule(self, scope: Scope) -> Rule | None:
        """The rule of the request's route, with the parameters of its path noted for the audit."""
        for rule in self._rules:
            found = (
                rule.route.path_regex.match(scope["path"]) if scope["method"] in (rule.route.methods or ()) else None
            )
            if found:
                scope["audit_path"] = found.groupdict()
                scope["route_template"] = rule.route.path
                return rule
        return None

    def _may_scrape(self, headers: Headers) -> bool:
        """Whether the request shows the token of the metrics."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return (
            self._metrics_token != b""
            and scheme.lower() == "bearer"
            and hmac.compare_digest(token.encode("utf-8", "replace"), self._metrics_token)
        )

    def _credential(self, headers: Headers, method: str) -> Callable[[], Principal | None]:
        """How to find out who asks, now and again while a stream is open."""
        authorization = headers.getlist("authorization")
        if len(authorization) > 1:
            raise ApiError(400, "There are two Authorization headers.", "Send one.")
        if authorization:
            scheme, _, key = authorization[0].partition(" ")
            if scheme.lower() != "bearer" or not 0 < len(key) <= _LONGEST_KEY:
                raise _unauthorized()
            return lambda: self._accounts.verify(key)
        session = cookie_parser("; ".join(headers.getlist("cookie"))).get(SESSION_COOKIE)
        if not session or len(session) > _LONGEST_KEY:
            raise _unauthorized()
        _check_same_site(headers, method)
        return lambda: self._accounts.session(session)


def _target(scope: Scope) -> tuple[str, str]:
    """What a request is about, by the last parameter of its path."""
    parameters: dict[str, str] = scope.get("audit_path", {})
    if not parameters:
        return "", ""
    name, identity = list(parameters.items())[-1]
    return _KINDS.get(name, name), identity


def _unauthorized() -> ApiError:
    return ApiError(401, "A valid key is needed.", "Send Authorization: Bearer rdk_..., or run `rundial ui`.")


def _check_origin(headers: Headers, scheme: str) -> None:
    own = f"{scheme}://{headers['host']}".lower()
    if any(origin.lower() != own for origin in headers.getlist("origin")):
        raise ApiError(403, "Pages of another origin may not call this server.", "Open the page at its own address.")


def _check_same_site(headers: Headers, method: str) -> None:
    """A browser sends its cookie along by itself, so a write must also say that our own page asked for it."""
    if method in _READS or "origin" in headers or headers.get("sec-fetch-site") == "same-origin":
        return
    raise ApiError(403, "A session may change things only from its own page.", "Use a key instead.")
