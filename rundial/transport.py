"""Delivery of chunks to a server: one method that says what became of them."""

from __future__ import annotations

import os
import sys
import time
import zlib
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from rundial.config import Settings
from rundial.errors import AuthError, RequestError
from rundial.events import PROTOCOL
from rundial.forks import load
from rundial.version import __version__
from rundial.wire import CONTENT_TYPE, IngestReply

CLIENT = f"rundial-python/{__version__}"
MAX_REPLY_BYTES = 4 * 1024 * 1024
MAX_DELAY_SECONDS = 5.0
MAX_RETRY_AFTER_SECONDS = 60.0
DENIED_DELAY_SECONDS = 60.0

Verdict = Literal["acknowledged", "behind", "retry", "denied", "refused", "bad"]


class Outcome(NamedTuple):
    """What became of one delivery.

    ``acknowledged``: ``reply.next`` says how far. ``behind``: the server expects an earlier sequence, ``reply.next``.
    ``retry``: nothing is known; send again after a while. ``denied``: 401 or 403. ``refused``: the run cannot be what
    it claims to be. ``bad``: something in these bytes is not acceptable.
    """

    verdict: Verdict
    reply: IngestReply | None = None
    retry_after: float | None = None
    error: RequestError | None = None
    left_out: dict[str, int] = {}
    """Parts of acknowledged records that the server has no place for, by what they are."""


class Transport(Protocol):
    """Where chunks go. Implementations never raise for what a network or server does: they answer an Outcome."""

    def deliver(self, stream: str, body: bytes) -> Outcome:
        """Send packed chunks of one stream, or nothing at all as a sign of life."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class HttpTransport:
    """Delivery over HTTP with one keep-alive connection.

    Args:
        endpoint: base URL of the server.
        api_key: sent to that server alone; redirects are not followed.
        settings: timeouts and compression.
    """

    def __init__(self, endpoint: str, api_key: str | None, settings: Settings) -> None:
        load("urllib3", "urllib.request", "email.utils", "random", "encodings.idna")
        from urllib.parse import urlsplit

        import urllib3  # not requests: most of its time goes into what a fixed endpoint never needs

        self.endpoint = endpoint
        self._errors = (urllib3.exceptions.HTTPError, OSError, ValueError)
        loopback = urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")
        timeout = settings.request_timeout_seconds
        self._pool = _pool(
            None if loopback else _proxy(endpoint),
            timeout=urllib3.Timeout(connect=min(timeout, 5.0), read=timeout),
            retries=False,
            maxsize=1,
        )
        # On this machine compressing costs both ends time and saves nothing.
        self._gzip_from = settings.gzip_min_bytes if settings.gzip_enabled and not loopback else sys.maxsize
        self._headers = {
            "content-type": CONTENT_TYPE,
            "user-agent": CLIENT,
            "x-rundial-client": CLIENT,
            "x-rundial-protocol": str(PROTOCOL),
        }
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"

    def deliver(self, stream: str, body: bytes) -> Outcome:
        headers = {**self._headers, "x-rundial-stream": stream}
        if len(body) >= self._gzip_from:
            body = _gzip(body)
            headers["content-encoding"] = "gzip"
        try:
            response = self._pool.request(
                "POST",
                f"{self.endpoint}/api/v1/ingest/records",
                body=body,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
            content = response.read(MAX_REPLY_BYTES)
            response.drain_conn()
        except self._errors as error:
            return Outcome("retry", error=RequestError(f"no answer from {self.endpoint}: {_cause(error)}"))
        return read_answer(self.endpoint, stream, response.status, response.headers, content)

    def close(self) -> None:
        self._pool.clear()


def _proxy(endpoint: str) -> str | None:
    """The proxy that the environment names for this endpoint."""
    from urllib.request import getproxies, proxy_bypass

    scheme, _, rest = endpoint.partition("://")
    host = rest.partition("/")[0]
    return None if proxy_bypass(host) else getproxies().get(scheme)


def _pool(proxy: str | None, **options: Any) -> Any:
    import urllib3

    # The variables that requests reads, so that a company's certificate set once works here too.
    certificates = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if certificates:
        options["ca_certs"] = certificates
    return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    return compressor.compress(body) + compressor.flush()


def _cause(error: BaseException) -> str:
    """The innermost reason, without the object addresses that urllib3 puts into its messages."""
    while (inner := error.__cause__ or error.__context__ or _reason(error)) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"


def _reason(error: BaseException) -> BaseException | None:
    reason = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    return reason if isinstance(reason, BaseException) else None


def read_answer(endpoint: str, stream: str, status: int, headers: Any, content: bytes) -> Outcome:
    """An HTTP answer as an Outcome. Only one that names the stream and the sequence reached acknowledges anything."""
    reply = _reply(content)
    if reply is not None and reply.stream == stream and status in (200, 409):
        return Outcome("acknowledged" if status == 200 else "behind", reply)
    error = request_error(endpoint, status, content)
    retry_after = parse_retry_after(headers.get("retry-after"))
    if status in (401, 403):
        return Outcome("denied", retry_after=retry_after, error=error)
    if status in (404, 409) and error.error_code:
        return Outcome("refused", error=error)
    if status == 413 or (status in (400, 415, 422) and error.error_code):
        return Outcome("bad", error=error)  # a proxy in between may have a limit of its own: smaller parts pass
    return Outcome("retry", retry_after=retry_after, error=error)


def _reply(content: bytes) -> IngestReply | None:
    try:
        return msgspec.json.decode(content, type=IngestReply)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def request_error(endpoint: str, status: int, content: bytes) -> RequestError:
    """The error envelope of an answer as an exception, with a message for the user."""
    code = message = hint = None
    try:
        envelope = msgspec.json.decode(content, type=dict[str, Any]).get("error")
        if isinstance(envelope, dict):
            code, message = envelope.get("code"), envelope.get("message")
            details = envelope.get("details")
            hint = details.get("hint") if isinstance(details, dict) else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass  # a proxy's page: the status has to speak for it
    text = f"{endpoint} answered HTTP {status}"
    if 300 <= status < 400:
        text += ", a redirect, which is not followed with a key; set the endpoint to the final address"
    elif 200 <= status < 300:
        text += " with something that is no acknowledgement; is a proxy or login page in between?"
    elif message:
        text += f": {message}"
    if hint:
        text += f" {hint}"
    kind = AuthError if status in (401, 403) else RequestError
    if kind is AuthError:
        text += " This client takes its key from api_key=, RUNDIAL_API_KEY or config.toml."
    return kind(text, status, _text(code), _text(message), _text(hint))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def parse_retry_after(value: str | None) -> float | None:
    """Seconds to wait from a ``Retry-After`` header, given in seconds or as a date (RFC 9110 §10.2.3); at most 60."""
    if not value:
        return None
    import email.utils

    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def delay(outcome: Outcome, attempt: int) -> float:
    """Seconds to wait after the ``attempt``-th failure in a row (from 1): exponential, with jitter, at most 5.

    The cap is low because a refused connection costs nothing and people wait for their curves; what a server asks for
    with ``Retry-After`` is obeyed up to a minute, and a refused key is tried once a minute.
    """
    if outcome.retry_after is not None:
        return outcome.retry_after
    if outcome.verdict in ("denied", "refused"):
        return DENIED_DELAY_SECONDS
    import random

    return float(min(MAX_DELAY_SECONDS, 0.1 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1.0))
