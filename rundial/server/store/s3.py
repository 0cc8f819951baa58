"""Blobs in S3, or in what speaks like it: content under its SHA-256, put and got by signed addresses of the bucket.

::

    <prefix>/blobs/<workspace>/ab/abcdef…   whole, verified by S3
    <prefix>/uploads/<upload>/<sha256>      a file that is arriving in parts

A file that comes in one piece is put to its place, with its length and SHA-256 signed, so nothing else can lie there.
S3 knows of a file in parts only what each part is; copied to its place, it gets a SHA-256 of the whole, which S3 makes
itself. Beyond 5 GiB S3 copies in pieces and has no SHA-256 of the whole. No byte of a file passes through this process,
but for the archive of a whole version.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

from rundial.server.store.blobs import READ_BYTES
from rundial.server.store.manifest import part_bytes, part_count
from rundial.server.store.s3_connection import S3, THREADS

COPY_BYTES = 5 * 2**30
"""S3 copies at most this much at once."""
PIECE_BYTES = 2**30
"""What is larger is copied in pieces of this size."""
_STRIPES = 64


class Target(NamedTuple):
    """Where a body is put: the address, and the headers that the request must have."""

    url: str
    headers: dict[str, str]


class Part(NamedTuple):
    """A part that S3 has: its bytes, ETag, and base64 SHA-256 if it was announced."""

    size: int
    etag: str
    checksum: str | None


class Bucket:
    """The place of blobs in a bucket. Endpoint, region and credentials are those of the AWS environment.

    Args:
        place: ``s3://BUCKET`` or ``s3://BUCKET/PREFIX``.
        hold: keeps other processes out of the blocks of a name.

    Raises:
        StoreError: boto3 is not installed, the place is none, or the bucket does not let this server do its work. A
            bucket that cannot be reached is no reason: it may come back.
    """

    def __init__(self, place: str, hold: Callable[[str], AbstractContextManager[None]]) -> None:
        self._s3 = S3(place)
        self.place, self.origin = self._s3.place, self._s3.origin
        self._hold = hold
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="rundial-s3")

    # -- in ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, sha256: str) -> Iterator[None]:
        """Held from a blob's arrival, or its removal, until the database knows of it."""
        stripe = int(sha256[:2], 16) % _STRIPES
        with self._stripes[stripe], self._hold(f"blobs {stripe}"):
            yield

    def target(self, workspace_id: str, sha256: str, size: int, seconds: int) -> Target:
        """Where a whole file is put."""
        return self._target(self._blob(workspace_id, sha256), {}, size, sha256, seconds)

    def begin(self, upload_id: str, sha256: str, checked: bool) -> str:
        """Begin to take a file in parts; S3's name for it. ``checked``: the SHA-256 of each part will be signed."""
        more = {"ChecksumAlgorithm": "SHA256"} if checked else {}
        with self._s3.asking():
            key = self._s3.key("uploads", upload_id, sha256)
            return str(self._s3.client.create_multipart_upload(Bucket=self._s3.bucket, Key=key, **more)["UploadId"])

    def part_target(
        self, upload_id: str, sha256: str, multipart: str, part: int, size: int, digest: str | None, seconds: int
    ) -> Target:
        """Where a part is put; ``digest`` is its SHA-256."""
        fields = {"partNumber": str(part), "uploadId": multipart}
        return self._target(self._s3.key("uploads", upload_id, sha256), fields, size, digest, seconds)

    def parts(self, upload_id: str, sha256: str, multipart: str) -> dict[int, Part] | None:
        """The parts that S3 has; None when it knows no such upload, because it is complete or was given up."""
        key = self._s3.key("uploads", upload_id, sha256)
        found: dict[int, Part] = {}
        try:
            with self._s3.asking():
                pages = self._s3.client.get_paginator("list_parts").paginate(
                    Bucket=self._s3.bucket, Key=key, UploadId=multipart
                )
                for page in pages:
                    for part in page.get("Parts", ()):
                        found[part["PartNumber"]] = Part(part["Size"], part["ETag"], part.get("ChecksumSHA256"))
        except FileNotFoundError:
            return None
        return found

    def has(self, workspace_id: str, sha256: str, size: int) -> bool:
        """Whether a blob is there and is what it should be, as S3 says."""
        try:
            with self._s3.asking():
                found = self._s3.client.head_object(
                    Bucket=self._s3.bucket, Key=self._blob(workspace_id, sha256), ChecksumMode="ENABLED"
                )
        except FileNotFoundError:
            return False
        return bool(found["ContentLength"] == size) and (
            size > COPY_BYTES or found.get("ChecksumSHA256") == encoded(sha256)
        )

    def have(self, workspace_id: str, contents: list[tuple[str, int]]) -> list[bool]:
        """:meth:`has` of several blobs, SHA-256 and size of each, asked at the same time."""
        return list(self._pool.map(lambda content: self.has(workspace_id, *content), contents))

    def join(self, workspace_id: str, upload_id: str, sha256: str, size: int, multipart: str) -> bool:
        """The parts become the blob; False when they are not what was announced. The caller holds :meth:`lock`.

        Raises :class:`FileNotFoundError` when parts are missing.
        """
        staged, target = self._s3.key("uploads", upload_id, sha256), self._blob(workspace_id, sha256)
        parts = self.parts(upload_id, sha256, multipart)
        if parts is not None:
            if len(parts) != part_count(size):
                raise FileNotFoundError(staged)
            self._complete(staged, multipart, parts)
        with self._s3.asking():
            # S3 may have been asked before, by a process that did not live to hear the answer.
            whole = self._s3.client.head_object(Bucket=self._s3.bucket, Key=staged)["ContentLength"] == size
            if whole:
                self._copy(staged, target, size)
        if not whole:
            return False
        if not self.has(workspace_id, sha256, size):
            self.delete(workspace_id, sha256)
            return False
        return True

    def _complete(self, key: str, multipart: str, parts: dict[int, Part]) -> None:
        listed = [
            {"PartNumber": number, "ETag": part.etag}
            | ({"ChecksumSHA256": part.checksum} if part.checksum is not None else {})
            for number, part in sorted(parts.items())
        ]
        with self._s3.asking():
            self._s3.slow.complete_multipart_upload(
                Bucket=self._s3.bucket, Key=key, UploadId=multipart, MultipartUpload={"Parts": listed}
            )

    def _copy(self, source: str, target: str, size: int) -> None:
        origin = {"Bucket": self._s3.bucket, "Key": source}
        if size <= COPY_BYTES:
            self._s3.slow.copy_object(Bucket=self._s3.bucket, Key=target, CopySource=origin, ChecksumAlgorithm="SHA256")
            return
        begun = self._s3.client.create_multipart_upload(Bucket=self._s3.bucket, Key=target, ChecksumAlgorithm="SHA256")
        place = {"Bucket": self._s3.bucket, "Key": target, "UploadId": begun["UploadId"]}

        def copy(number: int) -> dict[str, Any]:
            first = (number - 1) * PIECE_BYTES
            piece = f"bytes={first}-{min(first + PIECE_BYTES, size) - 1}"
            answer = self._s3.slow.upload_part_copy(
                **place, PartNumber=number, CopySource=origin, CopySourceRange=piece
            )["CopyPartResult"]
            known = {name: answer[name] for name in ("ETag", "ChecksumSHA256") if name in answer}
            return {"PartNumber": number, **known}

        try:
            parts = list(self._pool.map(copy, range(1, -(-size // PIECE_BYTES) + 1)))
            self._s3.slow.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
        except BaseException:
            self._s3.client.abort_multipart_upload(**place)
            raise

    # -- out ---------------------------------------------------------------------------------------------------------

    def address(
        self, workspace_id: str, sha256: str, seconds: int, media_type: str, filename: str | None = None
    ) -> str:
        """Where a blob is got, as an attachment when it has a ``filename``."""
        fields = {"response-content-type": media_type}
        if filename is not None:
            plain = re.sub(r"[^ !#-\[\]-~]", "_", filename)
            also = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
            fields["response-content-disposition"] = f'attachment; filename="{plain}"{also}'
        return self._s3.sign("GET", self._blob(workspace_id, sha256), {}, fields, seconds)

    def read(self, workspace_id: str, sha256: str) -> Iterator[bytes]:
        """The content of a blob in pieces, through this server. Raises :class:`FileNotFoundError` when it is gone."""
        with self._s3.asking():
            body = self._s3.client.get_object(Bucket=self._s3.bucket, Key=self._blob(workspace_id, sha256))["Body"]
            with closing(body):
                yield from body.iter_chunks(READ_BYTES)

    # -- what is there -----------------------------------------------------------------------------------------------

    def delete(self, workspace_id: str, sha256: str) -> None:
        """Remove a blob. The caller holds :meth:`lock`."""
        self._remove(self._blob(workspace_id, sha256))

    def give_up(self, upload_id: str, sha256: str, multipart: str) -> None:
        """Take no more parts of a file, and throw away those that are there."""
        try:
            with self._s3.asking():
                self._s3.client.abort_multipart_upload(
                    Bucket=self._s3.bucket, Key=self._s3.key("uploads", upload_id, sha256), UploadId=multipart
                )
        except FileNotFoundError:
            pass  # complete, or given up before

    def scrap(self, upload_id: str, sha256: str, multipart: str) -> None:
        """Throw away the parts of a file, joined or not."""
        self.give_up(upload_id, sha256, multipart)
        self._remove(self._s3.key("uploads", upload_id, sha256))

    def discard(self, upload_id: str) -> None:
        """Remove what is left of an upload."""
        prefix = self._s3.key("uploads", upload_id) + "/"
        for key, multipart in self._multiparts(prefix):
            self.give_up(upload_id, key.rpartition("/")[2], multipart)
        for keys in self._keys(prefix):
            for key in keys:
                self._remove(key)

    def all(self) -> Iterator[list[str]]:
        """All blobs as ``workspace/sha256``, a list for each page of S3's."""
        prefix = self._s3.key("blobs") + "/"
        for keys in self._keys(prefix):
            split = [key.removeprefix(prefix).split("/") for key in keys]
            yield [f"{names[0]}/{names[2]}" for names in split if len(names) == 3]

    def all_uploads(self) -> Iterable[str]:
        """The ids of uploads of which something is there."""
        prefix = self._s3.key("uploads") + "/"
        found = {key for key, _ in self._multiparts(prefix)}
        for keys in self._keys(prefix):
            found.update(keys)
        return {key.removeprefix(prefix).partition("/")[0] for key in found}

    def close(self) -> None:
        """Let go of threads and connections. May be called twice."""
        self._pool.shutdown(cancel_futures=True)
        self._s3.close()

    # -- keys and questions ------------------------------------------------------------------------------------------

    def _blob(self, workspace_id: str, sha256: str) -> str:
        return self._s3.key("blobs", workspace_id, sha256[:2], sha256)

    def _target(self, key: str, fields: dict[str, str], size: int, digest: str | None, seconds: int) -> Target:
        headers = {"content-length": str(size)}
        if digest is not None:
            headers |= {"x-amz-checksum-sha256": encoded(digest), "x-amz-sdk-checksum-algorithm": "SHA256"}
        url = self._s3.sign("PUT", key, headers, fields, seconds)
        return Target(url, {name: value for name, value in headers.items() if name != "content-length"})

    def _remove(self, key: str) -> None:
        with self._s3.asking():
            self._s3.client.delete_object(Bucket=self._s3.bucket, Key=key)

    def _keys(self, prefix: str) -> Iterator[list[str]]:
        with self._s3.asking():
            for page in self._s3.client.get_paginator("list_objects_v2").paginate(
                Bucket=self._s3.bucket, Prefix=prefix
            ):
                yield [entry["Key"] for entry in page.get("Contents", ())]

    def _multiparts(self, prefix: str) -> list[tuple[str, str]]:
        with self._s3.asking():
            pages = self._s3.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._s3.bucket, Prefix=prefix
            )
            return [(entry["Key"], entry["UploadId"]) for page in pages for entry in page.get("Uploads", ())]


def encoded(sha256: str) -> str:
    """A SHA-256 as S3 writes it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def part_digests(size: int, digests: list[str] | None) -> list[str] | None:
    """The SHA-256 of each part that a client has announced, if they are for the parts that the file has here."""
    return digests if digests is not None and len(digests) == part_count(size) else None


def part_place(size: int, part: int) -> tuple[int, int]:
    """Where a part begins, and its bytes."""
    step = part_bytes(size)
    offset = (part - 1) * step
    return offset, min(step, size - offset)
