"""Signed addresses: a request that needs no key because the server itself wrote down what it may do."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import parse_qsl, urlencode

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
