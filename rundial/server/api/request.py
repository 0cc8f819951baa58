"""What a route reads from its request: who asks, query parameters, and a body that is bounded while it arrives."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any, TypeVar, cast

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from rundial.server.api.errors import ApiError
from rundial.server.store import Store
from rundial.server.store.accounts import Principal

BODY_SECONDS = 60
"""A body that takes longer to arrive is given up, so that slow senders do not collect."""
JSON_BYTES = 1024 * 1024
INLINE_BYTES = 64 * 1024
"""Up to this many bytes work is done on the event loop: a hop to a thread would cost more than it frees."""
INLINE_GZIP_BYTES = 16 * 1024
"""The same for bytes to be inflated, which may become a thousand times as many."""

T = TypeVar("T")


def store_of(request: Request) -> Store:
    """The store behind this app."""
    return cast(Store, request.app.state.store)


def principal_of(request: Request) -> Principal:
    """Who asks, as the guard found out."""
    return cast(Principal, request.scope["principal"])


def base_url(request: Request) -> str:
    """The server's own address as the caller wrote it; the guard has checked its host."""
    return f"{request.scope['scheme']}://{request.headers['host']}"


def integer(request: Request, name: str, default: int, maximum: int) -> int:
    """The query parameter ``name`` as a number from 1 to ``maximum``. Raises :class:`ApiError` 400."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= maximum:
        return int(text)
    raise ApiError(400, f"{name} must be a whole number from 1 to {maximum}.", f"Leave it out for {default}.")


def choice(request: Request, name: str, allowed: tuple[str, ...], default: str) -> str:
    """The query parameter ``name``, one of ``allowed``. Raises :class:`ApiError` 400."""
    text = request.query_params.get(name, default)
    if text not in allowed:
        raise ApiError(400, f"{name} must be one of {', '.join(allowed)}.", f"Leave it out for {default}.")
    return text


async def read_body(request: Request, limit: int, inflated_limit: int) -> bytes:
    """The body, inflated when it is gzip.

    ``limit`` and ``inflated_limit`` are bytes on the wire and after inflation. Raises :class:`ApiError`: 413 beyond
    a limit (before the rest is read), 415 for another encoding, 400 for damaged gzip, 408 when it does not arrive.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise ApiError(415, "The content-encoding is not supported.", "Send gzip or no content-encoding at all.")
    body = await _receive(request, limit)
    if encoding != "gzip":
        return body
    if len(body) <= INLINE_GZIP_BYTES:
        return _inflate(body, inflated_limit)
    return await run_in_threadpool(_inflate, body, inflated_limit)


async def _receive(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > limit):
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
    except TimeoutError:
        raise ApiError(408, f"The body did not arrive within {BODY_SECONDS} s.", "Send smaller batches.") from None
    except ClientDisconnect:
        raise ApiError(400, "The connection closed before the body was complete.", "Send it again.") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"The body is larger than {limit} bytes.", "Split it into smaller requests.")


def _inflate(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise ApiError(400, f"The body is not valid gzip: {error}.", "Send it again, or without gzip.") from error
    if len(data) > limit:
        raise _too_large(limit)
    if not inflater.eof:
        raise ApiError(400, "The gzip body is cut short.", "Send it again.")
    if inflater.unused_data:
        raise ApiError(400, "Something follows the end of the gzip body.", "Send one gzip member and nothing else.")
    return data


async def read_json(request: Request, kind: type[T]) -> T:
    """The JSON body as ``kind``, a msgspec Struct. Raises :class:`ApiError` 400 which names the field that is wrong."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "The body must be JSON.", "Send content-type: application/json.")
    body = await read_body(request, JSON_BYTES, JSON_BYTES)
    try:
        if not body.isascii():
            body.decode()  # msgspec looks into no field that it does not know
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(400, f"The request cannot be understood: {error}.", "docs/http.md shows its fields.") from error
    except RecursionError:
        raise ApiError(400, "The JSON is nested too deeply.", "docs/http.md shows the fields.") from None


def encode_json(value: Any) -> bytes:
    """A value as the bytes of a JSON answer. NaN becomes null, as JSON has no word for it."""
    return msgspec.json.encode(value)
