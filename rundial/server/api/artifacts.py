"""Artifacts: uploads in, versions out."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rundial.server.api.errors import ApiError
from rundial.server.api.request import JSON_BYTES, base_url, integer, principal_of, read_body, read_json, store_of
from rundial.server.api.runs import MAX_PAGE, answer
from rundial.server.store.manifest import MAX_FILES, Initiation
from rundial.server.store.refusal import Refusal
from rundial.server.store.s3 import Bucket
from rundial.server.store.uploads import GET_SECONDS, PREFIX

MANIFEST_BYTES = 64 * 1024 * 1024
"""The longest announcement of an upload: 100,000 files with long paths."""
WRITERS = ("artifacts:write", "metrics:write")
READERS = ("project:read", "artifacts:write")
T = TypeVar("T")


class PartEntry(Struct, rename="camel"):
    """A part as the client put it."""

    part_number: Annotated[int, Meta(ge=1, le=10_000)]
    etag: str = ""


class FileParts(Struct, rename="camel"):
    """The parts of a file."""

    path: str
    parts: list[PartEntry]


class Finalization(Struct, rename="camel"):
    """Body of ``POST /api/v1/artifacts/finalize``."""

    run_id: str
    artifact_id: str
    upload_id: str
    project_id: str | None = None
    multipart_parts: list[FileParts] | None = None


class Use(Struct, rename="camel"):
    """Body of ``POST /api/v1/artifacts/use``."""

    run_id: str
    artifact_ref: str
    project_id: str | None = None


class Download(Struct, rename="camel"):
    """Body of ``POST /api/v1/artifacts/download``."""

    artifact_id: str
    path: str
    project_id: str | None = None
    run_id: str | None = None


class Aliases(Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /api/v1/artifacts/{artifactId}/aliases``."""

    add: list[str] = []
    remove: list[str] = []


def require(request: Request, scopes: tuple[str, ...]) -> None:
    """Raise :class:`ApiError` 403 unless the caller has one of the scopes."""
    if not any(map(principal_of(request).may, scopes)):
        raise ApiError(403, f"This needs the scope {' or '.join(scopes)}.", "Use a key that has it.")


async def read_lenient(request: Request, kind: type[T], limit: int = JSON_BYTES) -> T:
    """The JSON body as ``kind``, decoded in a thread. NaN and infinities, which JSON does not know, become null."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "The body must be JSON.", "Send content-type: application/json.")
    body = await read_body(request, limit, limit)
    try:
        return await run_in_threadpool(_decode, body, kind)
    except (ValueError, RecursionError) as error:
        message = str(error) if isinstance(error, msgspec.MsgspecError) else "it is no JSON"
        raise ApiError(
            400, f"The request cannot be understood: {message}.", "docs/http.md shows its fields."
        ) from error


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        plain = json.loads(body, parse_constant=lambda _: None)
        return msgspec.json.decode(msgspec.json.encode(plain), type=kind)


async def initiate(request: Request) -> Response:
    """``POST /api/v1/artifacts/initiate``: announce files; the answer says which are missing and where to put them."""
    require(request, WRITERS)
    uploads, principal, base = store_of(request).uploads, principal_of(request), base_url(request)
    asked = await read_lenient(request, Initiation, MANIFEST_BYTES)
    return await answer(lambda: uploads.initiate(principal, asked, base))


async def finalize(request: Request) -> Response:
    """``POST /api/v1/artifacts/finalize``: everything is there; it becomes a version, or an item of media."""
    require(request, WRITERS)
    uploads, principal = store_of(request).uploads, principal_of(request)
    asked = await read_lenient(request, Finalization, MANIFEST_BYTES)
    etags = {file.path: [(part.part_number, part.etag) for part in file.parts] for file in asked.multipart_parts or ()}
    return await answer(
        lambda: uploads.finalize(principal, asked.run_id, asked.project_id, asked.artifact_id, asked.upload_id, etags)
    )


async def use(request: Request) -> Response:
    """``POST /api/v1/artifacts/use``: find a version by a reference, and note that the run uses it."""
    require(request, READERS)
    artifacts, principal = store_of(request).artifacts, principal_of(request)
    asked = await read_json(request, Use)
    return await answer(
        lambda: {"artifact": artifacts.use(principal, asked.run_id, asked.project_id, asked.artifact_ref)}
    )


async def download(request: Request) -> Response:
    """``POST /api/v1/artifacts/download``: an address to get one file from, good for five minutes."""
    require(request, READERS)
    store, principal, base = store_of(request), principal_of(request), base_url(request)
    asked = await read_json(request, Download)

    def find() -> Any:
        found = store.artifacts.file(principal, asked.artifact_id, asked.path)
        if found is None:
            return None
        uri, workspace_id = found.pop("uri"), found.pop("workspaceId")
        if uri is not None:
            raise Refusal(409, "CONFLICT", "This file is a reference and lies elsewhere.", f"Get it from {uri}.")
        name = asked.path.rpartition("/")[2]
        if isinstance(store.blobs, Bucket):
            place = (workspace_id, found["sha256"], GET_SECONDS, "application/octet-stream", name)
            return {"url": store.blobs.address(*place), **found}
        fields: dict[str, str | int] = {"by": principal.id, "name": name}
        path = f"{PREFIX}{asked.artifact_id}/{found['sha256']}"
        return {"url": base + store.signer.sign("GET", path, fields, GET_SECONDS), **found}

    return await answer(find)


async def of_run(request: Request) -> Response:
    """``GET /api/v1/runs/{runId}/artifacts``: what the run made and used, newest first."""
    artifacts, principal, run_id = store_of(request).artifacts, principal_of(request), request.path_params["runId"]
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), request.query_params.get("cursor")
    return await answer(lambda: artifacts.of_run(principal, run_id, limit=limit, cursor=cursor))


async def of_project(request: Request) -> Response:
    """``GET /api/v1/projects/{projectId}/artifacts``: versions, newest first."""
    artifacts, principal, project = store_of(request).artifacts, principal_of(request), request.path_params["projectId"]
    asked = request.query_params
    limit, cursor = integer(request, "limit", 100, MAX_PAGE), asked.get("cursor")
    find = partial(artifacts.of_project, principal, project, name=asked.get("name"), type=asked.get("type"))
    return await answer(lambda: find(limit=limit, cursor=cursor))


async def artifact(request: Request) -> Response:
    """``GET /api/v1/artifacts/{artifactId}``: a version with its files and lineage."""
    artifacts, principal, wanted = store_of(request).artifacts, principal_of(request), request.path_params["artifactId"]
    limit, cursor = integer(request, "limit", 1000, MAX_FILES), request.query_params.get("cursor")
    return await answer(lambda: artifacts.get(principal, wanted, files=limit, after=cursor))


async def aliases(request: Request) -> Response:
    """``POST /api/v1/artifacts/{artifactId}/aliases``: move aliases to a version, or take them from it."""
    artifacts, principal, wanted = store_of(request).artifacts, principal_of(request), request.path_params["artifactId"]
    asked = await read_json(request, Aliases)
    return await answer(lambda: artifacts.change_aliases(principal, wanted, asked.add, asked.remove))


async def delete(request: Request) -> Response:
    """``DELETE /api/v1/artifacts/{artifactId}``: remove a version; what it was is the answer."""
    artifacts, principal, wanted = store_of(request).artifacts, principal_of(request), request.path_params["artifactId"]
    return await answer(lambda: artifacts.delete(principal, wanted))
