"""Content in and out by signed address: the only routes that see the bytes of files. They need no key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response

from rundial.server.api.errors import ApiError, not_found
from rundial.server.api.request import BODY_SECONDS, store_of
from rundial.server.store.blobs import READ_BYTES, Blobs
from rundial.server.store.signing import forbidden

_RANGE = re.compile(rb"bytes=(?:([0-9]{1,18})-([0-9]{0,20})|-([0-9]{1,20}))")
FILE_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"


async def put(request: Request) -> Response:
    """``PUT /api/v1/blobs/{uploadId}/{sha256}``: a file or a part; durable when it is answered."""
    fields = _checked(request, "PUT")
    if request.headers.get("content-length", fields["size"]) != fields["size"]:
        raise forbidden("This address was signed for a body of another length.")
    path = request.path_params
    coming = await run_in_threadpool(store_of(request).uploads.open, path["uploadId"], path["sha256"], fields)
    try:
        async for piece in _pieces(request):
            await run_in_threadpool(coming.write, piece)
        etag = await run_in_threadpool(coming.finish)
    finally:
        coming.close()
    return Response(b"{}", headers={"etag": f'"{etag}"'}, media_type="application/json")


async def get(request: Request) -> Response:
    """``GET /api/v1/blobs/{artifactId}/{sha256}``: a file of an artifact, to be saved; understands Range."""
    fields = _checked(request, "GET")
    store, path = store_of(request), request.path_params
    if not await run_in_threadpool(store.uploads.may_get, path["artifactId"], path["sha256"], fields["by"]):
        raise forbidden("The artifact was removed, or the key that asked for this address is no longer valid.")
    headers = {"content-security-policy": FILE_POLICY}
    return await blob(request, path["sha256"], "application/octet-stream", headers, fields["name"] or "file")


async def blob(
    request: Request, sha256: str, media_type: str, headers: dict[str, str], filename: str | None = None
) -> Response:
    """A blob as the answer, as an attachment when it has a ``filename``."""
    blobs = store_of(request).blobs
    if not isinstance(blobs, Blobs):
        raise forbidden("Files are in S3 now.")
    path = blobs.path(sha256)
    if not await run_in_threadpool(path.is_file):
        raise not_found()
    await run_in_threadpool(_fit_range, request, path)
    headers = {**headers, "etag": f'"{sha256}"'}
    return FileResponse(path, headers=headers, media_type=media_type, filename=filename)


def _fit_range(request: Request, path: Path) -> None:
    """Leave the request a Range that is a single one, or none: any other is as if it were not there.

    Raises :class:`ApiError` 416 for one that begins behind the end.
    """
    given = [value for name, value in request.scope["headers"] if name == b"range"]
    if not given:
        return
    found = _RANGE.fullmatch(given[0]) if len(given) == 1 else None
    first, last, tail = found.groups() if found else (None, None, None)
    if found is None or (first and last and int(first) >= int(last) + 1):
        request.scope["headers"] = [header for header in request.scope["headers"] if header[0] != b"range"]
    elif (int(first) if first else 0) >= path.stat().st_size or (tail and not int(tail)):
        raise ApiError(416, "The Range begins behind the end of the file.", "Ask for a part that is there.")


def _checked(request: Request, method: str) -> dict[str, str]:
    query = request.scope["query_string"].decode("latin-1")
    return store_of(request).signer.check(method, request.scope["path"], query)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of about a MiB, so that disk and hash are worth a thread and memory stays flat."""
    waiting: list[bytes] = []
    size = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while size < READ_BYTES:
                    part = await anext(stream, None)
                    if part is None:
                        break
                    waiting.append(part)
                    size += len(part)
        except TimeoutError:
            raise ApiError(408, f"The body did not go on for {BODY_SECONDS} s.", "Send it again.") from None
        except ClientDisconnect:
            raise ApiError(400, "The connection closed before the body was complete.", "Send it again.") from None
        if not size:
            return
        yield b"".join(waiting)
        waiting.clear()
        size = 0
