"""What :meth:`rundial.Run.log` does with a call that is not just a dict of finite numbers.

Texts, nested mappings, media, tensors on a device, steps and times of any kind, and what is nothing of all that: each
value is looked at by itself, and a bad one harms none of its neighbours. Nothing raises.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from rundial.events import Marker, Metrics
from rundial.hyper_parameters import halves
from rundial.values import normalise, scalar, snapshot, split_media, step_number
from rundial.wire import MAX_RECORD_BYTES, encode

if TYPE_CHECKING:
    from rundial.pipeline import Pipeline
    from rundial.runs import Run

MAX_STAGE = 512
_now = time.time_ns


def log_carefully(run: Run, metrics: Any, step: Any, time_ms: Any, context: Any, stage: Any) -> bool:
    """Log one call, value by value. Arguments and result as :meth:`rundial.Run.log` has them."""
    pipeline = run._pipeline
    if pipeline is None:
        return True
    try:
        return _log(run, pipeline, metrics, step, time_ms, context, stage)
    except Exception as error:  # noqa: BLE001 - nothing a stranger's object does may reach the training loop
        count_failure(pipeline, error)
        return False


def _log(run: Run, pipeline: Pipeline, metrics: Any, step: Any, time_ms: Any, context: Any, stage: Any) -> bool:
    counters = pipeline.counters
    metrics = {} if metrics is None else metrics
    if not isinstance(metrics, Mapping):
        counters.invalid_values += 1
        counters.warn_once("metrics", f"log() takes a mapping of names to values, not {type(metrics).__name__}.")
        return False
    if not metrics:
        counters.warn_once("empty", "log() was called without any value; nothing was logged.")
        return False
    number = _take_step(run, pipeline, step)
    moment = _now() if time_ms is None else moment_of(pipeline, time_ms)
    metrics, media = split_media(metrics)
    if media:
        from rundial.media import log_media

        stored = [log_media(pipeline, key, value, number, moment) for key, value in media]
        if not metrics:
            return all(stored)
    copied, found = snapshot(metrics)
    if found:
        return pipeline.defer(lambda: _store_late(run, pipeline, copied, number, moment, context, stage))
    return _store(run, pipeline, metrics, number, moment, context, stage)


def _store_late(run: Run, pipeline: Pipeline, *call: Any) -> bool:
    try:
        return _store(run, pipeline, *call)
    except Exception as error:  # noqa: BLE001 - a device may fail in its own ways, and the worker must live on
        count_failure(pipeline, error)
        return False


def count_failure(pipeline: Pipeline, error: Exception) -> None:
    """Count a call that could not be stored."""
    pipeline.counters.invalid_values += 1
    pipeline.counters.warn_once("log", f"log() could not store a call: {type(error).__name__}: {error}")


def _store(run: Run, pipeline: Pipeline, metrics: Any, number: int, moment: int, context: Any, stage: Any) -> bool:
    counters = pipeline.counters
    values, non_finite, invalid = normalise(metrics)
    for key, reason in invalid.items():
        counters.invalid_values += 1
        counters.warn_once(f"value {key}", f"value of {key!r} was not stored: {reason}.")
    for key, value in non_finite.items():
        counters.count_non_finite(key)
        counters.warn_once(f"non_finite {key}", f"{key!r} is {value} at step {number}; it is marked on the chart.")
        pipeline.emit(Marker(moment, "non_finite", key, number, {"value": str(value)}))
    if not values:
        return bool(non_finite)
    return _emit(
        run,
        pipeline,
        Metrics(
            moment,
            number,
            values,
            None if stage is None else str(stage)[:MAX_STAGE],
            {str(k): str(v) for k, v in dict(context).items()} if context else None,
        ),
    )


def _emit(run: Run, pipeline: Pipeline, metrics: Metrics) -> bool:
    record = encode(metrics)
    if len(record) <= MAX_RECORD_BYTES:
        return run._offer(record)
    # One call with ten thousand names is still one step: halves of it meet again in the chart.
    if len(metrics.values) == 1:
        return pipeline.emit(metrics)
    parts = halves(metrics.values)
    sent = [_emit(run, pipeline, msgspec.structs.replace(metrics, values=part)) for part in parts]
    return all(sent)


def _take_step(run: Run, pipeline: Pipeline, step: Any) -> int:
    if step is None:
        return next(run._steps)
    try:
        number = step_number(step)
    except Exception as error:  # noqa: BLE001 - an object's own __int__ or item() may raise anything
        pipeline.counters.invalid_values += 1
        pipeline.counters.warn_once("step", f"{error}; the next automatic step was used instead.")
        return next(run._steps)
    run._steps = count(number + 1)
    if number < run._highest:
        pipeline.counters.out_of_order_steps += 1
    else:
        run._highest = number
    return number


def upcoming_step(run: Run) -> int:
    """The step that the next call without one takes."""
    upcoming = next(run._steps)
    run._steps = count(upcoming)
    return upcoming


def moment_of(pipeline: Pipeline, time_ms: Any) -> int:
    """Unix time in ms, as a script has it, in ns; now, and counted, when it is none."""
    try:
        moment = int(scalar(time_ms)) * 1_000_000
        if 0 <= moment < 1 << 63:
            return moment
    except Exception as error:  # noqa: BLE001 - an object's own __int__ or item() may raise anything
        pipeline.counters.last_error = f"time_ms: {error}"
    pipeline.counters.invalid_values += 1
    pipeline.counters.warn_once("time_ms", f"time_ms {time_ms!r:.80} is no Unix time in ms; now was used instead.")
    return _now()
