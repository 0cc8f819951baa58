"""Intake: what one request brings to one stream and its run, gathered and then saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
from rundial.server.store import acks, commands, evals, logs, quota, spans, sweep_records
from rundial.server.store.accounts import now_ms
from rundial.server.store.admission import (
    MAX_NAME,
    clean_text,
    document,
    merge_document,
    tags_document,
)
from rundial.server.store.batch import Bad, Batch
from rundial.server.store.changes import Change
from rundial.server.store.engine import Db
from rundial.server.store.losses import add_up, note_losses, note_rejected
from rundial.server.store.quota import fit_keys
from rundial.server.store.refusal import Refusal as Refusal

MAX_MARKERS = 10_000
"""Markers kept of each run; of ``non_finite`` ones all are counted."""
MAX_REASON = 2_000
MAX_LONG_TEXT = 100_000
_APPENDERS: dict[str, Callable[..., None]] = {
    "logs": logs.append,
    "spans": spans.append,
    "evals": evals.append,
    "dials": acks.append,
}
"""The rooms of those events that a run has many of, by the name the live stream gives them."""
_CLASSES: dict[str, tuple[type, ...]] = {
    "logs": (LogLine,),
    "spans": (Span,),
    "evals": (EvalStart, EvalResult),
    "dials": (Dial, Ack),
}


class Intake:
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
        self.run_changed = self._begins = self.next == 0
        self.ended_ms: int | None = None
        self._known_attempt = self.attempt

    def take(self, batch: Batch) -> None:
        if batch.gap is not None:
            self.dropped[batch.gap] = self.dropped.get(batch.gap, 0) + batch.chunk.count
        self.accepted += batch.accepted
        self.rejected += batch.bad
        add_up(self.non_finite, batch.non_finite)
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
        if event.sweep is not None:
            sweep_records.told_by(self.db, self.run_id, event.sweep, self.now)
            self.kinds.add("sweeps")
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
            add_up(self.non_finite, {event.name[:MAX_NAME]: count if type(count) is int and 0 < count < 2**53 else 1})
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
        note_rejected(self.db, self.run_id, self.stream, self.rejected)
        note_losses(self.db, self.run_id, self.stream, self.dropped, self.non_finite)
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

    def change(self) -> Change | None:
        if self._begins and not self.part:
            self._tell_of_resume()
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

    def _tell_of_resume(self) -> None:
        """An attempt stands for its own marker; whoever watches is told of it as of the others."""
        attempts = self.db.execute(
            "SELECT stream, started_ms, base_step FROM streams WHERE run_id = ? AND part = 0 AND rank = 0"
            " ORDER BY started_ms, stream",
            (self.run_id,),
        ).fetchall()
        for number, (stream, started_ms, step) in enumerate(attempts[1:], 2):
            if stream == self.stream:
                self.markers.append(Marker(started_ms * 1_000_000, "resume", f"attempt {number}", step))


def known_stream(db: Db, run_id: str, stream: str) -> Any:
    """What is known of the stream and its run, in the order :class:`Intake` takes it; None when it is new."""
    return db.execute(
        "SELECT s.run_id, s.next_seq, s.part, s.status, s.started_ms,"
        " r.workspace_id, r.project_id, r.status, r.last_step, r.markers,"
        " r.primary_name, r.primary_mode, r.best_value, r.best_step, r.last_stage,"
        " (SELECT max(k.key_id) FROM metric_keys k WHERE k.run_id = s.run_id),"
        " EXISTS (SELECT 1 FROM commands c WHERE c.run_id = s.run_id AND c.finished_ms IS NULL)"
        " FROM streams s JOIN runs r ON r.run_id = s.run_id WHERE s.run_id = ? AND s.stream = ?",
        (run_id, stream),
    ).fetchone()
