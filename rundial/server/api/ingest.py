"""Records in: one request carries consecutive chunks of one stream."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.errors import WireError
from rundial.events import PROTOCOL
from rundial.server.api.errors import ApiError
from rundial.server.api.request import INLINE_BYTES, base_url, principal_of, read_body, store_of
from rundial.wire import CONTENT_TYPE, Chunk, unpack_chunks

_HEX = frozenset("0123456789abcdef")


async def records(request: Request) -> Response:
    """``POST /api/v1/ingest/records``: answered after the commit, 200 or 409 with the sequence expected next."""
    stream = _stream(request)
    settings = request.app.state.settings
    body = await read_body(request, settings.max_body_bytes, settings.max_inflated_bytes)
    chunks = _chunks(body, stream)
    store = store_of(request)
    arguments = (principal_of(request), stream, chunks, base_url(request))
    if len(body) <= INLINE_BYTES:
        future = store.ingest(*arguments)
    else:
        future = await run_in_threadpool(store.ingest, *arguments)
    status, reply = await asyncio.wrap_future(future)
    request.app.state.metrics.took(len(body), reply)
    return Response(msgspec.json.encode(reply), status, media_type="application/json")


def _stream(request: Request) -> str:
    headers = request.headers
    if headers.get("content-type", CONTENT_TYPE) != CONTENT_TYPE:
        raise ApiError(415, "The body must be records.", f"Send content-type: {CONTENT_TYPE}.")
    if headers.get("x-rundial-protocol") != str(PROTOCOL):
        raise ApiError(400, "The protocol is not the one this server speaks.", f"Send x-rundial-protocol: {PROTOCOL}.")
    stream = headers.get("x-rundial-stream", "")
    if len(stream) != 32 or not _HEX.issuperset(stream):
        raise ApiError(400, "x-rundial-stream must be 32 lowercase hexadecimal digits.", "Send the chunks' stream id.")
    return stream


def _chunks(body: bytes, stream: str) -> list[Chunk]:
    try:
        chunks = list(unpack_chunks(body))
    except WireError as error:
        raise ApiError(400, f"The body is damaged: {error}.", "Send it again.") from error
    if any(chunk.stream != stream for chunk in chunks):
        raise ApiError(400, "A chunk belongs to another stream than x-rundial-stream.", "Send one stream per request.")
    if any(before.next != after.first for before, after in pairwise(chunks)):
        raise ApiError(400, "The chunks do not follow one another.", "Send chunks in sequence without a gap.")
    return chunks
