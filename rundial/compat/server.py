"""One question to a Rundial server, for doors whose interface asks before it answers."""

from __future__ import annotations

from typing import Any

from rundial.errors import RequestError, UnreachableError
from rundial.transport import CLIENT, request_error

SECONDS = 10.0


def ask(endpoint: str, api_key: str | None, method: str, path: str, body: Any = None, **params: Any) -> dict[str, Any]:
    """The answer's JSON object.

    Args:
        endpoint: base URL of the server.
        api_key: sent to that server alone; redirects are not followed.
        body: sent as JSON.
        params: of the query; None is left out.

    Raises:
        UnreachableError: no answer within ten seconds.
        RequestError: any answer but a good one.
    """
    import requests

    headers = {"x-rundial-client": CLIENT}
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    try:
        answer = requests.request(
            method,
            endpoint + path,
            params={name: value for name, value in params.items() if value is not None},
            json=body,
            headers=headers,
            timeout=SECONDS,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        raise UnreachableError(f"no answer from {endpoint}: {type(error).__name__}. Is the server running?") from error
    if answer.status_code != 200:
        raise request_error(endpoint, answer.status_code, answer.content)
    try:
        document = answer.json()
    except ValueError as error:
        raise RequestError(f"{endpoint}{path} answered with something that is no JSON.", 200) from error
    if not isinstance(document, dict):
        raise RequestError(f"{endpoint}{path} answered with something that is no JSON object.", 200)
    return document
