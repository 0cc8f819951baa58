"""API keys of projects."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.accounts import require_workspace
from rundial.server.api.request import principal_of, read_json, store_of
from rundial.server.api.runs import answer

Scopes = Annotated[list[str], Meta(max_length=50)]
Milliseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class NewKey(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/workspaces/{ws}/projects/{pj}/api-keys``."""

    scopes: Scopes
    label: str | None = None
    expires_at_ms: Milliseconds | None = None


async def create(request: Request) -> Response:
    """``POST /api/v1/workspaces/{ws}/projects/{pj}/api-keys``: a new key; its text is in this answer only."""
    require_workspace(request)
    keys, principal, path = store_of(request).keys, principal_of(request), request.path_params
    asked = await read_json(request, NewKey)

    def make() -> Any:
        made = keys.create(principal, path["pj"], asked.scopes, asked.label or "", asked.expires_at_ms)
        request.scope["audit_target"] = ("api_key", made["keyId"])
        return made

    return await answer(make)


async def of_project(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/projects/{pj}/api-keys``: the keys of a project, revoked ones too."""
    require_workspace(request)
    keys, principal, path = store_of(request).keys, principal_of(request), request.path_params

    def find() -> Any:
        found = keys.of_project(principal, path["pj"])
        return None if found is None else {"keys": found}

    return await answer(find)


async def revoke(request: Request) -> Response:
    """``POST /api/v1/workspaces/{ws}/projects/{pj}/api-keys/{keyId}/revoke``: make a key worthless at once."""
    require_workspace(request)
    keys, principal, path = store_of(request).keys, principal_of(request), request.path_params
    return await answer(lambda: keys.revoke(principal, path["pj"], path["keyId"]))
