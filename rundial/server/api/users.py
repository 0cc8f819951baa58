"""Users of a workspace, and how they sign in with a password."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.accounts import require_workspace, signed_in
from rundial.server.api.errors import ApiError
from rundial.server.api.request import base_url, integer, principal_of, read_json, store_of
from rundial.server.api.runs import MAX_PAGE, answer, page_of
from rundial.server.store.audit import Entry

LOGINS_AT_ONCE = 4
"""Others wait on the event loop: a flood of logins must not take every thread of the pool."""
Role = Literal["owner", "member", "viewer"]


class Credentials(Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/v1/auth/login/credentials``."""

    email: str
    password: str


class NewPassword(Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/v1/auth/password``."""

    password: str
    current: str | None = None


class NewUser(Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/v1/workspaces/{ws}/users``."""

    email: str
    name: str = ""
    role: Role = "member"
    password: str | None = None


class NewRole(Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/v1/workspaces/{ws}/users/{userId}/role``."""

    role: Role


async def log_in(request: Request) -> Response:
    """``POST /api/v1/auth/login/credentials``: a password becomes a session cookie."""
    store = store_of(request)
    asked = await read_json(request, Credentials)
    address = request.client.host if request.client else ""
    state = request.app.state
    if not hasattr(state, "logins"):
        state.logins = asyncio.Semaphore(LOGINS_AT_ONCE)
    async with state.logins:
        login = await run_in_threadpool(store.users.log_in, asked.email, asked.password, address)
    if login.workspace_id is not None and login.user_id is not None:
        verdict = "denied" if login.session is None else "allowed"
        entry = Entry("session.create", verdict, "user", login.user_id, request.scope["request_id"])
        await asyncio.wrap_future(store.audit.note_login(login.workspace_id, login.user_id, entry))
    if login.session is None:
        raise ApiError(401, "The email address or the password is wrong.", "An owner can give you a login link.")
    return signed_in(request, login.session)


async def set_password(request: Request) -> Response:
    """``POST /api/v1/auth/password``: set one's own password."""
    users, principal = store_of(request).users, principal_of(request)
    asked = await read_json(request, NewPassword)
    return await answer(lambda: {"user": users.set_password(principal, asked.current, asked.password)})


async def create(request: Request) -> Response:
    """``POST /api/v1/workspaces/{ws}/users``: a new user, with a login link for the first time."""
    require_workspace(request, whole=True)
    users, principal = store_of(request).users, principal_of(request)
    asked = await read_json(request, NewUser)
    return await answer(
        lambda: _invited(request, *users.create(principal, asked.email, asked.name, asked.role, asked.password))
    )


async def of_workspace(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/users``: the users of a workspace."""
    require_workspace(request, whole=True)
    users, principal = store_of(request).users, principal_of(request)
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), request.query_params.get("cursor")
    return await answer(lambda: page_of("users", users.list(principal, limit=limit, cursor=cursor)))


async def change_role(request: Request) -> Response:
    """``POST /api/v1/workspaces/{ws}/users/{userId}/role``: give a user another role."""
    require_workspace(request, whole=True)
    users, principal, user_id = store_of(request).users, principal_of(request), request.path_params["userId"]
    asked = await read_json(request, NewRole)
    return await answer(lambda: {"user": users.change_role(principal, user_id, asked.role)})


async def invite(request: Request) -> Response:
    """``POST /api/v1/workspaces/{ws}/users/{userId}/links``: another login link for a user."""
    require_workspace(request, whole=True)
    users, principal, user_id = store_of(request).users, principal_of(request), request.path_params["userId"]
    return await answer(lambda: _invited(request, *users.invite(principal, user_id)))


async def remove(request: Request) -> Response:
    """``POST /api/v1/workspaces/{ws}/users/{userId}/remove``: take an account and its sessions away."""
    require_workspace(request, whole=True)
    users, principal, user_id = store_of(request).users, principal_of(request), request.path_params["userId"]
    return await answer(lambda: {"user": users.remove(principal, user_id)})


def _invited(request: Request, user: dict[str, Any], token: str, expires_ms: int) -> dict[str, Any]:
    request.scope["audit_target"] = ("user", user["userId"])
    return {"user": user, "token": token, "url": f"{base_url(request)}/#/login/{token}", "expiresAtMs": expires_ms}
