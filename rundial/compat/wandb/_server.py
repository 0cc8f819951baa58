"""The server that ``Api`` and artifacts ask: the configured one, else this machine's own. None is started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rundial.client import HttpClient
from rundial.compat.wandb.errors import AuthenticationError, CommError
from rundial.config import local_server, resolve
from rundial.errors import AuthError, RequestError, UnreachableError

PAGE = 1000
DEFAULT_WORKSPACE = "default-workspace"


def connect(endpoint: str | None = None, timeout: float | None = None) -> HttpClient:
    """A connection to the server; nothing is sent yet.

    Args:
        endpoint: base URL; None: the configured one, else that of this machine.
        timeout: seconds to wait for an answer.

    Raises:
        CommError: neither is there.
    """
    settings = resolve({"endpoint": endpoint})
    if settings.endpoint is None and local_server() is None:
        raise CommError("no server is running to ask; start one with `rundial ui`, or set RUNDIAL_ENDPOINT.")
    return HttpClient(settings.endpoint, api_key=settings.api_key, request_timeout_seconds=timeout or 20.0)


def ask(
    client: HttpClient, operation: str, method: str, path: str, body: dict[str, Any] | None = None, /, **query: Any
) -> dict[str, Any]:
    """One answer of the server, with W&B's errors.

    Raises:
        AuthenticationError: the key is refused.
        CommError: no answer, or a refusal; ``exc`` is what it was.
    """
    try:
        return client.call(operation, method, path, body, query=query)
    except AuthError as error:
        raise AuthenticationError(str(error), error) from error
    except UnreachableError as error:
        raise CommError(f"{error}. Is the server running? `rundial ui` starts one.", error) from error
    except RequestError as error:
        raise CommError(str(error), error) from error


def rows(client: HttpClient, operation: str, path: str, name: str, /, **query: Any) -> Iterator[dict[str, Any]]:
    """The rows of a list, page by page as they are wanted. Raises as :func:`ask`."""
    cursor: str | None = None
    while True:
        page = ask(client, operation, "GET", path, limit=PAGE, cursor=cursor, **query)
        yield from page[name]
        about = page.get("page") or {}
        cursor = about.get("nextCursor") if about.get("hasMore") else None
        if not cursor:
            return


def status_of(error: CommError) -> int | None:
    """The HTTP status behind an error."""
    return getattr(error.exc, "status_code", None)


def workspace() -> str:
    """The workspace: entities are not looked up, for a store of one's own has one workspace."""
    return str(resolve({}).workspace or DEFAULT_WORKSPACE)
