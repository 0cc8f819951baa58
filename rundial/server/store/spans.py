"""Spans of traces: a row for each span, and one for each trace that adds them up as they arrive.

The sums make the list of a run's traces as quick with a million spans as with ten. A span that is sent again replaces
the one before; then its trace is added up anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from rundial.events import SPAN_KINDS, Span
from rundial.server.store.admission import clean_text, document
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import invalid

MAX_SPANS = 10_000
"""Spans of one trace that are given out."""
MAX_NAME = 512
MAX_MESSAGE = 2_000
MAX_EVENTS = 1_000
_STATUSES = frozenset({"unset", "ok", "error"})
_TRACE_ID = re.compile("[0-9a-f]{32}")
_SPAN_ID = re.compile("[0-9a-f]{16}")
_INT64 = 1 << 63
_AMOUNT = 1 << 53

TABLES = """
CREATE TABLE spans (
    run_id TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    parent_span_id TEXT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    start_ns BIGINT NOT NULL,
    end_ns BIGINT NOT NULL,
    status TEXT NOT NULL,
    message TEXT,
    model TEXT,
    system TEXT,
    tokens_in BIGINT,
    tokens_out BIGINT,
    cost_usd DOUBLE PRECISION,
    attrs TEXT NOT NULL,
    events TEXT NOT NULL,
    PRIMARY KEY (run_id, trace_id, span_id)
);
CREATE TABLE traces (
    run_id TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    root_name TEXT NOT NULL,
    root_ns BIGINT NOT NULL,
    rooted BIGINT NOT NULL,
    start_ns BIGINT NOT NULL,
    end_ns BIGINT NOT NULL,
    spans BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    tokens_in BIGINT NOT NULL,
    tokens_out BIGINT NOT NULL,
    cost_usd DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (run_id, trace_id)
);
CREATE INDEX traces_by_start ON traces (run_id, start_ns, trace_id);
"""

_COLUMNS = (
    "trace_id, span_id, parent_span_id, name, kind, start_ns, end_ns, status, message, model, system, tokens_in,"
    " tokens_out, cost_usd, attrs, events"
)
_PUT = (
    f"INSERT INTO spans (run_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (run_id, trace_id, span_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[2:])
)


class _Row(NamedTuple):
    """A span as the table has it, without the run."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    message: str | None
    model: str | None
    system: str | None
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    attrs: str
    events: str


class _Sum(NamedTuple):
    """What the list says of a trace. The root is the first span without a parent, or the first as long as none is."""

    root_name: str
    root_ns: int
    rooted: int
    start_ns: int
    end_ns: int
    spans: int
    errors: int
    tokens_in: int
    tokens_out: int
    cost_usd: float


def append(db: Db, run_id: str, stream: str, events: list[tuple[int, Span]], now: int) -> None:
    """Take in the events of one batch, with their sequence numbers, inside the writer's transaction.

    Raises ValueError, before anything is written, when one of them is no span.
    """
    rows = {(span.trace_id, span.span_id): _row(span) for _, span in events}
    by_trace: dict[str, list[_Row]] = {}
    for row in rows.values():
        by_trace.setdefault(row.trace_id, []).append(row)
    known = {trace: _known_sum(db, run_id, trace) for trace in by_trace}
    again = {trace for trace, sums in known.items() if sums is not None and _any_known(db, run_id, by_trace[trace])}
    db.executemany(_PUT, [(run_id, *row) for row in rows.values()])
    for trace, more in by_trace.items():
        sums = _add_up_anew(db, run_id, trace) if trace in again else _added(known[trace], more)
        db.execute(
            "INSERT INTO traces (run_id, trace_id, root_name, root_ns, rooted, start_ns, end_ns, spans, errors,"
            " tokens_in, tokens_out, cost_usd) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (run_id, trace_id) DO UPDATE SET root_name = excluded.root_name, root_ns = excluded.root_ns,"
            " rooted = excluded.rooted, start_ns = excluded.start_ns, end_ns = excluded.end_ns,"
            " spans = excluded.spans, errors = excluded.errors, tokens_in = excluded.tokens_in,"
            " tokens_out = excluded.tokens_out, cost_usd = excluded.cost_usd",
            (run_id, trace, *sums),
        )


