"""Ingest: applies the chunks of one stream, in sequence, in one call of the writer.

``(stream, sequence)`` is the identity of a record. The store keeps the next sequence it expects of each stream, skips
what lies below, and stops before a hole; so several senders of one stream are harmless and each record counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from rundial import wire
from rundial.server.store.accounts import Principal
from rundial.server.store.admission import admit
from rundial.server.store.batch import Bad, Batch, Reader, cut
from rundial.server.store.changes import Change
from rundial.server.store.engine import Db, Engine, the_run
from rundial.server.store.holds import Streams
from rundial.server.store.intake import Intake, known_stream
from rundial.server.store.losses import MAX_REJECTED
from rundial.server.store.refusal import Refusal, invalid, not_found


class Ingest:
    """Takes in what clients send. ``publish`` hears of every change, on the writer thread, after its commit."""

    def __init__(self, engine: Engine, publish: Callable[[Sequence[Change]], None]) -> None:
        self._engine = engine
        self._publish = publish
        self._reader = Reader()
        self._streams = Streams()

    def submit(
        self, principal: Principal, stream: str, chunks: Sequence[wire.Chunk], page_url: str
    ) -> Future[tuple[int, dict[str, Any]]]:
        """Decode here, apply on the writer; resolves to HTTP status and body once it is durable.

        The future raises :class:`Refusal` when nothing of the request can be taken.
        """
        changes: list[Change] = []

        def job(db: Db) -> tuple[int, dict[str, Any]]:
            changes.clear()
            status, body, change = self._apply(db, principal, stream, batches, page_url, holds)
            if change is not None:
                changes.append(change)
            return status, body

        try:
            batches = self._reader.read_all(chunks)
        except Refusal as refusal:
            failed: Future[tuple[int, dict[str, Any]]] = Future()
            failed.set_exception(refusal)
            return failed
        holds = self._streams.holds(self._engine, principal, stream, batches)
        return self._engine.write(job, lambda _: self._publish(changes), holds=holds)

    def _apply(
        self,
        db: Db,
        principal: Principal,
        stream: str,
        batches: list[Batch],
        page_url: str,
        holds: Sequence[str],
    ) -> tuple[int, dict[str, Any], Change | None]:
        problem: str | None = None
        found = self._streams.find(db, stream)
        if found is not None and holds and the_run(found[0]) not in holds:
            raise Refusal(503, "UNAVAILABLE", f"Stream {stream} has just begun elsewhere.", "Send it again.")
        known = None if found is None else known_stream(db, found[0], stream)
        if known is None:
            if not batches or batches[0].chunk.first != 0:
                return 409, _reply(stream, 0, 0, 0, []), None
            start = batches[0].start
            if start is None:
                raise invalid("The first record of a stream must be a RunStart.", "Send the stream from sequence 0.")
            admitted = admit(db, principal, stream, start)
            problem = admitted.problem
            known = known_stream(db, admitted.run_id, stream)
        work = Intake(db, stream, known)
        if not principal.sees(work.workspace_id, work.project_id):
            raise not_found(f"Stream {stream}")
        if problem is not None:
            work.refuse(Bad(0, "INVALID_RECORD", f"RunStart: config {problem}"))
        status = 200
        for batch in batches:
            if batch.chunk.first > work.next:
                status = 409
                break
            self._take(work, batch)
        work.save()
        body = _reply(stream, work.next, work.accepted, work.duplicate, work.rejected)
        body["commands"] = work.commands()
        if batches and batches[0].chunk.first == 0:
            body["run"] = _run_reply(db, work.run_id, stream, page_url)
        return status, body, work.change()

    def _take(self, work: Intake, batch: Batch) -> None:
        chunk = batch.chunk
        if chunk.next <= work.next:
            work.duplicate += chunk.count
            return
        if chunk.first < work.next:
            work.duplicate += work.next - chunk.first
            batch = self._reader.read(cut(chunk, work.next))
        work.take(batch)


def _reply(stream: str, following: int, accepted: int, duplicate: int, rejected: list[Bad]) -> dict[str, Any]:
    return {
        "stream": stream,
        "next": following,
        "accepted": accepted,
        "duplicate": duplicate,
        "rejected": [bad._asdict() for bad in rejected[:MAX_REJECTED]],
        "commands": [],
    }


def _run_reply(db: Db, run_id: str, stream: str, page_url: str) -> dict[str, Any]:
    row = db.execute(
        "SELECT r.run_id, r.name, r.project_id, w.slug, p.slug, s.base_step, r.config, s.created_run FROM streams s"
        " JOIN runs r ON r.run_id = s.run_id JOIN projects p ON p.project_id = r.project_id"
        " JOIN workspaces w ON w.workspace_id = r.workspace_id WHERE s.run_id = ? AND s.stream = ?",
        (run_id, stream),
    ).fetchone()
    _, name, project_id, workspace, project, base_step, config, created = row
    return {
        "runId": run_id,
        "name": name,
        "projectId": project_id,
        "workspace": workspace,
        "project": project,
        "lastStep": base_step,
        "config": msgspec.json.decode(config),
        "created": bool(created),
        "url": f"{page_url}/#/runs/{run_id}",
    }
