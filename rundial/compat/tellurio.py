"""Tellurio's run names over Rundial: ``from rundial.compat import tellurio``.

The interface is that of ``afnio.tellurio.run``. Namespaces are workspaces; ``Run.run`` is the :class:`rundial.Run`.
"""

from __future__ import annotations

import atexit
import getpass
import json
import os
import re
import sys
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote

from rundial import runs
from rundial.compat.server import ask
from rundial.config import Settings, local_server, resolve
from rundial.errors import RequestError, UnreachableError
from rundial.events import RunStatus as Status
from rundial.exits import Ending, ending_of
from rundial.names import random_name
from rundial.switch import is_enabled

__all__ = ["Run", "RunOrg", "RunProject", "RunStatus", "RunUser", "TellurioClient", "get_active_run", "init", "log"]


class RunStatus(Enum):
    """The state of a run."""

    RUNNING = "RUNNING"
    """Takes metrics."""
    COMPLETED = "COMPLETED"
    """Ended without an error."""
    CRASHED = "CRASHED"
    """Ended by an exception nobody caught."""
    FAILED = "FAILED"
    """Left unfinished when the next run began."""


_STATUSES: dict[RunStatus, Status] = {
    RunStatus.COMPLETED: "completed",
    RunStatus.CRASHED: "crashed",
    RunStatus.FAILED: "failed",
}


class RunOrg(NamedTuple):
    """The organisation, or the person, a project belongs to: a workspace."""

    slug: str


class RunProject(NamedTuple):
    """The project a run belongs to. ``uuid`` is its slug until a server has answered."""

    uuid: str
    display_name: str
    slug: str


class RunUser(NamedTuple):
    """Who made a run."""

    uuid: str
    username: str
    slug: str


class TellurioClient(NamedTuple):
    """A server and a key for it, where those that are configured will not do."""

    endpoint: str
    api_key: str | None = None


