"""Ingest: applies the chunks of one stream, in sequence, in one call of the writer.

``(stream, sequence)`` is the identity of a record. The store keeps the next sequence it expects of each stream, skips
what lies below, and stops before a hole; so several senders of one stream are harmless and each record counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import msgspec

from rundial import wire
from rundial.events import (
    Ack,
    Dial,
    EvalResult,
    EvalStart,
    Event,
    Ledger,
    LogLine,
    Marker,
    Metrics,
    RunEnd,
    RunUpdate,
    Span,
    clean_key,
)
from rundial.server.store import commands, evals, logs, quota, spans
from rundial.server.store.accounts import Principal, now_ms
from rundial.server.store.admission import (
    MAX_NAME,
    admit,
    clean_text,
    document,
    merge_document,
    tags_document,
)
from rundial.server.store.batch import Bad, Batch, Reader, cut
from rundial.server.store.engine import Db, Engine
from rundial.server.store.quota import fit_keys
from rundial.server.store.refusal import Refusal as Refusal
from rundial.server.store.refusal import invalid, not_found

MAX_REJECTED = 1_000
"""Rejected records kept with their reason, of each stream; all are counted."""
MAX_MARKERS = 10_000
"""Markers kept of each run; of ``non_finite`` ones all are counted."""
MAX_REASON = 2_000
MAX_LONG_TEXT = 100_000
_MAX_TALLIES = 10_000
_MAX_RUNS = 100_000
_APPENDERS: dict[str, Callable[..., None]] = {
    "logs": logs.append,
    "spans": spans.append,
    "evals": evals.append,
    "dials": commands.append,
}
"""The rooms of those events that a run has many of, by the name the live stream gives them."""
_CLASSES: dict[str, tuple[type, ...]] = {
    "logs": (LogLine,),
    "spans": (Span,),
    "evals": (EvalStart, EvalResult),
    "dials": (Dial, Ack),
}


class Change(NamedTuple):
    """What one commit changed in one run."""

    run_id: str
    project_id: str
    workspace_id: str
    metrics: list[Metrics]
    markers: list[Marker]
    run_changed: bool
    kinds: frozenset[str] = frozenset()
    """What else there is more of: ``logs``, ``spans``, ``evals``, ``media``, ``artifacts``, ``dials``."""
    keys: tuple[str, ...] = ()
    """Keys with new points that are not among ``metrics``: too many were committed by another process."""


class Ingest:
    """Takes in what clients send. ``publish`` hears of every change, on the writer thread, after its commit."""

    def __init__(self, engine: Engine, publish: Callable[[Sequence[Change]], None]) -> None:
        self._engine = engine
        self._publish = publish
        self._reader = Reader()
        self._runs: dict[str, str] = {}

    def submit(
        self, principal: Principal, stream: str, chunks: Sequence[wire.Chunk], page_url: str
    ) -> Future[tuple[int, dict[str, Any]]]:
        """Decode here, apply on the writer; resolves to HTTP status and body once it is durable.

        The future raises :class:`Refusal` when nothing of the request can be taken.
        """
        changes: list[Change] = []

        def job(db: Db) -> tuple[int, dict[str, Any]]:
            changes.clear()
            status, body, change = self._apply(db, principal, stream, batches, page_url)
            if change is not None:
                changes.append(change)
            return status, body

        try:
            batches = self._reader.read_all(chunks)
        except Refusal as refusal:
            failed: Future[tuple[int, dict[str, Any]]] = Future()
            failed.set_exception(refusal)
            return failed
        return self._engine.write(job, lambda _: self._publish(changes), run_id=self._run_alone(stream, batches))

    def _run_alone(self, stream: str, batches: Sequence[Batch]) -> str | None:
        """The run of a known stream, unless the records touch more than their run: a first one, or evaluations."""
        if not self._engine.shared or any(
            batch.start is not None or any(isinstance(event, (EvalStart, EvalResult)) for _, event in batch.others)
            for batch in batches
        ):
            return None
        if stream in self._runs:
            return self._runs[stream]
        with self._engine.read() as db:
            return self._run_of(db, stream)

    def _run_of(self, db: Db, stream: str) -> str | None:
        """The run of a stream, which never changes."""
        found = self._runs.get(stream)
        if found is None and (found := run_of_stream(db, stream)) is not None:
            if len(self._runs) >= _MAX_RUNS:
                self._runs.clear()
            self._runs[stream] = found
        return found

    def _apply(
        self, db: Db, principal: Principal, stream: str, batches: list[Batch], page_url: str
    ) -> tuple[int, dict[str, Any], Change | None]:
        problem: str | None = None
        run_id = self._run_of(db, stream)
        known = None if run_id is None else _known(db, run_id, stream)
        if known is None:
            if not batches or batches[0].chunk.first != 0:
                return 409, _reply(stream, 0, 0, 0, []), None
            start = batches[0].start
            if start is None:
                raise invalid("The first record of a stream must be a RunStart.", "Send the stream from sequence 0.")
            admitted = admit(db, principal, stream, start)
            problem = admitted.problem
            known = _known(db, admitted.run_id, stream)
        work = _Work(db, stream, known)
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

    def _take(self, work: _Work, batch: Batch) -> None:
        chunk = batch.chunk
        if chunk.next <= work.next:
            work.duplicate += chunk.count
            return
        if chunk.first < work.next:
            work.duplicate += work.next - chunk.first
            batch = self._reader.read(cut(chunk, work.next))
        work.take(batch)


class _Work:
    """One request's effect on one stream and its run, gathered and then saved."""

    def __init__(self, db: Db, stream: str, known: Any) -> None:
        self.db = db
        self.stream = stream
        self.now = now_ms()
        (
            self.run_id,
            self.next,
            self.part,
            self.attempt,
            self.started_ms,
            self.workspace_id,
            self.project_id,
            self.status,
            self.last_step,
            self.marker_count,
            primary_name,
            primary_mode,
            best_value,
            best_step,
            self.stage,
            self._last_key,
            self._has_commands,
        ) = known
        self.primary: tuple[str, str] | None = (primary_name, primary_mode) if primary_name is not None else None
        self.best: tuple[float, int] | None = (best_value, best_step) if best_value is not None else None
        self.best_changed = False
        self._known_stage = self.stage
        self.kinds: set[str] = set()
        self.accepted = self.duplicate = self.points = 0
        self.rejected: list[Bad] = []
        self.dropped: dict[str, int] = {}
        self.non_finite: dict[str, int] = {}
        self.metrics: list[Metrics] = []
        self.markers: list[Marker] = []
        self.run_changed = self.next == 0
        self.ended_ms: int | None = None
        self._known_attempt = self.attempt

    def take(self, batch: Batch) -> None:
        if batch.gap is not None:
            self.dropped[batch.gap] = self.dropped.get(batch.gap, 0) + batch.chunk.count
        self.accepted += batch.accepted
        self.rejected += batch.bad
        _add(self.non_finite, batch.non_finite)
        for seq, event in batch.others:
            if isinstance(event, RunUpdate) and event.primary is not None:
                self._take_primary(seq, event.primary)
        if batch.metrics:
            self._take_metrics(batch)
        for kind, append in _APPENDERS.items():
            events = [(seq, event) for seq, event in batch.others if event.__class__ in _CLASSES[kind]]
            if events:
                self._append(kind, append, events)
        for seq, event in batch.others:
            self._take_event(seq, event)
        self.next = batch.chunk.next

    def commands(self) -> list[dict[str, Any]]:
        """The commands that are new for this stream's dials; they ride back in the answer."""
        if self.status != "running" or not self._has_commands:
            return []
        handed = commands.hand_over(self.db, self.run_id, self.stream, self.now)
        if handed:
            self.kinds.add("dials")
        return handed

    def refuse(self, bad: Bad) -> None:
        """A record that could be read and still cannot be taken."""
        self.accepted -= 1
        self.rejected.append(bad)

    def _take_metrics(self, batch: Batch) -> None:
        batch, lost = fit_keys(self.db, self.run_id, batch, self._last_key)
        for _ in range(lost):
            self.refuse(Bad(batch.chunk.first, "TOO_MANY_KEYS", f"the run has {quota.MAX_RUN_KEYS:,} metrics already"))
        if not batch.metrics:
            return
        self.db.execute(
            "INSERT INTO inbox (run_id, records, points, received_ms, data) VALUES (?, ?, ?, ?, ?)",
            (self.run_id, len(batch.metrics), batch.points, self.now, batch.data),
        )
        self.points += batch.points
        self.metrics += batch.metrics
        self.run_changed = True
        if self.primary is not None:
            self._find_best(batch.metrics, *self.primary)
        self._find_stages(batch.metrics)
        if batch.max_step is not None and (self.last_step is None or batch.max_step > self.last_step):
            self.last_step = batch.max_step

    def _take_event(self, seq: int, event: Event) -> None:
        try:
            if isinstance(event, RunUpdate):
                self._take_update(event)
            elif isinstance(event, Marker):
                self._take_marker(event)
            elif isinstance(event, Ledger):
                self._take_ledger(event)
            elif isinstance(event, RunEnd):
                self._take_end(event)
        except ValueError as error:
            self.refuse(Bad(seq, "INVALID_RECORD", f"{type(event).__name__}: {error}"[:500]))

    def _append(self, kind: str, append: Callable[..., None], events: list[tuple[int, Event]]) -> None:
        """Hand events to the room that keeps them; one it cannot take is set apart alone."""
        try:
            append(self.db, self.run_id, self.stream, events, self.now)
        except ValueError as error:
            if len(events) == 1:
                seq, event = events[0]
                self.refuse(Bad(seq, "INVALID_RECORD", f"{type(event).__name__}: {error}"[:500]))
                return
            for one in events:
                self._append(kind, append, [one])
        self.kinds.add(kind)

    def _take_primary(self, seq: int, primary: dict[str, str]) -> None:
        name, mode = primary.get("name"), primary.get("mode")
        if not isinstance(name, str) or mode not in ("max", "min"):
            self.refuse(Bad(seq, "INVALID_RECORD", "RunUpdate: primary needs a name and the mode max or min"))
            return
        if self.primary != (clean_key(name), mode):
            self.primary, self.best = (clean_key(name), mode), None
            self.best_changed = True

    def _find_stages(self, metrics: list[Metrics]) -> None:
        """Mark where a stage begins."""
        for record in metrics:
            stage = record.stage
            if stage is not None and stage != self.stage:
                self.stage = stage
                self._take_marker(Marker(record.time_ns, "stage", stage, record.step))

    def _find_best(self, metrics: list[Metrics], name: str, mode: str) -> None:
        """Keep the best value of the primary metric and where it was; of equal ones the first."""
        for record in metrics:
            value = record.values.get(name)
            if value is None or isinstance(value, str):
                continue
            if self.best is None or (value > self.best[0] if mode == "max" else value < self.best[0]):
                self.best = (float(value), record.step)
                self.best_changed = True

    def _take_update(self, event: RunUpdate) -> None:
        merge_document(self.db, self.run_id, "config", event.config or {})
        merge_document(self.db, self.run_id, "summary", event.summary or {})
        new: dict[str, str] = {}
        if event.name:
            new["name"] = clean_text(event.name, MAX_NAME)
        if event.tags is not None:
            new["tags"] = tags_document(event.tags)
        if event.notes is not None:
            new["notes"] = clean_text(event.notes, MAX_LONG_TEXT)
        if event.path is not None:
            new["path"] = clean_text(event.path, MAX_NAME)
        if event.environment is not None:
            new["environment"] = document(event.environment)
        for column, text in (("alias", event.alias), ("run_group", event.group), ("job_type", event.job_type)):
            if text is not None:
                new[column] = clean_text(text, MAX_NAME)
        for column, value in new.items():
            self.db.execute(f"UPDATE runs SET {column} = ? WHERE run_id = ?", (value, self.run_id))
        self.run_changed = True

    def _take_marker(self, event: Marker) -> None:
        if event.step is not None and not -(2**63) <= event.step < 2**63:
            raise ValueError("step does not fit into 64 bits")
        attrs = document(event.attrs)
        if event.kind == "non_finite":
            count = event.attrs.get("count", 1)
            _add(self.non_finite, {event.name[:MAX_NAME]: count if type(count) is int and 0 < count < 2**53 else 1})
        if self.marker_count >= MAX_MARKERS:
            return
        marker = Marker(
            event.time_ns, clean_text(event.kind, MAX_NAME), clean_text(event.name, MAX_NAME), event.step, event.attrs
        )
        self.db.execute(
            "INSERT INTO markers (run_id, place, time_ms, kind, name, step, attrs) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.run_id, self.marker_count, event.time_ns // 1_000_000, marker.kind, marker.name, event.step, attrs),
        )
        self.marker_count += 1
        self.markers.append(marker)

    def _take_ledger(self, event: Ledger) -> None:
        account = {"logged": event.logged, "dropped": event.dropped, "nonFinite": event.non_finite}
        self.db.execute(
            "UPDATE streams SET ledger = ? WHERE run_id = ? AND stream = ?",
            (document(account), self.run_id, self.stream),
        )

    def _take_end(self, event: RunEnd) -> None:
        if event.status == "running":
            raise ValueError("running is no end")
        self.attempt = event.status
        self.ended_ms = event.time_ns // 1_000_000
        if self.status in ("running", "crashed") and self._decides():
            self.status = event.status
            self.db.execute(
                "UPDATE runs SET reason = ?, traceback = ?, finished_ms = ? WHERE run_id = ?",
                (
                    event.reason and clean_text(event.reason, MAX_REASON),
                    event.traceback and clean_text(event.traceback, MAX_LONG_TEXT),
                    self.ended_ms,
                    self.run_id,
                ),
            )
            if event.status != "crashed":  # one that crashed may be taken up again, and then obeys
                commands.end_all(self.db, self.run_id, self.now)
            self.run_changed = True

    def _decides(self) -> bool:
        """Whether the end of this stream is the end of the run: it leads, and has not begun anew since."""
        if self.part:
            return False
        newer = self.db.execute(
            "SELECT 1 FROM streams"
            " WHERE run_id = ? AND stream <> ? AND part = 0 AND status = 'running' AND started_ms > ? LIMIT 1",
            (self.run_id, self.stream, self.started_ms),
        ).fetchone()
        return newer is None

    def _revive(self) -> None:
        """A sign of life of a stream that was taken for dead."""
        if self.attempt == "crashed" and self.ended_ms is None and self._is_open():
            self.attempt = "running"
        if self.status == "crashed" and self.attempt == "running":
            self.status = "running"
            self.db.execute("UPDATE runs SET reason = NULL, finished_ms = NULL WHERE run_id = ?", (self.run_id,))
            self.run_changed = True

    def _is_open(self) -> bool:
        row = self.db.execute(
            "SELECT ended_ms FROM streams WHERE run_id = ? AND stream = ?", (self.run_id, self.stream)
        ).fetchone()
        return row[0] is None

    def save(self) -> None:
        """Write what was gathered. A request that only repeats what is known is a sign of life all the same."""
        self._revive()
        self._save_rejected()
        self._save_tallies()
        self.db.execute(
            "UPDATE streams SET next_seq = ?, last_seen_ms = ?, received = received + ?, duplicate = duplicate + ?"
            " WHERE run_id = ? AND stream = ?",
            (self.next, self.now, self.accepted, self.duplicate, self.run_id, self.stream),
        )
        if self.attempt != self._known_attempt or self.ended_ms is not None:
            # Apart from the rest, so that most requests leave the index of running streams alone.
            self.db.execute(
                "UPDATE streams SET status = ?, ended_ms = coalesce(?, ended_ms) WHERE run_id = ? AND stream = ?",
                (self.attempt, self.ended_ms, self.run_id, self.stream),
            )
        if self.run_changed:
            self.db.execute(
                "UPDATE runs SET status = ?, last_step = ?, points = points + ?, markers = ?, updated_ms = ?"
                " WHERE run_id = ?",
                (self.status, self.last_step, self.points, self.marker_count, self.now, self.run_id),
            )
        if self.stage != self._known_stage:
            self.db.execute("UPDATE runs SET last_stage = ? WHERE run_id = ?", (self.stage, self.run_id))
        if self.best_changed:
            self.db.execute(
                "UPDATE runs SET primary_name = ?, primary_mode = ?, best_value = ?, best_step = ? WHERE run_id = ?",
                (*(self.primary or (None, None)), *(self.best or (None, None)), self.run_id),
            )
        if self.markers and not self.run_changed:
            self.db.execute("UPDATE runs SET markers = ? WHERE run_id = ?", (self.marker_count, self.run_id))

    def _save_rejected(self) -> None:
        if not self.rejected:
            return
        kept = self.db.execute(
            "SELECT count(*) FROM rejected WHERE run_id = ? AND stream = ?", (self.run_id, self.stream)
        ).fetchone()[0]
        self.db.executemany(
            "INSERT INTO rejected (run_id, stream, seq, code, reason) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(self.run_id, self.stream, *bad) for bad in self.rejected[: max(0, MAX_REJECTED - kept)]],
        )

    def _save_tallies(self) -> None:
        codes: dict[str, int] = {}
        for bad in self.rejected:
            codes[bad.code] = codes.get(bad.code, 0) + 1
        for column, more in (("rejected", codes), ("dropped", self.dropped), ("non_finite", self.non_finite)):
            if more:
                where = (self.run_id, self.stream)
                text = self.db.execute(
                    f"SELECT {column} FROM streams WHERE run_id = ? AND stream = ?", where
                ).fetchone()[0]
                tally: dict[str, int] = msgspec.json.decode(text)
                _add(tally, more)
                self.db.execute(
                    f"UPDATE streams SET {column} = ? WHERE run_id = ? AND stream = ?", (document(tally), *where)
                )

    def change(self) -> Change | None:
        if not (self.metrics or self.markers or self.run_changed or self.kinds):
            return None
        return Change(
            self.run_id,
            self.project_id,
            self.workspace_id,
            self.metrics,
            self.markers,
            self.run_changed,
            frozenset(self.kinds),
        )


