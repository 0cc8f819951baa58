"""Requests of the JSON wire, and what the answers of a server in the field mean; see docs/wire.md."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from rundial.config import DEFAULT_WORKSPACE, Settings
from rundial.delivery import Refusal, StoreClient
from rundial.errors import RequestError
from rundial.transport import Outcome, Verdict, _gzip, parse_retry_after, request_error

Json = dict[str, Any]
TARGET_FIELDS = ("orgId", "workspaceSlug", "workspaceName", "projectSlug", "projectName", "projectId")
_TRANSIENT_CODES = ("RATE_LIMITED", "REQUEST_TIMEOUT", "INTERNAL_ERROR")


class Target(NamedTuple):
    """The project that a run belongs to, as its server knows it."""

    org_id: str
    workspace: str
    project: str
    project_id: str


class Answer(NamedTuple):
    """What a request came to: ``document`` is the JSON object of a success, ``outcome`` what else it was."""

    document: Json | None
    outcome: Outcome
    said: Json
    """The JSON object of any answer, empty when there was none."""

    @property
    def status(self) -> int | None:
        return None if self.outcome.error is None else self.outcome.error.status_code


class JsonApi(StoreClient):
    """The JSON routes of one server, over kept-alive connections. Safe for several threads.

    Args:
        endpoint: base URL.
        api_key: sent to that server alone.
        settings: timeouts and compression.
    """

    def __init__(self, endpoint: str, api_key: str | None, settings: Settings) -> None:
        super().__init__(endpoint, api_key, settings.request_timeout_seconds)
        self._gzip_from = settings.gzip_min_bytes if settings.gzip_enabled else sys.maxsize

    def ask(self, method: str, path: str, body: Json | None = None, packed: bool = False) -> Answer:
        """Send a request and say what became of it; raises nothing for what a network or server does.

        Args:
            method: GET or POST.
            path: behind ``/api/v1/``; with a slash at its beginning, behind the endpoint.
            body: the JSON object to send.
            packed: the route takes gzip.
        """
        data = None if body is None else msgspec.json.encode(body)
        headers = dict(self._headers)
        if data is not None and packed and len(data) >= self._gzip_from:
            data = _gzip(data)
            headers["content-encoding"] = "gzip"
        url = f"{self.endpoint}{path}" if path.startswith("/") else f"{self.endpoint}/api/v1/{path}"
        try:
            status, answered, content = self._request(method, url, headers, data, self._timeout)
        except Refusal as refusal:
            return Answer(None, refusal.outcome, {})
        said = _object(content)
        if 200 <= status < 300 and said is not None:
            return Answer(said, Outcome("acknowledged"), said)
        error = request_error(self.endpoint, status, content)
        if error.error_code == "UNSUPPORTED_ENCODING":
            self._gzip_from = sys.maxsize
        retry_after = parse_retry_after(answered.get("retry-after"))
        return Answer(None, Outcome(verdict_of(status, error), None, retry_after, error), said or {})

    def must(self, method: str, path: str, body: Json | None = None) -> Json:
        """The document of an answer that is a success. Raises :class:`Refusal`."""
        answer = self.ask(method, path, body)
        if answer.document is None:
            raise Refusal(answer.outcome)
        return answer.document

    def target(self, workspace: str, project: str) -> Target:
        """The project behind two slugs. Raises :class:`Refusal`."""
        key = (self.endpoint, workspace, project)
        if key not in _targets:
            _targets[key] = self._resolve(workspace, project)
        return _targets[key]

    def _resolve(self, workspace: str, project: str) -> Target:
        answer = self.ask("POST", "runs/resolve-target", {"workspace": workspace, "project": project})
        if answer.document is not None:
            found = [answer.document.get(field) for field in TARGET_FIELDS]
            if all(isinstance(value, str) and value for value in found):
                org, slug, _, project_slug, _, project_id = found
                return Target(str(org), str(slug), str(project_slug), str(project_id))
            error = RequestError(f"{self.endpoint} did not say which project {project!r} is; update that server.")
            raise Refusal(Outcome("refused", error=error))
        if answer.status == 404 and answer.outcome.verdict == "refused" and workspace == DEFAULT_WORKSPACE:
            return Target("", workspace, project, project)  # no workspace was named: the project may be given by its id
        raise Refusal(answer.outcome)


def project_of(client: StoreClient, workspace: str, project: str) -> str:
    """The id of a project at the server that a client talks to. Raises :class:`Refusal`."""
    api = JsonApi(client.endpoint, client.api_key, Settings(endpoint=client.endpoint))
    try:
        return api.target(workspace, project).project_id
    finally:
        api.close()


_targets: dict[tuple[str, str, str], Target] = {}
"""What servers have answered; it does not change."""


def _object(content: bytes) -> Json | None:
    try:
        return msgspec.json.decode(content, type=Json)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def verdict_of(status: int, error: RequestError) -> Verdict:
    """What an answer that is no success says of the request."""
    if status in (401, 403):
        return "denied"
    if error.error_code == "UNSUPPORTED_ENCODING":
        return "retry"  # the next try goes uncompressed
    if status == 413:
        return "bad"  # a proxy in between may have a limit of its own: smaller parts pass
    if status in (408, 429) or status >= 500 or error.error_code in _TRANSIENT_CODES or not error.error_code:
        return "retry"  # without an error of the API it is somebody in between who speaks
    return "refused" if status in (404, 405, 409) else "bad"


def segments(*names: str) -> str:
    """Names as a path, each quoted."""
    return "/".join(quote(name, safe="") for name in names)
