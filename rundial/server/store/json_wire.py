"""Runs as clients write them that speak JSON: each request becomes the events that a stream would carry.

Such a client has no sequence of its own. Each run gets a stream here for what comes this way, and the sequence is
counted on this side; what is sent twice is recognised by what it is: a log line by its number, time and text, a point
by its step, a span by its ids.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from rundial.events import Event, RunKind, RunStart
from rundial.server.store.accounts import Principal, new_id, now_ms, within, within_bounds, within_project
from rundial.server.store.admission import admit, clean_text, find_project, merge_document, place
from rundial.server.store.batch import Reader
from rundial.server.store.changes import Change
from rundial.server.store.engine import Db, Engine, StoreError, the_run
from rundial.server.store.intake import MAX_REASON, Intake, known_stream
from rundial.server.store.refusal import Refusal, invalid, not_found
from rundial.server.store.run_edits import PRESENT
from rundial.wire import CHUNK_BYTES, Chunk, encode

SILENCE_MILLISECONDS = 24 * 3600 * 1000
"""These clients have no heartbeat. After a day without a word a run of theirs counts as crashed."""
LINES_MILLISECONDS = 7 * 24 * 3600 * 1000
"""How long a log line is known again. Clients of this kind keep what they could not send for a day."""
_PURGE_MILLISECONDS = 3600 * 1000
_LINES = "json lines"
"""Held by who removes old lines; whoever writes new ones of a run does not mind."""
_OPEN = ("running", "crashed")
Json = dict[str, Any]

TABLES = """
CREATE TABLE json_streams (
    run_id TEXT PRIMARY KEY,
    stream TEXT NOT NULL
);
CREATE TABLE json_lines (
    run_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    seen_ms BIGINT NOT NULL,
    PRIMARY KEY (run_id, digest)
);
CREATE INDEX json_lines_by_time ON json_lines (seen_ms);
"""


class Opening(NamedTuple):
    """What a client says of a run that it starts."""

    project: str
    run_id: str | None
    name: str
    kind: RunKind
    resume: Any
    group: str | None
    job_type: str | None
    tags: list[str]
    config: Json
    client: str


class Record(NamedTuple):
    """An event on its way in, encoded, with the places in the request that it came from."""

    places: list[int]
    data: bytes
    digest: str | None = None
    """Of a log line: what it is known again by."""


class Delivery(NamedTuple):
    """What one request has for one run."""

    project: str
    run_id: str
    records: list[Record]


class JsonWire:
    """Takes in what these clients send. ``publish`` hears of every change, after its commit."""

    def __init__(self, engine: Engine, publish: Callable[[Sequence[Change]], None]) -> None:
        self._engine = engine
        self._publish = publish
        self._reader = Reader()  # of the writer thread
        self._purged_ms = 0

    def target(self, principal: Principal, workspace: str, project: str) -> Json:
        """The ids behind a workspace and a project, each named by slug, id or name; see :func:`place`.

        What does not exist is made where the principal may. Raises :class:`Refusal` 404.
        """
        with self._engine.read() as db:
            known = within(db, principal, workspace)
            project_id = find_project(db, known, project) if known else None
        if project_id is None:
            made = self._engine.write(lambda db: place(db, principal, workspace, project))
            project_id = made.result()[1]
        with self._engine.read() as db:
            row = db.execute(
                "SELECT w.workspace_id, w.slug, w.name, p.slug, p.name, p.project_id"
                " FROM projects p JOIN workspaces w ON w.workspace_id = p.workspace_id WHERE p.project_id = ?",
                (project_id,),
            ).fetchone()
        return dict(zip(("orgId", "workspaceSlug", "workspaceName", "projectSlug", "projectName", "projectId"), row))

    def start(self, asking: Principal, opening: Opening) -> Future[Json]:
        """Create a run, attach to it or reopen it. The future may raise :class:`Refusal`: 404, or 409."""
        changes: list[Change] = []
        run_id = new_id("run") if opening.run_id is None else opening.run_id

        def job(db: Db) -> Json:
            changes.clear()
            project_id = _project(db, asking, opening.project)
            principal = within_project(db, asking, project_id)
            known = db.execute("SELECT project_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            if known is not None and known[0] != project_id:
                raise not_found(f"Run {run_id[:200]!r}")
            stream = secrets.token_hex(16)
            start = RunStart(
                time.time_ns(),
                run_id,
                principal.workspace_slug,
                project_id,
                opening.name,
                opening.kind,
                opening.resume,
                opening.group,
                opening.job_type,
                opening.tags,
                opening.config,
                client=opening.client,
            )
            admitted = admit(db, principal, stream, start)
            if admitted.problem is not None:
                raise invalid(f"The config cannot be taken: {admitted.problem}.", "Send a smaller one.")
            _settle(db, run_id, stream)
            changes.append(_change(db, run_id))
            return _document(db, run_id) | {"created": admitted.created, "lastStep": admitted.base_step}

        return self._engine.write(job, lambda _: self._publish(changes), run_id=run_id)

    def end(
        self, principal: Principal, run_id: str, status: str, finished_ms: int | None, reason: str | None
    ) -> Future[Json]:
        """Set a run's terminal status; the same one again changes nothing.

        The future may raise :class:`Refusal`: 404, or 409 when the run has ended otherwise.
        """
        changes: list[Change] = []

        def job(db: Db) -> Json:
            changes.clear()
            known = _visible(db, principal, run_id)
            if known not in (*_OPEN, status):
                raise Refusal(
                    409, "CONFLICT", f"Run {run_id} is {known} already.", 'Reopen it with resume="must" to end it anew.'
                )
            if known in _OPEN:
                ended = now_ms() if finished_ms is None else finished_ms
                db.execute(
                    "UPDATE runs SET status = ?, reason = ?, finished_ms = ?, updated_ms = ? WHERE run_id = ?",
                    (status, reason and clean_text(reason, MAX_REASON), ended, now_ms(), run_id),
                )
                db.execute(
                    "UPDATE streams SET status = ?, ended_ms = ? WHERE run_id = ? AND stream IN"
                    " (SELECT stream FROM json_streams WHERE run_id = ?)",
                    (status, ended, run_id, run_id),
                )
                changes.append(_change(db, run_id))
            return _document(db, run_id)

        return self._engine.write(job, lambda _: self._publish(changes), run_id=run_id)

    def configure(self, principal: Principal, run_id: str, config: Json) -> Future[Json]:
        """Merge entries into a run's config; the answer has all of it.

        The future may raise :class:`Refusal`: 404, 409 when the run has ended, 400 for what cannot be stored.
        """
        changes: list[Change] = []

        def job(db: Db) -> Json:
            changes.clear()
            status = _visible(db, principal, run_id)
            if status not in _OPEN:
                raise Refusal(409, "CONFLICT", f"Run {run_id} is {status}.", "Its config stays as it was.")
            try:
                merge_document(db, run_id, "config", config)
            except ValueError as error:
                raise invalid(f"The config cannot be taken: {error}.", "Send a smaller one.") from error
            db.execute("UPDATE runs SET updated_ms = ? WHERE run_id = ?", (now_ms(), run_id))
            changes.append(_change(db, run_id))
            return _document(db, run_id)

        return self._engine.write(job, lambda _: self._publish(changes), run_id=run_id)

    def take(self, principal: Principal, deliveries: Sequence[Delivery]) -> Future[dict[int, str]]:
        """Take in events; resolves to why some were refused, by their place in the request.

        A run that nobody started is begun in its project, so that what a client kept while it was offline is not
        lost. The future raises :class:`Refusal` 404 when there is nothing in the request that could go anywhere.
        """
        changes: list[Change] = []

        def job(db: Db) -> dict[int, str]:
            changes.clear()
            refused: dict[int, str] = {}
            missing: Refusal | None = None
            lost = 0
            for delivery in deliveries:
                try:
                    refused |= self._deliver(db, principal, delivery, changes)
                except Refusal as refusal:
                    lost += 1
                    missing = refusal
                    refused |= {place: str(refusal) for record in delivery.records for place in record.places}
            if missing is not None and lost == len(deliveries):
                raise missing
            return refused

        def done(_: object) -> None:
            self._publish(changes)
            self._forget_lines()

        return self._engine.write(job, done, holds=[the_run(delivery.run_id) for delivery in deliveries])

    def _deliver(self, db: Db, principal: Principal, delivery: Delivery, changes: list[Change]) -> dict[int, str]:
        run_id = delivery.run_id
        project_id = _project(db, principal, delivery.project)
        principal = within_project(db, principal, project_id)
        known = db.execute("SELECT workspace_id, project_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if known is not None and known != (principal.workspace_id, project_id):
            raise not_found(f"Run {run_id[:200]!r}")
        stream = _stream(db, principal, project_id, run_id)
        records = [record for record in delivery.records if _is_new(db, run_id, record)]
        if not records:
            return {}
        work = Intake(db, stream, known_stream(db, run_id, stream))
        first = work.next
        for chunk in _chunks(stream, first, records):
            work.take(self._reader.read(chunk))
        work.save()
        change = work.change()
        if change is not None:
            changes.append(change)
        return {place: bad.reason for bad in work.rejected for place in records[bad.seq - first].places}

    def _forget_lines(self) -> None:
        """Once in a while, and by itself: it is about every run."""
        now = now_ms()
        if now - self._purged_ms > _PURGE_MILLISECONDS:
            self._purged_ms = now
            with suppress(StoreError):  # closed meanwhile: another time
                self._engine.write(lambda db: _delete_lines(db, now - LINES_MILLISECONDS), holds=[_LINES])


def _delete_lines(db: Db, before_ms: int) -> int:
    return db.execute("DELETE FROM json_lines WHERE seen_ms < ?", (before_ms,)).rowcount


def _project(db: Db, principal: Principal, project: str) -> str:
    project_id = find_project(db, principal, project)
    if project_id is None:
        raise not_found(f"Project {project[:200]!r}")
    return project_id


def _visible(db: Db, principal: Principal, run_id: str) -> str:
    """The status of a run the principal may see. Raises :class:`Refusal` 404."""
    row = db.execute(
        f"SELECT r.status FROM runs r WHERE r.run_id = ? AND {within_bounds('r')} AND {PRESENT}",
        (run_id, *principal.bounds),
    ).fetchone()
    if row is None:
        raise not_found(f"Run {run_id[:200]!r}")
    return str(row[0])


def _stream(db: Db, principal: Principal, project_id: str, run_id: str) -> str:
    """The stream of what comes to the run this way. A new one is a part of the run, which another may lead."""
    row = db.execute(
        "SELECT j.stream FROM json_streams j JOIN streams s ON s.stream = j.stream WHERE j.run_id = ?", (run_id,)
    ).fetchone()
    if row is not None:
        return str(row[0])
    stream = secrets.token_hex(16)
    start = RunStart(
        time.time_ns(), run_id, principal.workspace_slug, project_id, "", resume="allow", client="json", part=True
    )
    admitted = admit(db, principal, stream, start)
    _settle(db, run_id, stream)
    if not admitted.created:
        # It only adds to a run that somebody else leads, and whose end it must not keep waiting.
        db.execute(
            "UPDATE streams SET status = 'completed', ended_ms = ? WHERE run_id = ? AND stream = ?",
            (now_ms(), run_id, stream),
        )
    return stream


def _settle(db: Db, run_id: str, stream: str) -> None:
    """From here on the stream is the run's; the one before it has nobody left to end it."""
    db.execute(
        "UPDATE streams SET status = 'completed', ended_ms = ? WHERE run_id = ? AND status IN ('running', 'crashed')"
        " AND stream IN (SELECT stream FROM json_streams WHERE run_id = ?)",
        (now_ms(), run_id, run_id),
    )
    db.execute(
        "UPDATE streams SET silence_ms = ? WHERE run_id = ? AND stream = ?", (SILENCE_MILLISECONDS, run_id, stream)
    )
    db.execute(
        "INSERT INTO json_streams (run_id, stream) VALUES (?, ?)"
        " ON CONFLICT (run_id) DO UPDATE SET stream = excluded.stream",
        (run_id, stream),
    )


