"""Events as items of the JSON wire. What that wire has no place for is named, so that the sender can count it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from rundial.events import EvalResult, LogLine, Marker, Metrics, RunStart, RunUpdate, Span

Json = dict[str, Any]

MAX_ENTRIES = 500
"""Entries of a config in one request; so many and so long ones are within what the older client sends."""
MAX_CONFIG_BYTES = 60_000
MAX_CONFIG_KEY = 128
MAX_CONFIG_TEXT = 2048
MAX_ATTRIBUTES = 16_384
MAX_EVENT_ATTRIBUTES = 4_096
MAX_MESSAGE = 8_192
MAX_EXAMPLE = 256
MAX_SCORER = 128
MAX_META = 8_192
MAX_SHOWN_KEYS = 32
OWN = "rundial"
"""Entries of a config under this name are what the wire has no field for."""
STREAM_KEY = f"{OWN}.stream"
_RANK_LINES = 1 << 40
_PATCHED = ("name", "tags", "notes", "primary", "path", "alias", "group", "job_type", "summary")


# -- config -----------------------------------------------------------------------------------------------------------


def flat_config(values: Mapping[str, Any]) -> tuple[Json, list[str]]:
    """A config as the wire has it, nested names joined by dots and lists as JSON; and the entries that were cut."""
    entries: Json = {}
    cut: list[str] = []
    for name, value in _leaves(values, ""):
        key = _shortened(name, MAX_CONFIG_KEY)
        entries[key] = plain = _config_value(value)
        if isinstance(plain, str) and len(plain) > MAX_CONFIG_TEXT:
            entries[key] = plain[: MAX_CONFIG_TEXT - 1] + "…"
            cut.append(name)
    return entries, cut


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _config_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return _json(value)


def config_patches(entries: Json) -> Iterator[Json]:
    """The entries in parts of which each fits into a request."""
    part: Json = {}
    size = 0
    for name, value in entries.items():
        length = len(_json({name: value}).encode())
        if part and (len(part) >= MAX_ENTRIES or size + length > MAX_CONFIG_BYTES):
            yield part
            part, size = {}, 0
        part[name] = value
        size += length
    if part:
        yield part


def start_config(start: RunStart) -> tuple[Json, list[str]]:
    """The config of a run that starts, with what else it says of itself."""
    own = {"path": start.path, "alias": start.alias, "notes": start.notes}
    return flat_config({**start.config, **_own(own)})


def update_config(update: RunUpdate) -> tuple[Json, list[str]]:
    """What a change to a run is as entries of its config, and what of it has no place there."""
    own = {name: getattr(update, name) for name in _PATCHED}
    entries, cut = flat_config({**(update.config or {}), **_own(own)})
    return entries, cut + [name for name in ("environment", "sweep") if getattr(update, name)]


def _own(fields: Json) -> Json:
    given = {name: value for name, value in fields.items() if value is not None}
    return {OWN: given} if given else {}


# -- metrics and logs -------------------------------------------------------------------------------------------------


def points(event: Metrics, item: Json) -> tuple[list[Json], list[str]]:
    """The points of one ``log()`` call, and why some of its values are none. ``item`` is what every point carries."""
    if event.step < 0:
        return [], ["a step below 0"] * len(event.values)
    context = dict(event.context or {})
    if event.stage is not None:
        context.setdefault("stage", event.stage)
    common = {**item, "step": event.step, "timestampMs": max(0, event.time_ns // 1_000_000)}
    if context:
        common["context"] = context
    found: list[Json] = []
    lacking: list[str] = []
    for key, value in event.values.items():
        if isinstance(value, str):
            lacking.append("a text as a value")
        elif not math.isfinite(value):
            lacking.append("a value that is not finite")
        else:
            found.append({**common, "metricKey": key, "value": int(value) if isinstance(value, bool) else value})
    return found, lacking


def line(event: LogLine, item: Json, seq: int, rank: int) -> Json:
    """A line of the log. Its number is that of its record, so that it is the same when it is sent again."""
    return {
        **item,
        "timestampMs": max(0, event.time_ns // 1_000_000),
        "sequence": rank * _RANK_LINES + seq + 1,
        "level": event.level,
        "message": event.message,
        "truncated": event.truncated,
    }


def marker_line(event: Marker, item: Json, seq: int, rank: int) -> Json:
    """A marker as a line of the log, the one place there is for it."""
    words = [event.kind, event.name, *([] if event.step is None else [f"at step {event.step}"])]
    message = " ".join([*words, *([_json(event.attrs)] if event.attrs else [])])
    cut = message.encode("utf-8", "replace")[:MAX_MESSAGE].decode("utf-8", "ignore")
    level = "warn" if event.kind in ("alert", "non_finite") else "info"
    return line(LogLine(event.time_ns, level, cut, "marker", cut != message), item, seq, rank)


# -- traces -----------------------------------------------------------------------------------------------------------


def span(event: Span, item: Json) -> Json:
    """A span. Why it failed is an attribute there."""
    attrs = event.attrs if event.message is None else {"otel.status_description": event.message, **event.attrs}
    return {
        **item,
        "traceId": event.trace_id,
        "spanId": event.span_id,
        "parentSpanId": event.parent_span_id,
        "name": event.name,
        "kind": event.kind,
        "startNs": str(event.start_ns),
        "endNs": str(event.end_ns),
        "status": event.status,
        "attrsJson": _bounded(attrs, MAX_ATTRIBUTES),
        "events": [
            {"name": name, "timestampNs": str(moment), "attrsJson": _bounded(values, MAX_EVENT_ATTRIBUTES)}
            for name, moment, values in event.events
        ],
        "model": event.model,
        "genAiSystem": event.system,
        "tokensIn": event.tokens_in,
        "tokensOut": event.tokens_out,
        "costUsd": event.cost_usd,
    }


def _bounded(attrs: Json, most: int) -> str:
    text = _json(attrs)
    return text if len(text.encode()) <= most else _json(_truncated(attrs))


def _truncated(values: Json) -> Json:
    return {f"{OWN}.originalKeys": sorted(values)[:MAX_SHOWN_KEYS], f"{OWN}.truncated": True}


# -- evaluations ------------------------------------------------------------------------------------------------------


def result(event: EvalResult) -> Json:
    """What a scorer said. The wire wants a verdict and a trace or evidence; ``meta`` says where there was none."""
    meta = dict(event.meta)
    trace_id = event.trace_id
    if event.passed is None:
        meta[f"{OWN}.verdict"] = "none"
    if trace_id is None and event.evidence is None:
        meta[f"{OWN}.trace"] = "none"
        trace_id = hashlib.sha256(f"{event.eval_run_id}\0{event.example_id}".encode()).hexdigest()[:32]
    return {
        "evalRunId": event.eval_run_id,
        "exampleId": _shortened(event.example_id, MAX_EXAMPLE),
        "scorer": _shortened(event.scorer, MAX_SCORER),
        "score": event.score,
        "passed": bool(event.passed),
        "traceId": trace_id,
        "evidenceRef": event.evidence,
        "meta": meta if len(_json(meta).encode()) <= MAX_META else _truncated(meta),
    }


def suite(name: str, dataset: Json, scorers: list[Json], suite_id: str | None) -> Json:
    """A suite, with a word in the place of what the wire wants and the run did not say."""
    named = {"name": "dataset", "version": "unknown", "artifactRef": "unknown"}
    body = {
        "name": name,
        "dataset": {**named, **{key: value for key, value in dataset.items() if value}},
        "scorers": scorers or [{"name": "unknown"}],
    }
    return body if suite_id is None else {**body, "suiteId": suite_id}


def _shortened(text: str, most: int) -> str:
    """A name that is not longer; one that was keeps a short hash of the whole."""
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{text[: most - 9]}~{digest}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
