"""Sweeps: what a project knows of the searches whose trials are its runs.

A sweep is known by the id that its runs carry in their config. It is told over HTTP when a server is there, and again
by each of its runs, so that one made without a server is known all the same once its runs arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from rundial.server.store.accounts import Principal, now_ms
from rundial.server.store.admission import MAX_NAME, clean_text, find_project, place
from rundial.server.store.changes import Change
from rundial.server.store.cursors import cursor_of, position_of
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import Refusal, invalid, not_found
from rundial.server.store.sweep_records import known_row, merge, note_seen

MOVES = {
    "running": frozenset({"paused", "stopped"}),
    "paused": frozenset({"running", "stopped"}),
    "stopped": frozenset({"running"}),
    "finished": frozenset[str](),
}
"""Which states people may bring a sweep to, by the state it is in. ``finished`` is for its agent to say."""
ASKED_MILLISECONDS = 2_000
"""How long an agent may ask again without that being written down."""
_FIELDS = "sweep_id, name, method, config, state, author, turned_by, created_ms, updated_ms, asked_ms"

Json = dict[str, Any]


class Sweeps:
    """Sweeps as the routes have them. ``publish`` hears of every change on the writer thread, after its commit."""

    def __init__(self, engine: Engine, publish: Callable[[Sequence[Change]], None]) -> None:
        self._engine = engine
        self._publish = publish

    def page(
        self, principal: Principal, workspace: str, project: str, *, limit: int, cursor: str | None
    ) -> tuple[list[Json], str | None] | None:
        """A page of a project's sweeps, newest first; None when the project is not visible.

        Raises :class:`Refusal` for a cursor that is none.
        """
        after = position_of(cursor, int, str)
        where, values = ("", []) if after is None else (" AND (created_ms, sweep_id) < (?, ?)", after)
        with self._engine.read() as db:
            project_id = _find(db, principal, workspace, project)
            if project_id is None:
                return None
            rows = db.execute(
                f"SELECT {_FIELDS} FROM sweeps WHERE project_id = ?{where}"
                " ORDER BY created_ms DESC, sweep_id DESC LIMIT ?",
                (project_id, *values, limit + 1),
            ).fetchall()
        found = [_document(row) for row in rows[:limit]]
        following = cursor_of(found[-1]["createdAtMs"], found[-1]["sweepId"]) if len(rows) > limit else None
        return found, following

    def get(self, principal: Principal, workspace: str, project: str, sweep_id: str) -> Json | None:
        """One sweep; None when there is none that the principal may see."""
        with self._engine.read() as db:
            project_id = _find(db, principal, workspace, project)
            row = None if project_id is None else known_row(db, project_id, sweep_id, _FIELDS)
        return None if row is None else _document(row)

    def put(
        self,
        principal: Principal,
        workspace: str,
        project: str,
        sweep_id: str,
        said: Mapping[str, Any],
    ) -> Future[Json]:
        """Make a sweep, or say more of one that is there; resolves to it.

        Args:
            project: made as a run would make it, when it is not there and the principal may.
            said: ``name`` and ``config``, as :func:`sweep_records.merge` takes them.

        The future raises :class:`Refusal`: 400 for what cannot be kept, 404 for a place that is not visible.
        """
        author = clean_text(principal.label or principal.id, MAX_NAME)

        def job(db: Db) -> tuple[Json, Change]:
            within, project_id = place(db, principal, workspace, project)
            try:
                merge(db, project_id, sweep_id, said, author, now_ms())
            except ValueError as error:
                raise invalid(f"The sweep cannot be kept: {error}.", "docs/http.md shows its fields.") from error
            return _document(known_row(db, project_id, sweep_id, _FIELDS)), _change(project_id, within.workspace_id)

        return self._write(job)

    def turn(self, principal: Principal, workspace: str, project: str, sweep_id: str, state: str) -> Future[Json]:
        """Pause a sweep, resume or stop it: its agents obey before their next trial. Resolves to the sweep.

        The future raises :class:`Refusal`: 404 when there is none, 409 for a state that cannot follow.
        """
        author = clean_text(principal.label or principal.id, MAX_NAME)

        def job(db: Db) -> tuple[Json, Change]:
            project_id, former = _known(db, principal, workspace, project, sweep_id)
            if state != former and state not in MOVES[former]:
                raise Refusal(409, "CONFLICT", f"The sweep is {former}.", f"It cannot become {state}.")
            if state != former:
                db.execute(
                    "UPDATE sweeps SET state = ?, turned_by = ?, updated_ms = ? WHERE project_id = ? AND sweep_id = ?",
                    (state, author, now_ms(), project_id, sweep_id),
                )
            return _document(known_row(db, project_id, sweep_id, _FIELDS)), _change(project_id, principal.workspace_id)

        return self._write(job)

    def ask(
        self, principal: Principal, workspace: str, project: str, sweep_id: str, *, finished: bool
    ) -> Future[Json] | Json | None:
        """What an agent asks before each trial: the sweep, whose ``state`` says whether to go on; None without one.

        Args:
            finished: there is nothing left to try; a sweep that is not stopped is finished from now on.
        """
        now = now_ms()
        known = self.get(principal, workspace, project, sweep_id)
        if known is None:
            return None
        ends = finished and known["state"] in ("running", "paused")
        if not ends and now - (known["askedAtMs"] or 0) < ASKED_MILLISECONDS:
            return known

        def job(db: Db) -> tuple[Json, Change]:
            project_id, former = _known(db, principal, workspace, project, sweep_id)
            note_seen(db, project_id, sweep_id, now, finished and former in ("running", "paused"))
            return _document(known_row(db, project_id, sweep_id, _FIELDS)), _change(project_id, principal.workspace_id)

        return self._write(job)

    def _write(self, job: Callable[[Db], tuple[Json, Change]]) -> Future[Json]:
        changes: list[Change] = []

        def work(db: Db) -> Json:
            changes.clear()
            found, change = job(db)
            changes.append(change)
            return found

        return self._engine.write(work, lambda _: self._publish(changes))


def _change(project_id: str, workspace_id: str) -> Change:
    return Change("", project_id, workspace_id, [], [], False, frozenset({"sweeps"}))


def _find(db: Db, principal: Principal, workspace: str, project: str) -> str | None:
    if workspace not in (principal.workspace_slug, principal.workspace_id):
        return None
    return find_project(db, principal, project)


def _known(db: Db, principal: Principal, workspace: str, project: str, sweep_id: str) -> tuple[str, str]:
    """The project's id and the sweep's state. Raises :class:`Refusal` 404."""
    project_id = _find(db, principal, workspace, project)
    row = None if project_id is None else known_row(db, project_id, sweep_id, "state")
    if project_id is None or row is None:
        raise not_found(f"Sweep {sweep_id[:40]!r}")
    return project_id, str(row[0])


def _document(row: Any) -> Json:
    names = ("sweepId", "name", "method", "config", "state", "author", "turnedBy")
    found = dict(zip((*names, "createdAtMs", "updatedAtMs", "askedAtMs"), row))
    found["config"] = msgspec.json.decode(found["config"])
    return found
