"""Requests to a server that wait for their answer, with its errors as exceptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from rundial.config import DEFAULT_PORT, checked_endpoint, key_for, local_server
from rundial.errors import AuthError, RequestError, UnreachableError
from rundial.version import __version__

Json = dict[str, Any]
SESSION_COOKIE = "rd_session"
CLIENT = f"rundial-python/{__version__}"
_API = "/api/v1"


class HttpSession:
    """One connection to one server, kept alive between calls.

    Args:
        endpoint: base URL; None: this machine's own server, or where one would be.
        api_key: None takes the one that is configured for this endpoint.
        session_token: of a browser's session, where there is no key.
        request_timeout_seconds: the longest to wait for an answer.

    Raises:
        ConfigError: an endpoint that is no URL.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        api_key: str | None = None,
        session_token: str | None = None,
        request_timeout_seconds: float = 7.0,
    ) -> None:
        server = local_server() if endpoint is None else None
        if endpoint is None:
            endpoint = server.url if server else f"http://127.0.0.1:{DEFAULT_PORT}"
        self._url = checked_endpoint(endpoint)
        self._key = api_key if api_key is not None or session_token is not None else key_for(self._url)
        self._token = session_token
        self._timeout = request_timeout_seconds
        self._session: Any = None
        self._closed = False

    @property
    def endpoint(self) -> str:
        """Base URL of the server."""
        return self._url

    @property
    def api_key(self) -> str | None:
        """The key that is sent."""
        return self._key

    @property
    def session_token(self) -> str | None:
        """The session that is sent when there is no key."""
        return self._token

    def set_session_token(self, session_token: str | None) -> None:
        """Use another session, or none."""
        self._token = session_token

    def close_session(self) -> None:
        """Let go of the connection. Later calls raise."""
        self._closed = True
        if self._session is not None:
            self._session.close()

    def pages(
        self, operation: str, path: str, name: str, limit: int, max_pages: int, **query: str | None
    ) -> list[Json]:
        """The rows of a list that comes in pages."""
        rows: list[Json] = []
        cursor: str | None = None
        for _ in range(max_pages):
            page = self.call(operation, "GET", path, query={"limit": limit, "cursor": cursor, **query})
            rows += page[name]
            cursor = next_cursor(page)
            if cursor is None:
                break
        return rows

    def call(
        self,
        operation: str,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        signing: bool = False,
    ) -> Json:
        """The JSON object that a route answers.

        Args:
            operation: what it is for, in the words of an error.
            path: of the route, behind ``/api/v1``.
            query: parameters; those that are None are left out.
            signing: this signs in or out, so the session is sent and not the key.

        Raises:
            AuthError, UnreachableError, RequestError: the key is refused; no answer; any other that is no success.
        """
        import requests  # a script that only logs never loads it

        if self._closed:
            raise RequestError(f"{operation}: this client is closed. Make another one.")
        if self._session is None:
            self._session = self._connect()
        try:
            response = self._session.request(
                method,
                f"{self._url}{_API}{path}",
                params={name: value for name, value in (query or {}).items() if value is not None},
                data=None if body is None else msgspec.json.encode(body),
                headers=self._headers(body is not None, signing),
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.Timeout as error:
            message = f"{operation} failed: {self._url} did not answer within {self._timeout:g} s"
            raise UnreachableError(message, None, "REQUEST_TIMEOUT") from error
        except requests.RequestException as error:
            raise UnreachableError(f"{operation} failed: no answer from {self._url} ({_cause(error)})") from error
        if not response.ok or response.is_redirect:
            raise _refusal(operation, response.status_code, response.content)
        try:
            return msgspec.json.decode(response.content, type=Json)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            message = f"{operation} failed: {self._url} answered something that is no JSON object. Is it a proxy?"
            raise RequestError(message, response.status_code) from error

    def download(self, operation: str, path: str, write: Callable[[bytes], object]) -> None:
        """Hand the bytes that a route answers to ``write``, piece by piece. Raises as :meth:`call` does."""
        import requests

        if self._session is None:
            self._session = self._connect()
        try:
            with self._session.get(
                f"{self._url}{_API}{path}",
                headers=self._headers(False, False),
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                if not response.ok or response.is_redirect:
                    raise _refusal(operation, response.status_code, response.content)
                for piece in response.iter_content(1024 * 1024):
                    write(piece)
        except requests.RequestException as error:
            raise UnreachableError(f"{operation} failed: no answer from {self._url} ({_cause(error)})") from error

    def _connect(self) -> Any:
        import requests

        session = requests.Session()
        # A proxy from the environment has no business on this machine.
        session.trust_env = urlsplit(self._url).hostname not in ("127.0.0.1", "localhost", "::1")
        session.headers.update({"user-agent": CLIENT, "x-rundial-client": CLIENT, "x-rundial-protocol": "1"})
        session.auth = _without_netrc
        return session

    def _headers(self, has_body: bool, signing: bool) -> dict[str, str]:
        headers = {"content-type": "application/json"} if has_body else {}
        if self._key and not signing:
            return {**headers, "authorization": f"Bearer {self._key}"}
        if self._token:
            headers["cookie"] = f"{SESSION_COOKIE}={self._token}"
        # A session alone could be another site's doing; this says that it is not.
        return {**headers, "origin": "/".join(self._url.split("/")[:3])}


def _without_netrc(request: Any) -> Any:
    """requests would put a password of ~/.netrc in the place of the key."""
    return request


def _cause(error: BaseException) -> str:
    """The innermost reason: what lies around it repeats the address and names objects in memory."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"


def _refusal(operation: str, status: int, content: bytes) -> RequestError:
    code = message = hint = None
    try:
        error = msgspec.json.decode(content, type=Json).get("error")
        if isinstance(error, dict):
            details = error.get("details")
            code, message = _text(error.get("code")), _text(error.get("message"))
            hint = _text(details.get("hint")) if isinstance(details, dict) else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass  # a proxy's page: the status has to speak for it
    text = f"{operation} failed with HTTP {status}"
    if message:
        said = message.removesuffix(".")
        text += f" ({code}: {said})" if code else f" ({said})"
    if hint:
        text += f". Hint: {hint}"
    kind = AuthError if status in (401, 403) else RequestError
    return kind(text, status, code, message, hint)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def route(*segments: str) -> str:
    """The segments as a path, each quoted."""
    return "".join("/" + quote(str(segment), safe="") for segment in segments)


def given(**fields: Any) -> Json:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def next_cursor(page: Json) -> str | None:
    """Where the page after this one begins; None when it is the last."""
    about = page.get("page")
    if not isinstance(about, dict) or not about.get("hasMore"):
        return None
    return _text(about.get("nextCursor"))
