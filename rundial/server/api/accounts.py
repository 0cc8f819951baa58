"""Who is asking, and how a person gets from a terminal into the page."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.events import PROTOCOL
from rundial.server.api.errors import ApiError, not_found
from rundial.server.api.request import base_url, principal_of, read_json, store_of
from rundial.server.api.runs import answer
from rundial.server.store.accounts import SESSION_MILLISECONDS
from rundial.version import __version__

SESSION_COOKIE = "rd_session"


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/v1/auth/login/link``."""

    token: str


class NewWorkspace(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/v1/workspaces``."""

    slug: str
    name: str | None = None


class NewProject(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/v1/workspaces/{ws}/projects``."""

    slug: str
    name: str | None = None


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def require_workspace(request: Request, whole: bool = False) -> None:
    """Raise :class:`ApiError` unless the ``{ws}`` of the path is the caller's.

    With ``whole`` a key that is bound to one project is refused (403): what it asks for is the whole workspace's.
    """
    principal = principal_of(request)
    if request.path_params["ws"] not in (principal.workspace_slug, principal.workspace_id):
        raise not_found()
    if whole and principal.project_id is not None:
        raise ApiError(403, "This key is bound to one project.", "Use a key of the workspace.")


def signed_in(request: Request, session: str) -> Response:
    """The answer that hands a browser its session."""
    answered = _json({"authenticated": True})
    answered.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=SESSION_MILLISECONDS // 1000,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answered


async def whoami(request: Request) -> Response:
    """``GET /api/v1/auth/whoami``: who asks, and what they may."""
    principal = principal_of(request)
    found = {
        "authenticated": True,
        "principal": principal.kind,
        "workspaceId": principal.workspace_id,
        "workspaceSlug": principal.workspace_slug,
        "projectId": principal.project_id,
        "scopes": sorted(principal.scopes),
        "keyId": principal.id,
        "label": principal.label,
    }
    if principal.kind == "user":
        found["user"] = await run_in_threadpool(store_of(request).users.of_session, principal)
    return _json(found)


async def create_workspace(request: Request) -> Response:
    """``POST /api/v1/workspaces``: a new workspace with its owner's key, whose text is in this answer only."""
    workspaces, principal = store_of(request).workspaces, principal_of(request)
    asked = await read_json(request, NewWorkspace)

    def make() -> Any:
        made = workspaces.create(principal, asked.slug, asked.name or asked.slug)
        request.scope["audit_target"] = ("workspace", made["workspaceId"])
        return made

    return await answer(make)


async def create_project(request: Request) -> Response:
    """``POST /api/v1/workspaces/{ws}/projects``: a new project."""
    workspaces, principal, workspace = store_of(request).workspaces, principal_of(request), request.path_params["ws"]
    asked = await read_json(request, NewProject)

    def make() -> Any:
        made = workspaces.create_project(principal, workspace, asked.slug, asked.name or asked.slug)
        request.scope["audit_target"] = ("project", made["projectId"])
        return made

    return await answer(make)


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
    return signed_in(request, session)


async def logout(request: Request) -> Response:
    """``POST /api/v1/auth/logout``: ends the session and clears its cookie."""
    session = request.cookies.get(SESSION_COOKIE)
    if session is not None and principal_of(request).kind == "user":
        await run_in_threadpool(store_of(request).accounts.end_session, session)
    answered = _json({"authenticated": False})
    answered.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
    return answered


async def capabilities(request: Request) -> Response:
    """``GET /api/v1/cli/capabilities``: what this server understands."""
    return _json({"version": __version__, "protocol": PROTOCOL, "records": True, "json": True})
