"""Errors as HTTP answers: one envelope, the same for every route.

``{"requestId": "...", "error": {"code": "NOT_FOUND", "message": "...", "details": {"hint": "..."}}}``
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rundial.errors import RundialError
from rundial.server.store.refusal import Refusal

_CODES = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 409: "CONFLICT", 413: "PAYLOAD_TOO_LARGE"}
_CODES |= {415: "UNSUPPORTED_ENCODING", 429: "RATE_LIMITED", 500: "INTERNAL_ERROR", 503: "UNAVAILABLE"}


class ApiError(RundialError):
    """A request that is answered with an error.

    Args:
        status: HTTP status; the code of the envelope follows from it, ``INVALID_REQUEST`` where none is its own.
        message: what is wrong, a whole sentence.
        hint: what to do about it.
        retry_after: seconds after which a 429 or 503 may be different.
    """

    def __init__(self, status: int, message: str, hint: str = "", retry_after: int = 1) -> None:
        super().__init__(message)
        self.status = status
        self.code = _CODES.get(status, "INVALID_REQUEST")
        self.message = message
        self.hint = hint
        self.retry_after = retry_after


def not_found() -> ApiError:
    """The one answer for what does not exist and for what the caller may not see."""
    return ApiError(404, "There is nothing here, or this key may not see it.", "Check the id and the key's workspace.")


def envelope(request_id: str, error: ApiError | Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """An error as the answer to the request ``request_id``."""
    body: dict[str, Any] = {
        "requestId": request_id,
        "error": {"code": error.code, "message": error.message, "details": {"hint": error.hint}},
    }
    if error.status in (429, 503):
        headers = {**(headers or {}), "retry-after": str(error.retry_after)}
    return Response(msgspec.json.encode(body), error.status, headers, "application/json")


def new_request_id() -> str:
    """A random id that connects an answer with the server's log."""
    return secrets.token_hex(8)


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for what the router itself refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return envelope(request.scope["request_id"], not_found())
    refusal = ApiError(error.status_code, f"{error.detail}.", "docs/http.md lists the routes and their methods.")
    return envelope(request.scope["request_id"], refusal, error.headers)
