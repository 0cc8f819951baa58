"""One run of an export, as the records it is sent as: its attempts, metrics, logs, spans, results and media."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rundial.errors import RundialError
from rundial.events import (
    EvalResult,
    EvalStart,
    Event,
    Ledger,
    LogLine,
    Marker,
    Metrics,
    RunEnd,
    RunStart,
    RunUpdate,
    Span,
)
from rundial.exports.project import TABLES
from rundial.exports.tables import Columns, read_table
from rundial.http import Json
from rundial.importers.draft import HEARTBEAT_SECONDS, Draft, Upload
from rundial.staging import Job, stage_file
from rundial.wire import encode

MAX_PART = 64 * 1024
"""Bytes of a part of a configuration or summary that is too long for one record."""
SUMMARY_KEYS = 200
"""A server shows the last values of so many metrics in a summary."""
MILLISECOND = 1_000_000


class ExportedRun:
    """A run in an exported folder.

    Args:
        folder: its own folder in there.
        form: the format of its tables.
        document: what the export says of it.
    """

    def __init__(self, folder: Path, form: str, document: Json) -> None:
        self.folder = folder
        self.document = document
        self.run: Json = document["run"]
        self.id: str = self.run["runId"]
        self._form = form

    def rows(self, table: str) -> Iterator[Json]:
        """The rows of a table, such as ``metrics``. Raises :class:`RundialError` when it cannot be read."""
        columns: Columns = TABLES[table]
        return read_table(self.folder / f"{table}.{self._form}", columns)


def inside(root: Path, path: str) -> Path:
    """A path that a document names. Raises :class:`RundialError` when it leads out of the folder."""
    found = (root / path).resolve()
    if not found.is_relative_to(root.resolve()):
        raise RundialError(f"{path!r} leads out of {root}.")
    return found


def draft_of(run: ExportedRun, workspace: str, project: str | None, strangers: list[Json]) -> Draft:
    """A run as what is to be sent.

    Args:
        run: the run.
        workspace: where it goes.
        project: another project than it was in.
        strangers: results of this run's evaluations that other runs logged.
    """
    facts = run.run
    attempts: list[Json] = facts["attempts"] or [{}]
    ended = [it for it in attempts if it.get("endedAtMs") == facts["finishedAtMs"] and it.get("status") != "running"]
    lead = ended[-1] if ended else attempts[-1]
    starts = [_start(facts, attempt, attempt is not lead, workspace, project) for attempt in attempts]
    earliest = min(starts, key=lambda start: start.time_ns)
    for start in starts:
        if start is not earliest:
            start.config = {}
    leading = next(number for number, attempt in enumerate(attempts) if attempt is lead)
    draft = Draft(
        starts[leading],
        f"rundial {run.document['state']}",
        partial(_events, run, earliest, leading),
        _end(facts),
        uploads=partial(_media, run),
        late=partial(_late, run, strangers, lead),
    )
    for number, (attempt, start) in enumerate(zip(attempts, starts)):
        if attempt is not lead:
            draft.parts.append((start, [*_part_markers(run, number), *_part_end(attempt)]))
    if facts["status"] == "running":
        draft.leave_out("that it was still running: it is marked as crashed")
    return draft


def _start(facts: Json, attempt: Json, part: bool, workspace: str, project: str | None) -> RunStart:
    start = RunStart(
        (attempt["startedAtMs"] if attempt else facts["startedAtMs"]) * MILLISECOND,
        facts["runId"],
        workspace,
        project or facts["projectSlug"],
        facts["runName"],
        facts["kind"],
        "never",
        facts["group"],
        facts["jobType"],
        facts["tags"],
        facts["config"],
        attempt.get("host") or "",
        attempt.get("pid") or 0,
        attempt.get("rank") or 0,
        attempt.get("client") or "",
        attempt.get("system") or {},
        HEARTBEAT_SECONDS,
        part,
        facts["path"],
        facts["alias"],
        facts["notes"],
    )
    if len(encode(start)) > MAX_PART:
        start.config = {}
    return start


def _part_markers(run: ExportedRun, number: int) -> Iterator[Event]:
    """The markers that go with an attempt which does not lead: those that count what it could not store."""
    for row in run.rows("markers"):
        if _attempt_of(run.run["attempts"], row) == number:
            yield _marker(row)


def _attempt_of(attempts: list[Json], marker: Json) -> int | None:
    """The attempt whose own account has such a value, and that was there at the time; None when it does not matter."""
    if marker["kind"] == "non_finite":
        for number, attempt in enumerate(attempts):
            end = attempt["lastSeenMs"] if attempt["endedAtMs"] is None else attempt["endedAtMs"]
            counted = (attempt["ledger"] or {}).get("nonFinite") or {}
            if marker["name"] in counted and attempt["startedAtMs"] <= marker["timeMs"] <= end:
                return number
    return None


def _marker(row: Json) -> Marker:
    return Marker(row["timeMs"] * MILLISECOND, row["kind"], row["name"], row["step"], row["attrs"])


def _part_end(attempt: Json) -> Iterator[Event]:
    if attempt.get("ledger"):
        yield _ledger(attempt["ledger"])
    if attempt["status"] != "running":
        moment = attempt["endedAtMs"] or attempt["lastSeenMs"]
        yield RunEnd(moment * MILLISECOND, attempt["status"])


def _end(facts: Json) -> RunEnd:
    if facts["status"] == "running":
        reason = "it was still running when it was exported"
        return RunEnd(facts["updatedAtMs"] * MILLISECOND, "crashed", reason)
    moment = facts["finishedAtMs"] or facts["updatedAtMs"]
    return RunEnd(moment * MILLISECOND, facts["status"], facts["reason"], facts["traceback"])


def _events(run: ExportedRun, earliest: RunStart, leading: int) -> Iterator[Event]:
    facts = run.run
    seen = _survey(run)
    attempts: list[Json] = facts["attempts"]
    primary = facts["primaryMetric"]
    if primary is not None:
        yield RunUpdate(0, primary={"name": primary["name"], "mode": primary["mode"]})
    if facts["config"] != earliest.config:
        for part in _split(facts["config"]):
            yield RunUpdate(0, config=part)
    for part in _split(_own_summary(facts, seen)):
        yield RunUpdate(0, summary=part)
    if facts.get("environment"):
        yield RunUpdate(0, environment=facts["environment"])
    for row in run.rows("markers"):
        if row["kind"] == "stage" and seen.stages:
            continue  # the server marks where a stage begins
        if _attempt_of(attempts, row) in (None, leading):
            yield _marker(row)
    yield from _metrics(run, seen)
    for row in run.rows("logs"):
        yield LogLine(
            row["timestampMs"] * MILLISECOND, row["level"], row["message"], row["source"], bool(row["truncated"])
        )
    for row in run.rows("spans"):
        yield _span(row)
    for one in run.document["evalRuns"]:
        if one["suiteName"] is not None:
            yield EvalStart(
                one["startedAtMs"] * MILLISECOND,
                one["evalRunId"],
                one["suiteName"],
                one["dataset"],
                one["scorers"],
                one["config"],
                one["suiteId"],
            )


def _late(run: ExportedRun, strangers: list[Json], lead: Json) -> Iterator[Event]:
    for row in (*(row for row in run.rows("results") if row["runId"] == run.id), *strangers):
        yield EvalResult(
            row["timestampMs"] * MILLISECOND,
            row["evalRunId"],
            row["exampleId"],
            row["scorer"],
            row["score"],
            row["passed"],
            row["traceId"],
            row["evidenceRef"],
            row["meta"],
        )
    if lead.get("ledger"):
        yield _ledger(lead["ledger"])


def _ledger(account: Json) -> Ledger:
    return Ledger(0, account["logged"], account["dropped"], account["nonFinite"])


class _Survey(NamedTuple):
    """What has to be known of the metrics before they are sent."""

    last: dict[str, tuple[int, int, Any]]
    """Step, order and value of the newest point of each key."""
    disordered: set[tuple[str, bool]]
    """Series whose points did not arrive in the order of their times: key, and whether it is one of texts."""
    stages: bool


def _survey(run: ExportedRun) -> _Survey:
    seen = _Survey({}, set(), False)
    stages = False
    orders: dict[tuple[str, bool], int] = {}
    for row in run.rows("metrics"):
        series = (row["metricKey"], row["text"] is not None)
        if row["order"] < orders.get(series, -1):
            seen.disordered.add(series)
        orders[series] = max(row["order"], orders.get(series, -1))
        stages = stages or row["stage"] is not None
        value = row["value"] if row["text"] is None else row["text"]
        known = seen.last.get(series[0])
        if known is None or (row["step"], row["order"]) >= known[:2]:
            seen.last[series[0]] = row["step"], row["order"], value
    return seen._replace(stages=stages)


def _own_summary(facts: Json, seen: _Survey) -> Json:
    """The summary without what a server adds by itself: last values, so that they follow a run that is continued."""
    summary: Json = facts["summary"]
    if len(seen.last) > SUMMARY_KEYS:
        return summary
    return {
        key: value
        for key, value in summary.items()
        if key not in seen.last or seen.last[key][2] != value or isinstance(value, bool)
    }


def _split(document: Json) -> Iterator[Json]:
    """A mapping in parts that add up to it when they are merged key by key."""
    if not document:
        return
    if len(encode(RunUpdate(0, config=document))) <= MAX_PART or (
        len(document) == 1 and not isinstance(next(iter(document.values())), dict)
    ):
        yield document
        return
    if len(document) == 1:
        ((key, inner),) = document.items()
        for part in _split(inner):
            yield {key: part}
        return
    items = list(document.items())
    yield from _split(dict(items[: len(items) // 2]))
    yield from _split(dict(items[len(items) // 2 :]))


def _metrics(run: ExportedRun, seen: _Survey) -> Iterator[Metrics]:
    """Points put together again as they were logged; what arrived in another order comes behind, each for itself."""
    waiting: dict[tuple[str, bool], list[Json]] = {}
    moment: int | None = None
    group: list[tuple[Any, Metrics]] = []
    places: dict[str, int] = {}
    for row in run.rows("metrics"):
        series = (row["metricKey"], row["text"] is not None)
        if series in seen.disordered:
            waiting.setdefault(series, []).append(row)
            continue
        if row["timestampMs"] != moment:
            yield from (record for _, record in group)
            moment, group, places = row["timestampMs"], [], {}
        _join(group, places, row)
    yield from (record for _, record in group)
    for rows in waiting.values():
        for row in sorted(rows, key=lambda row: int(row["order"])):
            yield _record(row)


def _join(group: list[tuple[Any, Metrics]], places: dict[str, int], row: Json) -> None:
    """Put a point to those of its moment, behind all others of its key."""
    key = row["metricKey"]
    label = (row["step"], row["stage"], row["context"] and tuple(sorted(row["context"].items())))
    for place in range(places.get(key, -1) + 1, len(group)):
        if group[place][0] == label:
            group[place][1].values[key] = row["value"] if row["text"] is None else row["text"]
            places[key] = place
            return
    group.append((label, _record(row)))
    places[key] = len(group) - 1


def _record(row: Json) -> Metrics:
    value = row["value"] if row["text"] is None else row["text"]
    values: dict[str, Any] = {row["metricKey"]: value}
    return Metrics(row["timestampMs"] * MILLISECOND, row["step"], values, row["stage"], row["context"])


def _span(row: Json) -> Span:
    return Span(
        row["traceId"],
        row["spanId"],
        row["parentSpanId"],
        row["name"],
        row["kind"],
        row["startNs"],
        row["endNs"],
        row["status"],
        row["message"],
        row["attrs"],
        [(event["name"], int(event["timeNs"]), event["attrs"]) for event in row["events"]],
        row["model"],
        row["system"],
        row["tokensIn"],
        row["tokensOut"],
        row["costUsd"],
    )


def _media(run: ExportedRun) -> Iterator[Upload]:
    for row in run.rows("media"):
        key = f"media {row['key']}\0{row['step']}\0{row['index']}\0{row['sha256']}"
        yield Upload(key, partial(_media_job, run, row))


def _media_job(run: ExportedRun, row: Json, place: Path) -> Job:
    source = inside(run.folder, row["file"])
    staged = stage_file(source, place, "staged", f"{row['mediaType']}{source.suffix}")
    staged.content_type = row["contentType"]
    said = ("key", "step", "timeMs", "mediaType", "index", "caption", "width", "height", "tableRows", "tableColumns")
    media = {name: row[name] for name in said} | {"metadata": row["metadata"] or {}}
    return Job("media", [staged], step=row["step"], time_ns=row["timeMs"] * MILLISECOND, media=media)