class Run:
    """One run: logs metrics, and ends as completed or crashed when it is used as a context manager."""

    def __init__(self, run: runs.Run, project: RunProject, user: RunUser, description: str | None) -> None:
        self.run = run
        self.uuid = run.id
        self.name = run.name
        self.description = description
        self.status = RunStatus.RUNNING
        self.organization = RunOrg(run.workspace)
        self.project = project
        self.user = user
        self.date_created = self.date_updated = datetime.now(UTC)
        self._steps: dict[str, int] = {}

    def log(self, name: str, value: Any, step: int | None = None, client: TellurioClient | None = None) -> None:
        """Log one metric.

        Args:
            name: of the metric.
            value: a number or a text; anything else that JSON can hold becomes its JSON text.
            step: left out, one more than this metric's last; the first is 0.
            client: taken for the sake of the interface; a run logs where it began.
        """
        if isinstance(value, (list, tuple, dict)) or value is None:
            value = json.dumps(value, default=str)
        number = self._steps.get(name, 0) if step is None else step
        if isinstance(number, int):
            self._steps[name] = number + 1
        self.run.log({name: value}, step=number)
        self.date_updated = datetime.now(UTC)

    def finish(self, client: TellurioClient | None = None, status: RunStatus | None = RunStatus.COMPLETED) -> None:
        """End the run, and no longer be the active one. A second call changes nothing.

        Raises:
            UnreachableError: a configured server did not take the end of the run. What was logged is on disk.
        """
        wanted = RunStatus(status or RunStatus.COMPLETED)
        if self._end(wanted, Ending(_STATUSES.get(wanted, "completed"))) or not _has_server(self.run):
            return
        why = self.run.diagnostics().last_error or "no answer in time"
        raise UnreachableError(
            f"the end of {self.name} was not confirmed: {why}. It is on disk, and `rundial sync` sends it."
        )

    def _end(self, status: RunStatus, ending: Ending) -> bool:
        """End it without raising; True when a server has everything, or had it ended before."""
        global _active
        if _active is self:
            _active = None
        if self.status is not RunStatus.RUNNING:
            return True
        self.status = RunStatus.COMPLETED if status is RunStatus.RUNNING else status
        self.date_updated = datetime.now(UTC)
        return self.run._finish(ending)

    def __enter__(self) -> Run:
        _activate(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status, ending = _judged(ending_of(kind, error, trace))
        if status is RunStatus.COMPLETED:
            self.finish()
        else:
            self._end(status, ending)

    def __repr__(self) -> str:
        return f"<Run {self.name} {self.uuid} {self.status.value}>"


def init(
    namespace_slug: str,
    project_display_name: str,
    name: str | None = None,
    description: str | None = None,
    status: RunStatus | None = RunStatus.RUNNING,
    client: TellurioClient | None = None,
) -> Run:
    """Start a run and make it the active one; one that was left unfinished ends as failed.

    Args:
        namespace_slug: the workspace; it must exist.
        project_display_name: the project is the one whose slug is that of this name; it is made if there is none.
        name: left out, a readable one is made; one that the project has already gets a number, ``test_run_1``.
        description: kept as the run's notes.
        status: anything but running ends the run at once.
        client: where to, if not to the configured server.

    Raises:
        RequestError: a configured server does not answer, or refuses the project or the run.
    """
    options: dict[str, Any] = {"workspace": namespace_slug}
    if client is not None:
        options |= {"endpoint": client.endpoint, "api_key": client.api_key}
    settings = resolve({**options, "project": slugify(project_display_name) or project_display_name})
    server = _server(settings)
    slug = settings.project
    known = {} if server is None else _projects(server, namespace_slug)
    # A project that is to be made gets its display name, and from that its slug; one that exists is named by its slug.
    project = slug if server is None or slug in known or "/" in project_display_name else project_display_name
    taken = _local_names(settings) if server is None else _names(server, namespace_slug, slug, name, slug in known)
    name = random_name().replace("-", "_") if name is None else _unique(name, taken)
    run = runs.init(**{**options, "project": project, "name": name, "notes": description})
    _known_names.add((namespace_slug, slug, run.name))
    found = RunProject(run.project_id, known.get(slug, project_display_name), slug)
    user = _user(server)
    made = Run(run, found, user, description)
    _activate(made)
    final = RunStatus(status or RunStatus.RUNNING)
    if final is not RunStatus.RUNNING:
        made.finish(status=final)
    return made


def slugify(name: str) -> str:
    """A name as a slug, the way the server makes them: lower case, and a dash for whatever is no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80]


# -- the active run ---------------------------------------------------------------------------------------------------

_active: Run | None = None
_watching = False


def get_active_run() -> Run:
    """The run begun last that is not finished.

    Raises:
        ValueError: there is none.
    """
    if _active is None:
        raise ValueError("there is no active run; call init() first.")
    return _active


def log(name: str, value: Any, step: int | None = None, client: TellurioClient | None = None) -> None:
    """Log one metric to the active run; see :meth:`Run.log`. Raises ValueError without one."""
    get_active_run().log(name, value, step, client)


def _activate(run: Run) -> None:
    global _active, _watching
    if _active is not None and _active is not run:
        _active._end(RunStatus.FAILED, Ending("failed", f"left unfinished when {run.name} began"))
    if run.status is RunStatus.RUNNING:
        _active = run
    if not _watching:  # after the run's own watch, so that this is asked before it
        _watching = True
        atexit.register(_end_active)


def _end_active() -> None:
    """At the end of the process: an unfinished run is completed, or crashed when an exception ends the process."""
    if _active is None or _active.run._pid != os.getpid():  # a forked child's end is not the run's
        return
    error = getattr(sys, "last_value", None)  # what the interpreter has just reported as unhandled
    kind = type(error) if error is not None else None
    status, ending = _judged(ending_of(kind, error, getattr(error, "__traceback__", None)))
    _active._end(status, ending)


def _judged(ending: Ending) -> tuple[RunStatus, Ending]:
    if ending.status == "completed":
        return RunStatus.COMPLETED, ending
    return RunStatus.CRASHED, ending._replace(status="crashed")


# -- what is known of projects and names ------------------------------------------------------------------------------

_known_names: set[tuple[str, str, str]] = set()
"""Workspace, project and name of every run this process began."""


def _has_server(run: runs.Run) -> bool:
    return run._settings.endpoint is not None and run._settings.mode == "online"


def _server(settings: Settings) -> TellurioClient | None:
    """The server to ask: the configured one, else this machine's if it is there; None when nobody can be asked."""
    if settings.mode != "online" or not is_enabled():
        return None
    if settings.endpoint is not None:
        return TellurioClient(settings.endpoint, settings.api_key)
    found = local_server()
    if found is None:
        return None
    server = TellurioClient(found.url, found.api_key)
    try:
        ask(*server, "GET", "/api/v1/auth/whoami")
    except RequestError:
        return None  # announced, and gone since
    return server


def _projects(server: TellurioClient, workspace: str) -> dict[str, str]:
    """Display names of the workspace's projects by their slugs. Raises :class:`RequestError`."""
    path = f"/api/v1/workspaces/{quote(workspace, safe='')}/projects"
    return {row["projectSlug"]: row["name"] for row in _rows(server, path, "projects")}


def _names(server: TellurioClient, workspace: str, slug: str, name: str | None, exists: bool) -> set[str]:
    """The names that a run called ``name`` could meet in the project. Raises :class:`RequestError`."""
    if name is None or not exists:
        return set()
    path = f"/api/v1/workspaces/{quote(workspace, safe='')}/projects/{quote(slug, safe='')}/runs/query"
    return {row["runName"] for row in _rows(server, path, "runs", search=name)}


def _rows(server: TellurioClient, path: str, field: str, **params: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = ask(*server, "GET", path, limit=1000, cursor=cursor, **params)
        rows += page[field]
        cursor = page["page"]["nextCursor"]
        if cursor is None:
            return rows


def _local_names(settings: Settings) -> set[str]:
    """Names of the project's runs as far as this machine knows: begun by this process, or waiting in a spool."""
    from rundial.spool_directories import registered
    from rundial.streams import folder_meta, stream_folders

    names = {name for _, project, name in _known_names if project == settings.project}
    for folder in stream_folders([*registered(), Path(settings.spool_directory)]):
        meta = folder_meta(folder)
        if meta is not None and meta.get("project") == settings.project:
            names.add(str(meta.get("name")))
    return names


def _unique(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _user(server: TellurioClient | None) -> RunUser:
    if server is not None:
        known = ask(*server, "GET", "/api/v1/auth/whoami")
        label = str(known.get("label") or known.get("principal"))
        return RunUser(str(known.get("keyId")), label, slugify(label))
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = "unknown"  # a user id without a name, as in many containers
    return RunUser(name, name, slugify(name))