def _add(tally: dict[str, int], more: dict[str, int]) -> None:
    for key, count in more.items():
        name = key if key in tally or len(tally) < _MAX_TALLIES else "(other)"
        tally[name] = tally.get(name, 0) + count


def run_of_stream(db: Db, stream: str) -> str | None:
    """The run of a stream; None when it is new. All that clients say of a stream is its id, so this is asked first."""
    row = db.execute("SELECT run_id FROM streams WHERE stream = ?", (stream,)).fetchone()
    return None if row is None else str(row[0])


def _known(db: Db, run_id: str, stream: str) -> Any:
    """What is known of the stream and its run, in the order :class:`_Work` takes it; None when it is new."""
    return db.execute(
        "SELECT s.run_id, s.next_seq, s.part, s.status, s.started_ms,"
        " r.workspace_id, r.project_id, r.status, r.last_step, r.markers,"
        " r.primary_name, r.primary_mode, r.best_value, r.best_step, r.last_stage,"
        " (SELECT max(k.key_id) FROM metric_keys k WHERE k.run_id = s.run_id),"
        " EXISTS (SELECT 1 FROM commands c WHERE c.run_id = s.run_id AND c.finished_ms IS NULL)"
        " FROM streams s JOIN runs r ON r.run_id = s.run_id WHERE s.run_id = ? AND s.stream = ?",
        (run_id, stream),
    ).fetchone()


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
