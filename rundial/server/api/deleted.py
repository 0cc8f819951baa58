"""The deleted runs of a project."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.request import integer, principal_of, store_of
from rundial.server.api.runs import MAX_PAGE, answer, page_of


async def of_project(request: Request) -> Response:
    """``GET /api/v1/projects/{projectId}/deleted``: runs that can still be restored, the last deleted first."""
    deleted, principal, project = store_of(request).deleted, principal_of(request), request.path_params["projectId"]
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), request.query_params.get("cursor")
    return await answer(lambda: page_of("runs", deleted.of_project(principal, project, limit=limit, cursor=cursor)))
