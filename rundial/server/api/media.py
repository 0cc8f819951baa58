"""Media out: the list of a run's items, and the content of one as a browser may have it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from rundial.server.api.artifacts import WRITERS, read_lenient, require
from rundial.server.api.blobs import FILE_POLICY, blob
from rundial.server.api.errors import not_found
from rundial.server.api.request import integer, principal_of, read_json, store_of
from rundial.server.api.runs import MAX_PAGE, answer
from rundial.server.store.media import ArtifactItem
from rundial.server.store.s3 import Bucket
from rundial.server.store.uploads import GET_SECONDS

SAFE_TYPES = frozenset(
    {
        "application/json",
        "audio/aac",
        "audio/flac",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/wav",
        "audio/webm",
        "audio/x-wav",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/plain",
        "video/mp4",
        "video/ogg",
        "video/webm",
    }
)
"""What a browser shows and does not run."""
SANDBOXED_TYPES = frozenset({"text/html", "image/svg+xml"})
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
"""What was logged may be shown inside the page, but it is a stranger there: no script, no request, no origin."""
_FOR_EVER = "private, max-age=31536000, immutable"


class MediaBatch(Struct, rename="camel"):
    """Body of ``POST /api/v1/ingest/media``."""

    run_id: str
    items: Annotated[list[ArtifactItem], Meta(max_length=1000)]
    project_id: str | None = None


async def ingest(request: Request) -> Response:
    """``POST /api/v1/ingest/media``: files of finalized artifacts that are media of the run."""
    require(request, WRITERS)
    media, principal = store_of(request).media, principal_of(request)
    asked = await read_lenient(request, MediaBatch)
    return await answer(lambda: {"accepted": media.ingest(principal, asked.run_id, asked.project_id, asked.items)})


async def of_run(request: Request) -> Response:
    """``GET /api/v1/runs/{runId}/media``: the keys, and items by key, step and index."""
    media, principal, run_id = store_of(request).media, principal_of(request), request.path_params["runId"]
    asked = request.query_params
    limit, key, cursor = integer(request, "limit", 100, MAX_PAGE), asked.get("key"), asked.get("cursor")
    return await answer(lambda: media.of_run(principal, run_id, key=key, limit=limit, cursor=cursor))


class MediaQuery(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/query/media``; ``limit`` is for each run."""

    run_ids: Annotated[list[str], Meta(min_length=1, max_length=200)]
    key: str | None = None
    step: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 8


async def of_runs(request: Request) -> Response:
    """``POST /api/v1/query/media``: the keys of many runs, or what each of them has of one key at a step."""
    media, principal = store_of(request).media, principal_of(request)
    asked = await read_json(request, MediaQuery)
    runs = list(dict.fromkeys(asked.run_ids))

    def find() -> dict[str, Any] | None:
        if asked.key is not None:
            return media.at_step(principal, runs, asked.key, asked.step, asked.limit)
        keys = media.keys_of(principal, runs)
        return None if keys is None else {"keys": keys}

    return await answer(find)


async def content(request: Request) -> Response:
    """``GET /api/v1/runs/{runId}/media/{mediaId}``: the content of an item, here or in S3; understands Range."""
    media, principal, path = store_of(request).media, principal_of(request), request.path_params
    found = await run_in_threadpool(media.content, principal, path["runId"], path["mediaId"])
    if found is None:
        raise not_found()
    workspace_id, sha256, content_type = found
    kind = (content_type or "").partition(";")[0].strip().lower()
    bucket = store_of(request).blobs
    if isinstance(bucket, Bucket):
        shown = kind if kind in SAFE_TYPES | SANDBOXED_TYPES else "application/octet-stream"
        filename = None if shown == kind else path["mediaId"]
        address = await run_in_threadpool(bucket.address, workspace_id, sha256, GET_SECONDS, shown, filename)
        return RedirectResponse(address, 307, {"cache-control": f"private, max-age={GET_SECONDS // 2}"})
    headers = {"cache-control": _FOR_EVER}
    if kind in SANDBOXED_TYPES:
        # Framed by our own page only; the sandbox makes it an origin of its own.
        headers |= {"content-security-policy": SANDBOX, "x-frame-options": "SAMEORIGIN"}
        return await blob(request, sha256, kind, headers)
    headers["content-security-policy"] = FILE_POLICY
    if kind in SAFE_TYPES:
        return await blob(request, sha256, kind, headers)
    return await blob(request, sha256, "application/octet-stream", headers, path["mediaId"])
