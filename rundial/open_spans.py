"""Spans that are not finished: what is around the code that runs now, and what a run sends when it ends before them."""

from __future__ import annotations

import os
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from rundial.runs import Run
    from rundial.tracing import Span

MAX_OPEN = 10_000
"""Open spans of a run that are remembered, to be sent as unfinished when the run ends before them."""

innermost: ContextVar[Span | None] = ContextVar("rundial_span", default=None)
"""The innermost span that was entered in this thread or task."""
_open: WeakKeyDictionary[Run, dict[str, Span]] = WeakKeyDictionary()
_guard = threading.RLock()


def remember(span: Span) -> None:
    """Have a span sent when its run ends, if it is not finished by then."""
    run = span._run
    if run._opened is None:
        return
    spans = _open.get(run)
    if spans is None:
        with _guard:
            spans = _open.get(run)
            if spans is None:
                spans = _open[run] = {}
                run._sources.append(lambda seconds: _end(run))
    if len(spans) < MAX_OPEN:
        spans[span.span_id] = span
    else:
        message = f"{MAX_OPEN:,} spans are open; of the further ones those that are never finished are not sent."
        run._counters.warn_once("open spans", message)


def forget(span: Span) -> None:
    """A span is finished, or never was one."""
    spans = _open.get(span._run)
    if spans is not None:
        spans.pop(span.span_id, None)


def _end(run: Run) -> None:
    """The run ends: what is still open is sent as it is, marked as unfinished."""
    pipeline = run._opened
    now = time.time_ns()
    for span in list(_open.pop(run, {}).values()):
        if pipeline is not None:
            span._attrs["rundial.unfinished"] = True
            span._send(pipeline, now)


def _after_fork_in_child() -> None:
    """What is open here was begun by the parent process, which finishes it."""
    global _guard
    _guard = threading.RLock()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