def _row(span: Span) -> _Row:
    """A span that may be stored. Raises ValueError when it may not."""
    if not _TRACE_ID.fullmatch(span.trace_id) or not _SPAN_ID.fullmatch(span.span_id):
        raise ValueError("ids must be 32 and 16 lower-case hexadecimal digits")
    if span.parent_span_id is not None and not _SPAN_ID.fullmatch(span.parent_span_id):
        raise ValueError("parent_span_id must be 16 lower-case hexadecimal digits")
    if span.kind not in SPAN_KINDS or span.status not in _STATUSES:
        raise ValueError(f"unknown kind or status: {span.kind[:40]!r}, {span.status[:40]!r}")
    if not 0 <= span.start_ns < _INT64 or not 0 <= span.end_ns < _INT64:
        raise ValueError("times must be Unix times in nanoseconds")
    if len(span.events) > MAX_EVENTS:
        raise ValueError(f"more than {MAX_EVENTS} events")
    amounts = (span.tokens_in, span.tokens_out, span.cost_usd)
    if not all(amount is None or (isfinite(amount) and 0 <= amount < _AMOUNT) for amount in amounts):
        raise ValueError("tokens and cost must be amounts")
    return _Row(
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        clean_text(span.name, MAX_NAME),
        span.kind,
        span.start_ns,
        max(span.start_ns, span.end_ns),
        span.status,
        span.message and clean_text(span.message, MAX_MESSAGE),
        span.model and clean_text(span.model, MAX_NAME),
        span.system and clean_text(span.system, MAX_NAME),
        span.tokens_in,
        span.tokens_out,
        span.cost_usd,
        document(span.attrs),
        document([_event(*event) for event in span.events]),
    )


def _event(name: str, time_ns: int, attrs: dict[str, Any]) -> dict[str, Any]:
    """An event as it is given out."""
    if not 0 <= time_ns < _INT64:
        raise ValueError("times of events must be Unix times in nanoseconds")
    return {"name": clean_text(name, MAX_NAME), "timeNs": str(time_ns), "attrs": attrs}


def _known_sum(db: Db, run_id: str, trace: str) -> _Sum | None:
    row = db.execute(
        f"SELECT {', '.join(_Sum._fields)} FROM traces WHERE run_id = ? AND trace_id = ?", (run_id, trace)
    ).fetchone()
    return _Sum(*row) if row else None


def _any_known(db: Db, run_id: str, rows: list[_Row]) -> bool:
    """Whether one of these spans, all of one trace, is there already."""
    return any(
        db.execute(
            "SELECT 1 FROM spans WHERE run_id = ? AND trace_id = ? AND span_id = ?", (run_id, row.trace_id, row.span_id)
        ).fetchone()
        for row in rows
    )


def _add_up_anew(db: Db, run_id: str, trace: str) -> _Sum:
    rows = db.execute(f"SELECT {_COLUMNS} FROM spans WHERE run_id = ? AND trace_id = ?", (run_id, trace))
    return _added(None, map(_Row._make, rows))


def _added(sums: _Sum | None, rows: Iterable[_Row]) -> _Sum:
    """The sums with more spans in them."""
    name, root_ns, rooted, start, end, spans, errors, tokens_in, tokens_out, cost = sums or _Sum(
        "", _INT64 - 1, -1, _INT64 - 1, 0, 0, 0, 0, 0, 0.0
    )
    for row in rows:
        is_root = int(row.parent_span_id is None)
        if is_root > rooted or (is_root == rooted and row.start_ns < root_ns):
            name, root_ns, rooted = row.name, row.start_ns, is_root
        start, end = min(start, row.start_ns), max(end, row.end_ns)
        spans += 1
        errors += row.status == "error"
        tokens_in = min(tokens_in + (row.tokens_in or 0), _INT64 - 1)
        tokens_out = min(tokens_out + (row.tokens_out or 0), _INT64 - 1)
        cost += row.cost_usd or 0.0
    return _Sum(name, root_ns, rooted, start, end, spans, errors, tokens_in, tokens_out, cost)


