"""Signed addresses: a request that needs no key because the server itself wrote down what it may do.

:class:`Signer` signs addresses of this server, :func:`presign` those of S3 (AWS Signature Version 4 in the query,
docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from rundial.server.store.accounts import now_ms
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import Refusal

_LONGEST = 8192
_SIGNATURE = "signature"
_EXPIRES = "expires"


class Signer:
    """Signs and checks addresses. The signature covers method, path and every parameter, none of which may be added.

    Args:
        secret: what nobody else knows.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, method: str, path: str, fields: dict[str, str | int], seconds: int) -> str:
        """``path`` with its query; good for ``seconds``."""
        query = urlencode(sorted({**fields, _EXPIRES: now_ms() + seconds * 1000}.items()))
        return f"{path}?{query}&{_SIGNATURE}={self._signature(method, path, query)}"

    def check(self, method: str, path: str, query: str) -> dict[str, str]:
        """The fields of a signed address. Raises :class:`Refusal` 403 when it is not just as signed, or has expired."""
        try:
            pairs = parse_qsl(query[: _LONGEST + 1], keep_blank_values=True, strict_parsing=True, errors="strict")
        except ValueError:
            pairs = []
        fields = dict(pairs)
        given = fields.pop(_SIGNATURE, "")
        expected = self._signature(method, path, urlencode(sorted(fields.items())))
        if len(pairs) != len(fields) + 1 or not hmac.compare_digest(given.encode(), expected.encode()):
            raise forbidden("This address was not signed by this server, or was changed since.")
        if int(fields.pop(_EXPIRES)) <= now_ms():
            raise forbidden("This address has expired.")
        return fields

    def _signature(self, method: str, path: str, query: str) -> str:
        return hmac.new(self._secret, f"{method}\n{path}\n{query}".encode(), hashlib.sha256).hexdigest()


class Credentials(Protocol):
    """Of an account of AWS, as botocore has them."""

    access_key: str
    secret_key: str
    token: str | None


def presign(
    method: str,
    url: str,
    headers: dict[str, str],
    fields: dict[str, str],
    credentials: Credentials,
    region: str,
    seconds: int,
) -> str:
    """An address of S3 that is good for ``seconds``, for this method, these headers and these fields alone.

    Args:
        method: of HTTP.
        url: address of the object, without a query and with nothing in its path that needs to be quoted.
        headers: names in lowercase; the request must have each of them with just this value.
        fields: parameters of the query.
        credentials, region: of whom and where it is signed.
        seconds: at most a week.
    """
    parts = urlsplit(url)
    signed = {"host": parts.netloc, **headers}
    names = ";".join(sorted(signed))
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    asked = {
        **fields,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": names,
    }
    if credentials.token:
        asked["X-Amz-Security-Token"] = credentials.token
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(asked[name], safe='-_.~')}" for name in sorted(asked))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    request = "\n".join((method, parts.path, query, lines, names, "UNSIGNED-PAYLOAD"))
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.new(_signing_key(credentials.secret_key, stamp[:8], region), text.encode(), hashlib.sha256)
    return f"{url}?{query}&X-Amz-Signature={signature.hexdigest()}"


@lru_cache(maxsize=4)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for text in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return key


def forbidden(message: str) -> Refusal:
    return Refusal(403, "FORBIDDEN", message, "Ask for a new one: initiate the upload again, or the download.")


def signing_secret(engine: Engine) -> bytes:
    """The secret of this data folder, made when there is none."""
    return bytes.fromhex(engine.write(_secret).result())


def _secret(db: Db) -> str:
    db.execute(
        "INSERT INTO settings (name, value) VALUES ('signing_secret', ?) ON CONFLICT (name) DO NOTHING",
        (secrets.token_hex(32),),
    )
    return str(db.execute("SELECT value FROM settings WHERE name = 'signing_secret'").fetchone()[0])