def _is_new(db: Db, run_id: str, record: Record) -> bool:
    if record.digest is None:
        return True
    return bool(
        db.execute(
            "INSERT INTO json_lines (run_id, digest, seen_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (run_id, record.digest, now_ms()),
        ).rowcount
    )


def _chunks(stream: str, first: int, records: Sequence[Record]) -> Iterator[Chunk]:
    """The records as chunks of the size that streams have."""
    waiting: list[bytes] = []
    size = 0
    for record in records:
        if waiting and size + len(record.data) > CHUNK_BYTES:
            yield Chunk(stream, first, len(waiting), b"".join(waiting))
            first += len(waiting)
            waiting, size = [], 0
        waiting.append(record.data)
        size += len(record.data)
    if waiting:
        yield Chunk(stream, first, len(waiting), b"".join(waiting))


def record(event: Event, places: list[int], digest: str | None = None) -> Record:
    """An event ready to be taken in. Raises ValueError when it cannot be encoded."""
    try:
        return Record(places, encode(event), digest)
    except (OverflowError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _document(db: Db, run_id: str) -> Json:
    row = db.execute(
        "SELECT project_id, name, kind, status, config, tags, started_ms, finished_ms, updated_ms FROM runs"
        " WHERE run_id = ?",
        (run_id,),
    ).fetchone()
    names = ("projectId", "runName", "kind", "status", "config", "tags", "startedAtMs", "finishedAtMs", "updatedAtMs")
    found = {"runId": run_id, **dict(zip(names, row))}
    found["config"], found["tags"] = msgspec.json.decode(found["config"]), msgspec.json.decode(found["tags"])
    return found


def _change(db: Db, run_id: str) -> Change:
    row = db.execute("SELECT project_id, workspace_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    return Change(run_id, row[0], row[1], [], [], True)
