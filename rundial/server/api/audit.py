"""The audit of a workspace."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.accounts import require_workspace
from rundial.server.api.errors import ApiError
from rundial.server.api.request import integer, principal_of, store_of
from rundial.server.api.runs import MAX_PAGE, answer, page_of
from rundial.server.store.audit import ACTORS


async def events(request: Request) -> Response:
    """``GET /api/v1/workspaces/{ws}/audit``: who changed what, newest first."""
    require_workspace(request, whole=True)
    audit, principal, asked = store_of(request).audit, principal_of(request), request.query_params
    kind, agent_id, cursor = asked.get("actorKind") or None, asked.get("agentId") or None, asked.get("cursor")
    if kind is not None and kind not in ACTORS:
        raise ApiError(400, f"actorKind must be one of {', '.join(ACTORS)}.", "Leave it out for all.")
    limit = integer(request, "limit", 50, MAX_PAGE)
    return await answer(
        lambda: page_of(
            "events", audit.events(principal, limit=limit, cursor=cursor or None, agent_id=agent_id, actor_kind=kind)
        )
    )
