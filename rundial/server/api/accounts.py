"""Who is asking, and how a person gets from a terminal into the page."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.events import PROTOCOL
from rundial.server.api.errors import ApiError
from rundial.server.api.request import base_url, principal_of, read_json, store_of
from rundial.server.store.accounts import SESSION_MILLISECONDS
from rundial.version import __version__

SESSION_COOKIE = "rd_session"


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/v1/auth/login/link``."""

    token: str


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def whoami(request: Request) -> Response:
    """``GET /api/v1/auth/whoami``"""
    principal = principal_of(request)
    return _json(
        {
            "authenticated": True,
            "principal": principal.kind,
            "workspaceSlug": principal.workspace_slug,
            "scopes": sorted(principal.scopes),
            "keyId": principal.id,
            "label": principal.label,
        }
    )


async def links(request: Request) -> Response:
    """``POST /api/v1/auth/links``: a login link, good once."""
    token, expires_ms = await run_in_threadpool(store_of(request).accounts.create_link, principal_of(request))
    return _json({"token": token, "url": f"{base_url(request)}/#/login/{token}", "expiresAtMs": expires_ms})


async def login(request: Request) -> Response:
    """``POST /api/v1/auth/login/link``: a link's token becomes a session cookie."""
    asked = await read_json(request, Login)
    session = await run_in_threadpool(store_of(request).accounts.redeem_link, asked.token)
    if session is None:
        raise ApiError(401, "This login link is unknown, used or expired.", "Run `rundial ui` for a new one.")
    answer = _json({"authenticated": True})
    answer.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=SESSION_MILLISECONDS // 1000,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


async def logout(request: Request) -> Response:
    """``POST /api/v1/auth/logout``: ends the session and clears its cookie."""
    session = request.cookies.get(SESSION_COOKIE)
    if session is not None and principal_of(request).kind == "user":
        await run_in_threadpool(store_of(request).accounts.end_session, session)
    answer = _json({"authenticated": False})
    answer.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
    return answer


async def capabilities(request: Request) -> Response:
    """``GET /api/v1/cli/capabilities``: what this server understands."""
    return _json({"version": __version__, "protocol": PROTOCOL, "records": True})
