"""The connection to a bucket of S3, or of what speaks like it: found, tried once, and what its answers mean."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from rundial.server.store.engine import StoreError
from rundial.server.store.refusal import Refusal
from rundial.server.store.signing import presign

THREADS = 16
_PLACE = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9!_.*()-]+)*)/?")
_MISSING = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class S3:
    """A bucket that may be used. Endpoint, region and credentials are those of the AWS environment.

    Args:
        place: ``s3://BUCKET`` or ``s3://BUCKET/PREFIX``.

    Raises:
        StoreError: boto3 is not installed, the place is none, or the bucket does not let this server do its work. A
            bucket that cannot be reached is no reason: it may come back.
    """

    def __init__(self, place: str) -> None:
        found = _PLACE.fullmatch(place)
        if found is None:
            raise StoreError(f"{place!r} is no place of artifacts. Write s3://BUCKET/PREFIX.")
        try:
            from botocore.exceptions import BotoCoreError, ClientError
            from botocore.session import get_session
        except ImportError as error:
            raise StoreError("artifacts in S3 need boto3. Install it: pip install 'rundial[s3]'.") from error
        self.place = place.rstrip("/")
        self.bucket, self._prefix = found[1], found[2].lstrip("/")
        self._failures: tuple[type[Exception], ...] = (BotoCoreError,)
        self._answered: type[Exception] = ClientError
        try:
            self._session = get_session()
            if self._session.get_credentials() is None:
                raise StoreError(f"there are no AWS credentials for {place}. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID.")
            self._connect(None)
            self._check()
        except BotoCoreError as error:
            raise StoreError(f"{self.place} cannot be used: {error}") from error

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
        self.client = client(20, **more)
        self.slow = client(600, **more)  # S3 answers when it has copied
        self._region = str(self.client.meta.region_name).replace("aws-global", "us-east-1")
        sample = self.client.generate_presigned_url("head_object", Params={"Bucket": self.bucket, "Key": "k"})
        url = urlsplit(sample.partition("?")[0].removesuffix("/k"))
        self.origin = f"{url.scheme}://{url.netloc.removesuffix(':443' if url.scheme == 'https' else ':80')}"
        """Where its addresses lead to."""
        self._base = f"{self.origin}{quote(url.path)}"

    def _check(self) -> None:
        from botocore.exceptions import ConnectionError, HTTPClientError

        try:
            answer = self.client.head_bucket(Bucket=self.bucket)
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
        key = self.key("probe", secrets.token_hex(8))
        empty = base64.b64encode(bytes.fromhex(_EMPTY)).decode()
        self.client.put_object(Bucket=self.bucket, Key=key, Body=b"", ChecksumAlgorithm="SHA256", ChecksumSHA256=empty)
        try:
            found = self.client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
            self.client.list_objects_v2(Bucket=self.bucket, Prefix=key)
            self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=key)
        finally:
            self.client.delete_object(Bucket=self.bucket, Key=key)
        if found.get("ChecksumSHA256") != empty:
            raise StoreError(
                f"{self.origin} does not keep SHA-256 checksums (x-amz-checksum-sha256), which are needed."
            )

    def _unusable(self, error: Any) -> StoreError:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in ("404", "NoSuchBucket"):
            return StoreError(f"there is no bucket {self.bucket!r} at {self.origin}. Create it first.")
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            return StoreError(
                f"{self.place} refuses {error.operation_name} ({code}). docs/server.md has the policy it needs;"
                " check the credentials of AWS_PROFILE or AWS_ACCESS_KEY_ID."
            )
        return StoreError(f"{self.place} cannot be used: {error}")

    def close(self) -> None:
        """Let go of the connections. May be called twice."""
        self.client.close()
        self.slow.close()

    def key(self, *names: str) -> str:
        """The key of what has these names under the prefix."""
        return "/".join((self._prefix, *names) if self._prefix else names)

    def sign(self, method: str, key: str, headers: dict[str, str], fields: dict[str, str], seconds: int) -> str:
        """The address of a key for one request, good for so long. Raises :class:`Refusal` 503."""
        credentials = self._session.get_credentials()
        if credentials is None:
            raise _unavailable("the server has no credentials for it any more")
        frozen = credentials.get_frozen_credentials()
        return presign(method, f"{self._base}/{quote(key)}", headers, fields, frozen, self._region, seconds)

    @contextmanager
    def asking(self) -> Iterator[None]:
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


def _unavailable(why: str) -> Refusal:
    return Refusal(
        503, "INTERNAL_ERROR", f"The bucket with the files does not answer as it should ({why}).", "Try again later."
    )
