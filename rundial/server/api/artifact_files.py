"""The files of a version as the page shows them: one in place, or all of them as an archive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from rundial.server.api.blobs import FILE_POLICY, blob
from rundial.server.api.errors import ApiError, not_found
from rundial.server.api.request import principal_of, store_of
from rundial.server.store import Store
from rundial.server.store.accounts import Principal
from rundial.server.store.blobs import READ_BYTES
from rundial.server.store.s3 import Bucket
from rundial.server.store.tar import END, header, header_size, padding
from rundial.server.store.uploads import GET_SECONDS
from rundial.server.store.versions import StoredFile

SHOWN_TYPES = {
    "aac": "audio/aac",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "flac": "audio/flac",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "png": "image/png",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
}
"""What a browser shows and cannot run, by the ending of the name. What clients say of a file's type counts for nothing:
any other file is bytes, and an attachment."""
GATHERED_BYTES = 256 * 1024
OPAQUE = "application/octet-stream"
_FOR_EVER = "private, max-age=31536000, immutable"
_UNFIT = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')


async def content(request: Request) -> Response:
    """``GET /api/v1/artifacts/{artifactId}/content``: the file ``path``, here or in S3; understands Range."""
    store, principal, path = store_of(request), principal_of(request), request.query_params.get("path", "")
    artifact_id = request.path_params["artifactId"]
    found = await run_in_threadpool(store.artifacts.file, principal, artifact_id, path)
    if found is None:
        raise not_found()
    if found["uri"] is not None:
        raise ApiError(409, "This file is a reference and lies elsewhere.", "The version's files say where.")
    name = path.rpartition("/")[2]
    kind = SHOWN_TYPES.get(PurePosixPath(name).suffix[1:].lower(), OPAQUE)
    filename = name if kind == OPAQUE else None
    if isinstance(store.blobs, Bucket):
        find = partial(store.blobs.address, found["workspaceId"], found["sha256"], GET_SECONDS, kind, filename)
        return RedirectResponse(
            await run_in_threadpool(find), 307, {"cache-control": f"private, max-age={GET_SECONDS // 2}"}
        )
    headers = {"cache-control": _FOR_EVER, "content-security-policy": FILE_POLICY}
    return await blob(request, found["sha256"], kind, headers, filename)


async def archive(request: Request) -> Response:
    """``GET /api/v1/artifacts/{artifactId}/archive``: all files of a version that lie here, as a tar."""
    store, principal, artifact_id = store_of(request), principal_of(request), request.path_params["artifactId"]
    version = await run_in_threadpool(store.artifacts.version, principal, artifact_id)
    if version is None:
        raise not_found()
    folder = _UNFIT.sub("-", f"{version.name}-v{version.version}")
    # The clock of tar has seconds.
    modified = version.created_ms // 1000
    files = partial(_files, store, principal, artifact_id)

    def measure() -> int:
        return sum(header_size(f"{folder}/{file.path}", file.size) + file.size + padding(file.size) for file in files())

    size = await run_in_threadpool(measure)
    headers = {
        "content-length": str(size + len(END)),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(f'{folder}.tar', safe='')}",
        "content-security-policy": FILE_POLICY,
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/x-tar")

    def pieces() -> Iterator[bytes]:
        for file in files():
            yield header(f"{folder}/{file.path}", file.size, modified)
            yield from _bytes(store, file)
            yield bytes(padding(file.size))
        yield END

    return StreamingResponse(_gathered(pieces()), headers=headers, media_type="application/x-tar")


def _files(store: Store, principal: Principal, artifact_id: str) -> Iterator[StoredFile]:
    """The files in pages, so that a version of many does not lie in memory."""
    after = ""
    while True:
        page = store.artifacts.stored(principal, artifact_id, after)
        yield from page
        if not page:
            return
        after = page[-1].path


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth a thread each."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= GATHERED_BYTES:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    yield b"".join(waiting)


def _bytes(store: Store, file: StoredFile) -> Iterator[bytes]:
    if isinstance(store.blobs, Bucket):
        yield from store.blobs.read(file.workspace_id, file.sha256)
        return
    with store.blobs.path(file.sha256).open("rb") as content:
        while piece := content.read(READ_BYTES):
            yield piece