class Spans:
    """Reading traces, as documents to be encoded as JSON.

    Times are Unix nanoseconds as decimal texts: a JSON number of a browser cannot hold them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def traces(
        self, run_id: str, *, limit: int, cursor: str | None = None, text: str = "", status: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of the run's traces, newest first, and the cursor of the next page if there is one.

        Args:
            run_id: a run the caller may see.
            cursor: where the page before ended, as it said.
            text: only traces with a span whose name has this in it, in whatever case, or whose id begins with it.
            status: ``error`` for traces with an error in them, ``ok`` for those without.

        Raises:
            Refusal: the cursor is none.
        """
        where, values = ["t.run_id = ?"], [run_id]
        for part, more in (_before(cursor), _holding(text), _ended(status)):
            if part:
                where.append(part)
                values += more
        with self._engine.read() as db:
            rows = db.execute(
                "SELECT t.trace_id, t.root_name, t.start_ns, t.end_ns, t.spans, t.errors, t.tokens_in, t.tokens_out,"
                f" t.cost_usd FROM traces t WHERE {' AND '.join(where)}"
                " ORDER BY t.start_ns DESC, t.trace_id DESC LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
        more_to_come = len(rows) > limit
        return [
            _trace(row) for row in rows[:limit]
        ], f"{rows[limit - 1][2]}-{rows[limit - 1][0]}" if more_to_come else None

    def trace(self, run_id: str, trace_id: str) -> dict[str, Any] | None:
        """One trace with its spans by start, at most 10,000 of them; None when there is none."""
        with self._engine.read() as db:
            row = db.execute(
                "SELECT trace_id, root_name, start_ns, end_ns, spans, errors, tokens_in, tokens_out, cost_usd"
                " FROM traces WHERE run_id = ? AND trace_id = ?",
                (run_id, trace_id),
            ).fetchone()
            if row is None:
                return None
            spans = db.execute(
                f"SELECT {_COLUMNS} FROM spans WHERE run_id = ? AND trace_id = ?"
                " ORDER BY start_ns, end_ns DESC, span_id LIMIT ?",
                (run_id, trace_id, MAX_SPANS),
            ).fetchall()
        found = _trace(row)
        found["spanCount"] = found.pop("spans")
        return found | {"spans": [_span(_Row(*span)) for span in spans], "truncated": row[4] > MAX_SPANS}


def _before(cursor: str | None) -> tuple[str, list[Any]]:
    """What is older than the last trace of the page before."""
    if not cursor:
        return "", []
    start, _, trace = cursor.partition("-")
    if not (
        start.isascii() and start.isdigit() and len(start) < 20 and int(start) < _INT64 and _TRACE_ID.fullmatch(trace)
    ):
        raise invalid("The cursor is not one of this server.", "Begin again without a cursor.")
    return "(t.start_ns < ? OR (t.start_ns = ? AND t.trace_id < ?))", [int(start), int(start), trace]


def _holding(text: str) -> tuple[str, list[Any]]:
    if not text:
        return "", []
    escaped = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return (
        "(t.trace_id LIKE ? ESCAPE '\\' OR EXISTS (SELECT 1 FROM spans s WHERE s.run_id = t.run_id"
        " AND s.trace_id = t.trace_id AND lower(s.name) LIKE ? ESCAPE '\\'))",
        [f"{escaped}%", f"%{escaped}%"],
    )


def _ended(status: str | None) -> tuple[str, Sequence[Any]]:
    return ("", []) if status is None else ("t.errors > 0" if status == "error" else "t.errors = 0", [])


def _trace(row: tuple[Any, ...]) -> dict[str, Any]:
    trace_id, name, start, end, spans, errors, tokens_in, tokens_out, cost = row
    return {
        "traceId": trace_id,
        "rootName": name,
        "startNs": str(start),
        "durationNs": str(end - start),
        "spans": spans,
        "errors": errors,
        "tokensIn": tokens_in,
        "tokensOut": tokens_out,
        "costUsd": cost,
    }


def _span(row: _Row) -> dict[str, Any]:
    return {
        "traceId": row.trace_id,
        "spanId": row.span_id,
        "parentSpanId": row.parent_span_id,
        "name": row.name,
        "kind": row.kind,
        "startNs": str(row.start_ns),
        "endNs": str(row.end_ns),
        "status": row.status,
        "message": row.message,
        "attrs": msgspec.Raw(row.attrs.encode()),
        "events": msgspec.Raw(row.events.encode()),
        "model": row.model,
        "system": row.system,
        "tokensIn": row.tokens_in,
        "tokensOut": row.tokens_out,
        "costUsd": row.cost_usd,
    }
