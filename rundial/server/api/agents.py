"""Agents and their keys."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.accounts import require_workspace
from rundial.server.api.errors import ApiError
from rundial.server.api.keys import Milliseconds, Scopes
from rundial.server.api.request import integer, principal_of, read_json, store_of
from rundial.server.api.runs import MAX_PAGE, answer, page_of
from rundial.server.store.keys import DEFAULT_SCOPES


class NewAgent(Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/v1/workspaces/{ws}/agents``."""

    name: str


class NewAgentKey(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/workspaces/{ws}/agents/{agentId}/api-keys``."""

    project_slug: str
    scopes: Scopes | None = None
    label: str | None = None
    expires_at_ms: Milliseconds | None = None


async def create(request: Request) -> Response:
    """``POST /api/v1/workspaces/{ws}/agents``: a new agent."""
    require_workspace(request, whole=True)
    agents, principal = store_of(request).agents, principal_of(request)
    asked = await read_json(request, NewAgent)

    def make() -> Any:
        made = agents.create(principal, asked.name)
        request.scope["audit_target"] = ("agent", made["agentId"])
        return made

    return await answer(make)


async def of_workspace(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/agents``: agents, all or those of one status."""
    require_workspace(request, whole=True)
    agents, principal, asked = store_of(request).agents, principal_of(request), request.query_params
    status = asked.get("status") or None
    if status not in (None, "active", "revoked"):
        raise ApiError(400, "status must be active or revoked.", "Leave it out for both.")
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), asked.get("cursor")
    return await answer(lambda: page_of("agents", agents.list(principal, status=status, limit=limit, cursor=cursor)))


async def revoke(request: Request) -> Response:
    """``POST /api/v1/workspaces/{ws}/agents/{agentId}/revoke``: make an agent and its keys worthless at once."""
    require_workspace(request, whole=True)
    agents, principal, agent_id = store_of(request).agents, principal_of(request), request.path_params["agentId"]
    return await answer(lambda: agents.revoke(principal, agent_id))


async def create_key(request: Request) -> Response:
    """``POST /api/v1/workspaces/{ws}/agents/{agentId}/api-keys``: a key of an agent, shown in this answer only."""
    require_workspace(request, whole=True)
    keys, principal, agent_id = store_of(request).keys, principal_of(request), request.path_params["agentId"]
    asked = await read_json(request, NewAgentKey)
    scopes = DEFAULT_SCOPES if asked.scopes is None else asked.scopes

    def make() -> Any:
        made = keys.create(principal, asked.project_slug, scopes, asked.label or "", asked.expires_at_ms, agent_id)
        request.scope["audit_target"] = ("api_key", made["keyId"])
        return made

    return await answer(make)


async def keys_of(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/agents/{agentId}/api-keys``: the keys of an agent, revoked ones too."""
    require_workspace(request, whole=True)
    keys, principal, agent_id = store_of(request).keys, principal_of(request), request.path_params["agentId"]

    def find() -> Any:
        found = keys.of_agent(principal, agent_id)
        return None if found is None else {"keys": found, "page": {"hasMore": False, "nextCursor": None}}

    return await answer(find)
