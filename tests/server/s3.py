"""S3 for the tests: moto behind a verifier of its own, as moto takes whatever signature it is given.

The verifier is written from the description of Signature Version 4, and shares nothing with the signer of the server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import logging
import os
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import boto3
import pytest
from moto.moto_api._internal import moto_api_backend
from moto.server import create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

ACCESS_KEY, SECRET_KEY, REGION, BUCKET = "AKIARUNDIALTESTS", "not/a+secret", "eu-central-1", "runs"
Environ = dict[str, Any]


class Denied(Exception):
    """What S3 answers to a request it does not take."""

    def __init__(self, status: str, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.body = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()


class S3Server:
    """A bucket at ``url``. ``puts`` are the keys (with part) that were put by signed addresses, ``gets`` those got.

    ``checked`` counts the puts whose SHA-256 was signed.
    """

    def __init__(self) -> None:
        self.puts: list[str] = []
        self.gets: list[str] = []
        self.checked = 0
        self.denied: list[str] = []
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        """Asked about each request; a status such as ``503 SlowDown``, with the code of S3, is the answer."""
        self.forgets_checksums = False
        moto_api_backend.reset()
        self._moto = create_backend_app("s3")
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    @property
    def environment(self) -> dict[str, str]:
        """What the server process is told of it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.url, region_name=REGION, aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )  # fmt: skip

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of all objects."""
        return [it["Key"] for it in self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())]

    def unfinished(self) -> list[str]:
        """The keys of all files that are arriving in parts."""
        return [it["Key"] for it in self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]

    def start(self) -> None:
        """Listen, where it did before."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True)
        self.port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections; what is stored stays."""
        assert self._server is not None and self._thread is not None
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        method, address = environ["REQUEST_METHOD"], environ["REQUEST_URI"]
        path, _, query = address.partition("?")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        status = self.fault(method, path)
        if status is not None:
            denied = Denied(status, status.partition(" ")[2])
            start_response(denied.status, [("content-length", str(len(denied.body)))])
            return [denied.body]
        signed = "X-Amz-Signature=" in query
        if method != "OPTIONS":
            try:
                verify(method, path, query, _headers(environ), body)
            except Denied as denied:
                self.denied.append(str(denied))
                start_response(denied.status, [("content-length", str(len(denied.body)))])
                return [denied.body]
        if signed:
            self.checked += method == "PUT" and "HTTP_X_AMZ_CHECKSUM_SHA256" in environ
            part = dict(parse_qsl(query)).get("partNumber")
            key = unquote(path).removeprefix(f"/{BUCKET}/")
            (self.puts if method == "PUT" else self.gets).append(key if part is None else f"{key}#{part}")
        if self.forgets_checksums:
            environ.pop("HTTP_X_AMZ_CHECKSUM_MODE", None)
        answered: Iterable[bytes] = self._moto(environ, start_response)
        return answered


def verify(method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> None:
    """Raises :class:`Denied` unless the request is signed as Signature Version 4 wants it, and its body is as said."""
    pairs = parse_qsl(query, keep_blank_values=True)
    fields = dict(pairs)
    if "X-Amz-Signature" in fields:
        pairs = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
        given, stamp, payload = fields["X-Amz-Signature"], fields["X-Amz-Date"], "UNSIGNED-PAYLOAD"
        credential, names = fields["X-Amz-Credential"], fields["X-Amz-SignedHeaders"].split(";")
        life = timedelta(seconds=int(fields["X-Amz-Expires"]))
        if len(fields) != len(pairs) + 1 or not timedelta(0) < life <= timedelta(days=7):
            raise Denied("403 Forbidden", "AuthorizationQueryParametersError")
    elif headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
        said = dict(item.strip().split("=", 1) for item in headers["authorization"].partition(" ")[2].split(","))
        given, credential, names = said["Signature"], said["Credential"], said["SignedHeaders"].split(";")
        stamp, payload, life = headers["x-amz-date"], headers["x-amz-content-sha256"], timedelta(minutes=15)
        if payload not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            raise Denied("400 Bad Request", "XAmzContentSHA256Mismatch")
    else:
        raise Denied("403 Forbidden", "AccessDenied")
    access_key, day, region, service, last = credential.split("/")
    if (access_key, region, service, last) != (ACCESS_KEY, REGION, "s3", "aws4_request") or not stamp.startswith(day):
        raise Denied("403 Forbidden", "InvalidAccessKeyId")
    unsigned = {name for name in headers if name.startswith("x-amz-")} - set(names)
    if "host" not in names or unsigned or names != sorted(names) or not set(names) <= set(headers):
        raise Denied("403 Forbidden", "AccessDenied")
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    canonical = "\n".join(
        [
            method,
            quote(unquote(path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in encoded),
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            ";".join(names),
            payload,
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{SECRET_KEY}".encode()
    for word in (day, region, service, last):
        key = hmac.digest(key, word.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{day}/{region}/{service}/{last}\n{digest}"
    if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), given):
        raise Denied("403 Forbidden", "SignatureDoesNotMatch")
    age = datetime.now(UTC) - datetime.strptime(stamp, "%Y%m%dT%H%M%S%z")
    if not timedelta(minutes=-15) < age < life:
        raise Denied("403 Forbidden", "AccessDenied")
    said_sum = headers.get("x-amz-checksum-sha256")
    if said_sum is not None and said_sum != base64.b64encode(hashlib.sha256(body).digest()).decode():
        raise Denied("400 Bad Request", "BadDigest")


def _headers(environ: Environ) -> dict[str, str]:
    found = {
        name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_LENGTH"):
        found["content-length"] = environ["CONTENT_LENGTH"]
    if environ.get("CONTENT_TYPE"):
        found["content-type"] = environ["CONTENT_TYPE"]
    return found


def running() -> Iterable[S3Server]:
    """The body of a fixture: an empty bucket, known to this process and its children by the environment."""
    server = S3Server()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        yield server
    server.stop()
