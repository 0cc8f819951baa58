"""Results of evaluations, as a run logs them: what scorers said of one example, each score an event of its own."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from rundial.diagnostics import Counters
from rundial.events import EvalResult, clean_key
from rundial.open_spans import innermost
from rundial.pipeline import Pipeline
from rundial.values import plain, scalar, text
from rundial.wire import encode

MAX_META_BYTES = 8192
"""What is kept beside one score, encoded; more is replaced by the names of its first keys."""
MAX_SHOWN_KEYS = 32
MAX_EVIDENCE = 16
"""Entries of a reference to evidence."""
_TRACE_ID = re.compile("[0-9a-f]{32}")


def log_result(
    pipeline: Pipeline,
    eval_run_id: str,
    example_id: str,
    scores: Mapping[str, Any],
    passed: Any,
    trace: Any,
    evidence: Mapping[str, str] | None,
    meta: Mapping[str, Any] | None,
) -> bool:
    """Queue what scorers said of one example; arguments as :func:`results_of` has them. Never raises.

    Returns:
        False when a score was refused or had no room; that is counted.
    """
    trace = current_trace(pipeline) if trace is None else trace
    results, whole = results_of(pipeline.counters, eval_run_id, example_id, scores, passed, trace, evidence, meta)
    return send(pipeline, results) == len(results) and whole


def send(pipeline: Pipeline, results: Iterable[EvalResult]) -> int:
    """Queue results; how many of them had room."""
    return sum([pipeline.emit(result) for result in results])


def results_of(
    counters: Counters,
    eval_run_id: str,
    example_id: Any,
    scores: Any,
    passed: Any = None,
    trace: Any = None,
    evidence: Any = None,
    meta: Any = None,
) -> tuple[list[EvalResult], bool]:
    """The events for one example, and whether every score made one. A score that cannot be stored harms no other.

    Args:
        counters: where what is refused is counted, and warned of once.
        example_id: any name that is the same in every run; beyond 250 characters it is cut and keeps a short hash.
        scores: by scorer: a number, a bool, or a mapping with ``score`` and, if need be, ``passed`` and ``meta``.
        passed: whether the example passed, one bool for all scorers or a mapping of them. A bool as the score is its
            own verdict.
        trace: a span, or a trace's id as 32 hexadecimal digits.
        evidence: ``{"artifactId": ..., "path": ...}`` of a file that shows it.
        meta: what else to know, at most 8 KiB encoded.
    """
    try:
        return _results_of(counters, eval_run_id, example_id, scores, passed, trace, evidence, meta)
    except Exception as error:  # noqa: BLE001 - mappings and values of strangers may raise anything
        return [], _refuse(counters, "eval result", f"an eval result was not logged: {type(error).__name__}: {error}")


def _results_of(
    counters: Counters,
    eval_run_id: str,
    example_id: Any,
    scores: Any,
    passed: Any,
    trace: Any,
    evidence: Any,
    meta: Any,
) -> tuple[list[EvalResult], bool]:
    if example_id is None or example_id == "":
        return [], _refuse(counters, "example_id", "an eval result without an example_id was not logged.")
    if not isinstance(scores, Mapping) or not scores:
        message = f"scores must be a mapping of scorers to scores, not {scores!r:.60}; the result was not logged."
        return [], _refuse(counters, "scores", message)
    now = time.time_ns()
    example, run_id = clean_key(example_id), clean_key(eval_run_id)
    trace_id, evidence, meta = _trace_id(counters, trace), _evidence(counters, evidence), _mapping(counters, meta)
    results: list[EvalResult] = []
    for name, value in scores.items():
        scorer = clean_key(name)
        found = _score(counters, scorer, value, passed[name] if _names(passed, name) else passed)
        if found is not None:
            score, verdict, own = found
            about = _bounded(counters, scorer, {**meta, **own})
            results.append(EvalResult(now, run_id, example, scorer, score, verdict, trace_id, evidence, about))
    return results, len(results) == len(scores)


def _names(passed: Any, scorer: Any) -> bool:
    return isinstance(passed, Mapping) and scorer in passed


def _score(
    counters: Counters, scorer: str, value: Any, passed: Any
) -> tuple[float, bool | None, dict[str, Any]] | None:
    """Score, verdict and meta of one scorer; None, and counted, when there is no number."""
    own: dict[str, Any] = {}
    if isinstance(value, Mapping):
        passed = value.get("passed", passed)
        own = _mapping(counters, value.get("meta"))
        value = value.get("score")
    try:
        score = scalar(value)
        if isinstance(score, str):
            raise ValueError(f"{score!r:.40} is a text")
    except Exception as error:  # noqa: BLE001 - a stranger's conversion may raise anything
        _refuse(counters, f"score {scorer}", f"the score of {scorer!r} was not logged: {error}.")
        return None
    number = float(score)
    if not math.isfinite(number):
        counters.count_non_finite(f"eval/{scorer}")
        counters.warn_once(f"score {scorer}", f"the score of {scorer!r} is {number}; it was not logged.")
        return None
    verdict = _verdict(counters, scorer, passed)
    return number, score if verdict is None and isinstance(score, bool) else verdict, own


def _verdict(counters: Counters, scorer: str, passed: Any) -> bool | None:
    if passed is None or isinstance(passed, Mapping):  # a mapping that does not name this scorer
        return None
    try:
        value = scalar(passed)
        if not isinstance(value, str):
            return bool(value)
    except Exception as error:  # noqa: BLE001 - as above
        counters.last_error = f"passed: {error}"
    _refuse(counters, f"passed {scorer}", f"passed of {scorer!r} is {passed!r:.40}, no bool; it was left out.")
    return None


def _trace_id(counters: Counters, trace: Any) -> str | None:
    if trace is None:
        return None
    found = getattr(trace, "trace_id", trace)
    if isinstance(found, str) and _TRACE_ID.fullmatch(found.lower()):
        return found.lower()
    _refuse(counters, "eval trace", f"{trace!r:.60} is no span and no trace id; the result was logged without it.")
    return None


def _evidence(counters: Counters, evidence: Any) -> dict[str, str] | None:
    if evidence is None:
        return None
    if isinstance(evidence, Mapping) and 0 < len(evidence) <= MAX_EVIDENCE:
        return {clean_key(key): text(str(value))[:1024] for key, value in evidence.items()}
    message = f"evidence must be a mapping such as artifactId and path, not {evidence!r:.60}; it was left out."
    _refuse(counters, "eval evidence", message)
    return None


def _mapping(counters: Counters, meta: Any) -> dict[str, Any]:
    if meta is None:
        return {}
    values = plain(meta)
    if isinstance(values, dict):
        return values
    _refuse(counters, "eval meta", f"meta must be a mapping, not {type(meta).__name__}; it was left out.")
    return {}


def _bounded(counters: Counters, scorer: str, meta: dict[str, Any]) -> dict[str, Any]:
    if len(encode(meta)) <= MAX_META_BYTES:
        return meta
    _refuse(counters, f"meta {scorer}", f"meta of {scorer!r} is larger than {MAX_META_BYTES} bytes and was left out.")
    return {"rundial.truncated": True, "rundial.originalKeys": sorted(meta)[:MAX_SHOWN_KEYS]}


def current_trace(pipeline: Pipeline) -> str | None:
    """The trace of the span that this thread or task is inside of, if it belongs to the same run."""
    span = innermost.get()
    return None if span is None or span._run._opened is not pipeline else str(span.trace_id)


def _refuse(counters: Counters, kind: str, message: str) -> bool:
    counters.invalid_values += 1
    counters.warn_once(kind, message)
    return False
