"""Holds: what a request will change, found out beforehand, so that other servers need not wait for anything else.

A run's row and all that has its id is held with the run. A project is held by what belongs to it and not to one run:
evaluations and sweeps. Who makes a project or a workspace holds everything. None of this matters to a database of one
process.
"""

from __future__ import annotations

from collections.abc import Sequence

from rundial.events import EvalResult, EvalStart, Event, RunStart, RunUpdate
from rundial.server.store.accounts import Principal, within
from rundial.server.store.admission import find_project
from rundial.server.store.batch import Batch
from rundial.server.store.engine import Db, Engine, the_project, the_run, the_stream

_MAX_STREAMS = 100_000
EVERYTHING: tuple[str, ...] = ()


class Streams:
    """Where streams belong, which never changes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def find(self, db: Db, stream: str) -> tuple[str, str] | None:
        """Run and project of a stream; None when it is new. All that clients say of one is its id, so this is first."""
        found = self._known.get(stream)
        if found is None and (found := _place_of(db, stream)) is not None:
            if len(self._known) >= _MAX_STREAMS:
                self._known.clear()
            self._known[stream] = found
        return found

    def holds(self, engine: Engine, principal: Principal, stream: str, batches: Sequence[Batch]) -> tuple[str, ...]:
        """What records of a stream change."""
        if not engine.shared:
            return EVERYTHING
        found = self._known.get(stream)
        if found is None:
            with engine.read() as db:
                found = self.find(db, stream)
                if found is None:
                    return _of_start(db, principal, stream, batches)
        run_id, project_id = found
        return (the_run(run_id), the_project(project_id)) if _of_project(batches) else (the_run(run_id),)


def of_project(engine: Engine, principal: Principal, project: str, *run_ids: str) -> tuple[str, ...]:
    """A project by slug, id or name, and runs of it; everything when there is no such project."""
    if not engine.shared:
        return EVERYTHING
    with engine.read() as db:
        project_id = find_project(db, principal, project)
    return EVERYTHING if project_id is None else (the_project(project_id), *map(the_run, run_ids))


def _of_start(db: Db, principal: Principal, stream: str, batches: Sequence[Batch]) -> tuple[str, ...]:
    """What the first record of a stream changes: nothing but its run, if the project is there."""
    start: RunStart | None = batches[0].start if batches else None
    if start is None:
        return (the_stream(stream),)
    own = within(db, principal, start.workspace)
    project_id = None if own is None else find_project(db, own, start.project)
    if project_id is None or _of_project(batches):  # the run may be there already, in another project
        return EVERYTHING
    # Two that begin the same stream in two runs at once: the second one has to see the first.
    return the_stream(stream), the_run(start.run_id)


def _of_project(batches: Sequence[Batch]) -> bool:
    return any(_is_of_project(event) for batch in batches for _, event in batch.others)


def _is_of_project(event: Event) -> bool:
    """Whether a record touches more than its run."""
    return isinstance(event, (EvalStart, EvalResult)) or (isinstance(event, RunUpdate) and event.sweep is not None)


def _place_of(db: Db, stream: str) -> tuple[str, str] | None:
    row = db.execute(
        "SELECT s.run_id, r.project_id FROM streams s JOIN runs r ON r.run_id = s.run_id WHERE s.stream = ?", (stream,)
    ).fetchone()
    return None if row is None else (str(row[0]), str(row[1]))
