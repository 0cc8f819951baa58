"""Blobs in S3, or in what speaks like it: content under its SHA-256, put and got by signed addresses of the bucket.

::

    <prefix>/blobs/<workspace>/ab/abcdef…   whole, verified by S3
    <prefix>/uploads/<upload>/<sha256>      a file that is arriving in parts

A file that comes in one piece is put to its place, with its length and SHA-256 signed, so nothing else can lie there.
S3 knows of a file in parts only what each part is; copied to its place, it gets a SHA-256 of the whole, which S3 makes
itself. No byte of a file passes through this process. Beyond 5 GiB S3 copies in pieces and has no SHA-256 of the whole.
"""

from __future__ import annotations

import base64
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from rundial.server.store.engine import StoreError
from rundial.server.store.manifest import part_bytes, part_count
from rundial.server.store.refusal import Refusal
from rundial.server.store.signing import presign

COPY_BYTES = 5 * 2**30
"""S3 copies at most this much at once."""
PIECE_BYTES = 2**30
"""What is larger is copied in pieces of this size."""
THREADS = 16
_STRIPES = 64
_PLACE = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9!_.*()-]+)*)/?")
_MISSING = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})


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
        found = _PLACE.fullmatch(place)
        if found is None:
            raise StoreError(f"{place!r} is no place of artifacts. Write s3://BUCKET/PREFIX.")
        try:
            from botocore.exceptions import BotoCoreError, ClientError
            from botocore.session import get_session
        except ImportError as error:
            raise StoreError("artifacts in S3 need boto3. Install it: pip install 'rundial[s3]'.") from error
        self.place = place.rstrip("/")
        self._bucket, self._prefix = found[1], found[2].lstrip("/")
        self._hold = hold
        self._failures: tuple[type[Exception], ...] = (BotoCoreError,)
        self._answered: type[Exception] = ClientError
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="rundial-s3")
        try:
            self._session = get_session()
            if self._session.get_credentials() is None:
                raise StoreError(f"there are no AWS credentials for {place}. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID.")
            self._connect(None)
            self._check()
        except BotoCoreError as error:
            raise StoreError(f"{self.place} cannot be used: {error}") from error

    # -- at the start ------------------------------------------------------------------------------------------------

    def _connect(self, region: str | None) -> None:
        from botocore.config import Config

        own = {"signature_version": "s3v4", "retries": {"mode": "standard", "total_max_attempts": 3}}
        quiet = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}

        def client(seconds: int, **more: Any) -> Any:
            config = Config(connect_timeout=3, read_timeout=seconds, max_pool_connections=2 * THREADS, **own, **quiet)
            return self._session.create_client("s3", region_name=region, config=config.merge(Config(**more)))

        host = urlsplit(client(20).meta.endpoint_url).hostname or ""
        chosen = self._session.get_scoped_config().get("s3")
        style = chosen.get("addressing_style") if isinstance(chosen, dict) else None
        elsewhere = not host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        more = {"s3": {"addressing_style": style or ("path" if elsewhere else "auto")}}
        self._client = client(20, **more)
        self._slow = client(600, **more)  # S3 answers when it has copied
        self._region = str(self._client.meta.region_name).replace("aws-global", "us-east-1")
        sample = self._client.generate_presigned_url("head_object", Params={"Bucket": self._bucket, "Key": "k"})
        url = urlsplit(sample.partition("?")[0].removesuffix("/k"))
        self.origin = f"{url.scheme}://{url.netloc.removesuffix(':443' if url.scheme == 'https' else ':80')}"
        """Where its addresses lead to."""
        self._base = f"{self.origin}{quote(url.path)}"

    def _check(self) -> None:
        from botocore.exceptions import ConnectionError, HTTPClientError

        try:
            answer = self._client.head_bucket(Bucket=self._bucket)
            region = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
            if region and region != self._region:
                self._connect(region)
            self._probe()
        except self._answered as error:
            raise self._unusable(error) from error
        except (ConnectionError, HTTPClientError):
            return

    def _probe(self) -> None:
        """Do once what the work will be."""
        key = self._key("probe", secrets.token_hex(8))
        empty = base64.b64encode(bytes.fromhex(_EMPTY)).decode()
        self._client.put_object(
            Bucket=self._bucket, Key=key, Body=b"", ChecksumAlgorithm="SHA256", ChecksumSHA256=empty
        )
        try:
            found = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=key)
            self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=key)
        finally:
            self._client.delete_object(Bucket=self._bucket, Key=key)
        if found.get("ChecksumSHA256") != empty:
            raise StoreError(
                f"{self.origin} does not keep SHA-256 checksums (x-amz-checksum-sha256), which are needed."
            )

    def _unusable(self, error: Any) -> StoreError:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in ("404", "NoSuchBucket"):
            return StoreError(f"there is no bucket {self._bucket!r} at {self.origin}. Create it first.")
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            return StoreError(
                f"{self.place} refuses {error.operation_name} ({code}). docs/server.md has the policy it needs;"
                " check the credentials of AWS_PROFILE or AWS_ACCESS_KEY_ID."
            )
        return StoreError(f"{self.place} cannot be used: {error}")

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
        with self._asking():
            key = self._key("uploads", upload_id, sha256)
            return str(self._client.create_multipart_upload(Bucket=self._bucket, Key=key, **more)["UploadId"])

    def part_target(
        self, upload_id: str, sha256: str, multipart: str, part: int, size: int, digest: str | None, seconds: int
    ) -> Target:
        """Where a part is put; ``digest`` is its SHA-256."""
        fields = {"partNumber": str(part), "uploadId": multipart}
        return self._target(self._key("uploads", upload_id, sha256), fields, size, digest, seconds)

    def parts(self, upload_id: str, sha256: str, multipart: str) -> dict[int, Part] | None:
        """The parts that S3 has; None when it knows no such upload, because it is complete or was given up."""
        key = self._key("uploads", upload_id, sha256)
        found: dict[int, Part] = {}
        try:
            with self._asking():
                pages = self._client.get_paginator("list_parts").paginate(
                    Bucket=self._bucket, Key=key, UploadId=multipart
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
            with self._asking():
                found = self._client.head_object(
                    Bucket=self._bucket, Key=self._blob(workspace_id, sha256), ChecksumMode="ENABLED"
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
        staged, target = self._key("uploads", upload_id, sha256), self._blob(workspace_id, sha256)
        parts = self.parts(upload_id, sha256, multipart)
        if parts is not None:
            if len(parts) != part_count(size):
                raise FileNotFoundError(staged)
            self._complete(staged, multipart, parts)
        with self._asking():
            # S3 may have been asked before, by a process that did not live to hear the answer.
            whole = self._client.head_object(Bucket=self._bucket, Key=staged)["ContentLength"] == size
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
        with self._asking():
            self._slow.complete_multipart_upload(
                Bucket=self._bucket, Key=key, UploadId=multipart, MultipartUpload={"Parts": listed}
            )

    def _copy(self, source: str, target: str, size: int) -> None:
        origin = {"Bucket": self._bucket, "Key": source}
        if size <= COPY_BYTES:
            self._slow.copy_object(Bucket=self._bucket, Key=target, CopySource=origin, ChecksumAlgorithm="SHA256")
            return
        begun = self._client.create_multipart_upload(Bucket=self._bucket, Key=target, ChecksumAlgorithm="SHA256")
        place = {"Bucket": self._bucket, "Key": target, "UploadId": begun["UploadId"]}

        def copy(number: int) -> dict[str, Any]:
            first = (number - 1) * PIECE_BYTES
            piece = f"bytes={first}-{min(first + PIECE_BYTES, size) - 1}"
            answer = self._slow.upload_part_copy(**place, PartNumber=number, CopySource=origin, CopySourceRange=piece)[
                "CopyPartResult"
            ]
            known = {name: answer[name] for name in ("ETag", "ChecksumSHA256") if name in answer}
            return {"PartNumber": number, **known}

        try:
            parts = list(self._pool.map(copy, range(1, -(-size // PIECE_BYTES) + 1)))
            self._slow.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
        except BaseException:
            self._client.abort_multipart_upload(**place)
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
        return self._sign("GET", self._blob(workspace_id, sha256), {}, fields, seconds)

    # -- what is there -----------------------------------------------------------------------------------------------

    def delete(self, workspace_id: str, sha256: str) -> None:
        """Remove a blob. The caller holds :meth:`lock`."""
        self._remove(self._blob(workspace_id, sha256))

    def give_up(self, upload_id: str, sha256: str, multipart: str) -> None:
        """Take no more parts of a file, and throw away those that are there."""
        try:
            with self._asking():
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._key("uploads", upload_id, sha256), UploadId=multipart
                )
        except FileNotFoundError:
            pass  # complete, or given up before

    def scrap(self, upload_id: str, sha256: str, multipart: str) -> None:
        """Throw away the parts of a file, joined or not."""
        self.give_up(upload_id, sha256, multipart)
        self._remove(self._key("uploads", upload_id, sha256))

    def discard(self, upload_id: str) -> None:
        """Remove what is left of an upload."""
        prefix = self._key("uploads", upload_id) + "/"
        for key, multipart in self._multiparts(prefix):
            self.give_up(upload_id, key.rpartition("/")[2], multipart)
        for keys in self._keys(prefix):
            for key in keys:
                self._remove(key)

    def all(self) -> Iterator[list[str]]:
        """All blobs as ``workspace/sha256``, a list for each page of S3's."""
        prefix = self._key("blobs") + "/"
        for keys in self._keys(prefix):
            split = [key.removeprefix(prefix).split("/") for key in keys]
            yield [f"{names[0]}/{names[2]}" for names in split if len(names) == 3]

    def all_uploads(self) -> Iterable[str]:
        """The ids of uploads of which something is there."""
        prefix = self._key("uploads") + "/"
        found = {key for key, _ in self._multiparts(prefix)}
        for keys in self._keys(prefix):
            found.update(keys)
        return {key.removeprefix(prefix).partition("/")[0] for key in found}

    def close(self) -> None:
        """Let go of threads and connections. May be called twice."""
        self._pool.shutdown(cancel_futures=True)
        self._client.close()
        self._slow.close()

    # -- keys and questions ------------------------------------------------------------------------------------------

    def _key(self, *names: str) -> str:
        return "/".join((self._prefix, *names) if self._prefix else names)

    def _blob(self, workspace_id: str, sha256: str) -> str:
        return self._key("blobs", workspace_id, sha256[:2], sha256)

    def _target(self, key: str, fields: dict[str, str], size: int, digest: str | None, seconds: int) -> Target:
        headers = {"content-length": str(size)}
        if digest is not None:
            headers |= {"x-amz-checksum-sha256": encoded(digest), "x-amz-sdk-checksum-algorithm": "SHA256"}
        url = self._sign("PUT", key, headers, fields, seconds)
        return Target(url, {name: value for name, value in headers.items() if name != "content-length"})

    def _sign(self, method: str, key: str, headers: dict[str, str], fields: dict[str, str], seconds: int) -> str:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise _unavailable("the server has no credentials for it any more")
        frozen = credentials.get_frozen_credentials()
        return presign(method, f"{self._base}/{quote(key)}", headers, fields, frozen, self._region, seconds)

    def _remove(self, key: str) -> None:
        with self._asking():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def _keys(self, prefix: str) -> Iterator[list[str]]:
        with self._asking():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                yield [entry["Key"] for entry in page.get("Contents", ())]

    def _multiparts(self, prefix: str) -> list[tuple[str, str]]:
        with self._asking():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
            return [(entry["Key"], entry["UploadId"]) for page in pages for entry in page.get("Uploads", ())]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Raise :class:`FileNotFoundError` for what S3 does not have, :class:`Refusal` 503 when it does not answer."""
        try:
            yield
        except self._answered as error:
            code = str(getattr(error, "response", {}).get("Error", {}).get("Code"))
            if code in _MISSING:
                raise FileNotFoundError(code) from error
            raise _unavailable(code) from error
        except self._failures as error:
            raise _unavailable(type(error).__name__) from error


_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


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


def _unavailable(why: str) -> Refusal:
    return Refusal(
        503, "INTERNAL_ERROR", f"The bucket with the files does not answer as it should ({why}).", "Try again later."
    )
