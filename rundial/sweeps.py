"""Sweeps: runs that search together for good parameters.

:func:`join` says which sweep a run belongs to, and waits for nothing. Whoever makes the trials can have a
:class:`Link`: it tells the server of the sweep beforehand, and asks between two trials whether people want another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rundial.config import DEFAULT_PROJECT, DEFAULT_WORKSPACE, local_server, resolve
from rundial.diagnostics import warn
from rundial.errors import RequestError, UnreachableError
from rundial.runs import Run
from rundial.values import redacted

if TYPE_CHECKING:
    from rundial.client import HttpClient

FIELD = "_sweep"
"""Where a run's configuration says which sweep it belongs to."""
ANSWER_SECONDS = 3.0
"""The longest that a trial waits for what the server says of its sweep."""
SILENT_SECONDS = 60.0
"""How long a server that gave no answer is left alone."""
PAUSE_SECONDS = 2.0
"""How often a paused sweep asks whether to go on."""


def join(run: Run, sweep_id: str, config: Mapping[str, Any] | None = None, *, name: str | None = None) -> bool:
    """Let a run belong to a sweep. The record travels with the run, so it needs no server now.

    Args:
        run: one trial.
        sweep_id: the same for all trials of the search; 1 to 128 printable characters without ``/``.
        config: what the search is, as ``wandb.sweep`` takes it: ``method``, ``metric`` with ``name`` and ``goal``,
            ``parameters``. What is left out stays as other runs have told it.
        name: of the sweep, for people.

    Returns:
        Whether the records were taken in. False, after one warning, for an id that cannot be one.
    """
    if not is_id(sweep_id):
        run._counters.warn_once("sweep", f"{sweep_id!r:.80} cannot be the id of a sweep; the run belongs to none.")
        return False
    told = tell(run, sweep_id, config, name=name)
    return run.update_config({FIELD: sweep_id}) and told


def tell(run: Run, sweep_id: str, config: Mapping[str, Any] | None = None, *, name: str | None = None) -> bool:
    """Say what a sweep is by way of one of its runs; arguments as :func:`join` has them."""
    return run._update(sweep={"id": sweep_id, "name": name or "", "config": redacted(dict(config or {}))})


def is_id(sweep_id: object) -> bool:
    """Whether this can be the id of a sweep."""
    return isinstance(sweep_id, str) and 0 < len(sweep_id) <= 128 and sweep_id.isprintable() and "/" not in sweep_id


def page(server: str, workspace: str, project: str, sweep_id: str) -> str:
    """The address of a sweep's page; ``server`` is the base URL."""
    place = "/".join(quote(part, safe="") for part in ("p", workspace, project, "sweeps"))
    return f"{server}/#/{place}?sweep={quote(sweep_id, safe='')}"


class Link:
    """What a server and the people at its page have to do with a sweep; nothing where there is no server.

    It never raises for what a server or a network does, and a call takes at most three seconds; a server that gives no
    answer is left alone for a minute.

    Args:
        sweep_id: of the sweep.
        project, workspace, endpoint, api_key: where its runs go; what is left out is as configured.
        mode: ``online``, or a mode in which no server is asked.
    """

    def __init__(
        self,
        sweep_id: str,
        *,
        project: str | None = None,
        workspace: str | None = None,
        endpoint: str | None = None,
        api_key: str | None = None,
        mode: str | None = None,
    ) -> None:
        given = {"project": project, "workspace": workspace, "endpoint": endpoint, "api_key": api_key, "mode": mode}
        settings = resolve({name: value for name, value in given.items() if value is not None})
        self._place = (settings.workspace or DEFAULT_WORKSPACE, settings.project or DEFAULT_PROJECT)
        self._settings = settings
        self._sweep_id = sweep_id
        self._client: HttpClient | None = None
        self._silent_until = 0.0
        self._wanted = "running"
        self._warned = False
        self._lock = threading.Lock()

    def announce(self, config: Mapping[str, Any], *, name: str | None = None) -> bool:
        """Tell the server of the sweep; whether it has taken it in. If not, its runs will tell."""
        document = redacted(dict(config))
        return self._try(lambda client: client.put_sweep(*self._place, self._sweep_id, document, name=name)) is not None

    @property
    def url(self) -> str | None:
        """The address of the sweep's page; None before a server has been asked."""
        return None if self._client is None else page(self._client.endpoint, *self._place, self._sweep_id)

    def state(self) -> str:
        """What people want: ``running``, ``paused`` or ``stopped``; as before when no answer comes."""
        answer = self._try(lambda client: client.ask_sweep(*self._place, self._sweep_id))
        if answer is not None and answer.get("state") in ("running", "paused", "stopped", "finished"):
            self._wanted = "running" if answer["state"] == "finished" else str(answer["state"])
        return self._wanted

    def wait(self, say: Callable[[str], object] = lambda words: None) -> bool:
        """Whether there shall be another trial. While people have paused the sweep, this waits.

        Args:
            say: told in words when the sweep is found paused or stopped.
        """
        state = self.state()
        if state == "paused":
            say(f"Sweep {self._sweep_id} is paused on the server; waiting.")
        while state == "paused":
            time.sleep(PAUSE_SECONDS)
            state = self.state()
        if state == "stopped":
            say(f"Sweep {self._sweep_id} was stopped on the server.")
        return state == "running"

    def finish(self) -> None:
        """There is nothing left to try."""
        self._try(lambda client: client.ask_sweep(*self._place, self._sweep_id, finished=True))

    def _try(self, call: Callable[[HttpClient], dict[str, Any]]) -> dict[str, Any] | None:
        """The answer; None for none, when the server does not know the sweep, or will not say."""
        with self._lock:
            if self._settings.mode != "online" or time.monotonic() < self._silent_until:
                return None
            try:
                client = self._connect()
                return None if client is None else call(client)
            except UnreachableError:  # its runs say so, each in its own words
                self._silent_until = time.monotonic() + SILENT_SECONDS
            except RequestError as error:
                if error.status_code != 404:  # not told of yet, or an older server
                    self._silent_until = time.monotonic() + SILENT_SECONDS
                    if not self._warned:
                        self._warned = True
                        warn(f"the sweep goes on without its server: {error}")
            return None

    def _connect(self) -> HttpClient | None:
        if self._client is None and (self._settings.endpoint is not None or local_server() is not None):
            from rundial.client import HttpClient

            self._client = HttpClient(
                self._settings.endpoint, api_key=self._settings.api_key, request_timeout_seconds=ANSWER_SECONDS
            )
        return self._client
