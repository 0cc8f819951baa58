"""Which of the two wires a server speaks: that of records, or the JSON wire of servers in the field.

A server counts as one without records when it says that the route is not there *and* answers another question as that
API does. A page of a guest network does neither. What was found holds for the process and is looked at again now and
then, so that a server which was replaced by a newer one gets records again. A stream that began over the JSON wire ends
over it, which newer servers speak as well: no server would recognise what comes half one way and half the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rundial.config import DEFAULT_PROJECT, DEFAULT_WORKSPACE, Settings
from rundial.delivery import StoreClient, deliver
from rundial.forks import load
from rundial.staging import Job
from rundial.transport import HttpTransport, Outcome

if TYPE_CHECKING:
    from rundial.json_api import JsonApi
    from rundial.json_sender import JsonTransport

RECHECK_SECONDS = 300.0
WITHOUT_ROUTE = (404, 405, 501)
OBJECTIONS = (400, 403, 409, 422)
"""What a route that is there says of a project it does not like."""
_NOBODY = "0" * 32
"""No stream has this id."""


class _Found(NamedTuple):
    has_records: bool
    at: float


_found: dict[str, _Found] = {}
"""What is known of each endpoint."""


class AnyTransport:
    """Delivery to a server of either kind.

    Args:
        endpoint: base URL of the server.
        api_key: sent to that server alone.
        settings: timeouts and compression.
        live: the streams are this process's own, and not left by one that is gone.
    """

    def __init__(self, endpoint: str, api_key: str | None, settings: Settings, live: bool = False) -> None:
        self.endpoint = endpoint
        self._api_key = api_key
        self._settings = settings
        self._live = live
        self._records = HttpTransport(endpoint, api_key, settings)
        self._json: JsonTransport | None = None

    def deliver(self, stream: str, body: bytes) -> Outcome:
        """As :meth:`rundial.transport.Transport.deliver` has it."""
        if self._json is not None and self._json.knows(stream):
            return self._json.deliver(stream, body)
        known = _found.get(self.endpoint)
        fresh = known is not None and time.monotonic() - known.at < RECHECK_SECONDS
        if known is None or known.has_records or not fresh:
            outcome = self._records.deliver(stream, body)
            if outcome.reply is not None:
                if known is None or not known.has_records:
                    _note(self.endpoint, has_records=True)
                return outcome
            if _status(outcome) not in WITHOUT_ROUTE or fresh:
                return outcome
            if not _lacks_records(self.endpoint, self._api_key, self._settings):
                return outcome
        return self._over_json().deliver(stream, body)

    def close(self) -> None:
        """Let go of connections."""
        self._records.close()
        if self._json is not None:
            self._json.close()

    def _over_json(self) -> JsonTransport:
        if self._json is None:
            load("rundial.json_sender")  # most processes never need it
            from rundial.json_sender import JsonTransport

            self._json = JsonTransport(self.endpoint, self._api_key, self._settings, self._live)
        return self._json


def is_known_to_lack_records(endpoint: str | None) -> bool:
    """Whether this process has found that a server has no route for records. Asks nobody."""
    known = None if endpoint is None else _found.get(endpoint)
    return known is not None and not known.has_records


def speaks_json_only(endpoint: str, api_key: str | None, settings: Settings) -> bool:
    """Whether a server has no route for records. Asks it unless that is known."""
    known = _found.get(endpoint)
    if known is not None:
        return not known.has_records
    records = HttpTransport(endpoint, api_key, settings)
    try:
        outcome = records.deliver(_NOBODY, b"")
    finally:
        records.close()
    if outcome.reply is not None:
        _note(endpoint, has_records=True)
    return _status(outcome) in WITHOUT_ROUTE and _lacks_records(endpoint, api_key, settings)


def deliver_upload(
    folder: Path,
    job: Job,
    client: StoreClient,
    advance: Callable[[int], None] = lambda size: None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Upload a settled job to a server of either kind, as :func:`rundial.delivery.deliver` has it."""
    if not speaks_json_only(client.endpoint, client.api_key, Settings(endpoint=client.endpoint)):
        return deliver(folder, job, client, advance, stopping)
    load("rundial.json_uploads")
    from rundial import json_uploads

    return json_uploads.deliver(folder, job, client, advance, stopping)


def owner_fields(client: StoreClient, workspace: str, project: str) -> dict[str, Any]:
    """What a server of the older kind wants to hear of the project with each request; nothing for any other.

    Raises :class:`Refusal`.
    """
    if not speaks_json_only(client.endpoint, client.api_key, Settings(endpoint=client.endpoint)):
        return {}
    from rundial.json_api import project_of

    return {"projectId": project_of(client, workspace, project)}


def _lacks_records(endpoint: str, api_key: str | None, settings: Settings) -> bool:
    """Whether a server whose route for records is not there is one of the older kind, as it answers other questions."""
    load("rundial.json_api")
    from rundial.json_api import JsonApi

    api = JsonApi(endpoint, api_key, settings)
    try:
        found = _has_records(api)
    finally:
        api.close()
    if found is not None:
        _note(endpoint, found)
    return found is False


def _has_records(api: JsonApi) -> bool | None:
    """Whether the server takes records, by its own word; None when it is no server that can be asked."""
    from rundial.json_api import TARGET_FIELDS

    said = api.ask("GET", "cli/capabilities").document
    if said is not None and isinstance(said.get("version"), str):
        return bool(said.get("records"))
    body = {"workspace": DEFAULT_WORKSPACE, "project": DEFAULT_PROJECT}
    answer = api.ask("POST", "runs/resolve-target", body)
    if answer.document is not None:
        return False if all(isinstance(answer.document.get(field), str) for field in TARGET_FIELDS) else None
    error = answer.outcome.error
    if error is None or not error.error_code:
        return None
    if answer.status in OBJECTIONS:
        return False
    # A project that is not there, or nothing but this answer to everything?
    return False if answer.status == 404 and api.ask("GET", "/health/ready").document is not None else None


def _note(endpoint: str, has_records: bool) -> None:
    _found[endpoint] = _Found(has_records, time.monotonic())


def _status(outcome: Outcome) -> int | None:
    return None if outcome.error is None else outcome.error.status_code
