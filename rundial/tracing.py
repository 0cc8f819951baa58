"""Traces: what a run did piece by piece, as spans that know what they are part of.

A span becomes one record when it is finished; nothing of it is sent before. What it belongs to is found through a
context variable, so threads and asyncio tasks keep apart by themselves.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from rundial import events
from rundial.attributes import INLINE_BYTES, MAX_ATTRIBUTE_NAME, label, move_out, named
from rundial.events import SPAN_KINDS
from rundial.open_spans import forget, innermost, remember
from rundial.traced import traced
from rundial.wire import encode

if TYPE_CHECKING:
    from rundial.pipeline import Pipeline
    from rundial.runs import Run

MAX_NAME = 512
MAX_EVENT_NAME = 256
MAX_EVENTS = 128
"""Events kept of each span; the rest are counted in its attribute ``rundial.dropped_events``."""
EVENT_BYTES = 4096
"""Attributes of one event, encoded; longer texts in them are cut."""
ALL_EVENTS_BYTES = 128 * 1024
MAX_STATUS_MESSAGE = 1000
MAX_STACK = 3000
_STATUSES = ("unset", "ok", "error")
_HEX = {length: re.compile(f"(?!0+$)[0-9a-f]{{{length}}}") for length in (16, 32)}
_INT64 = 1 << 63
_now = time.time_ns
F = TypeVar("F", bound=Callable[..., Any])


def current_span() -> Span | None:
    """The innermost span that was entered in this thread or task, or None."""
    return innermost.get()


class Span:
    """One piece of work. Made by :meth:`Run.trace`; sent once, when it is finished.

    Use it with ``with`` or ``async with``, as a decorator (each call is a span of its own), or keep it and call
    :meth:`finish`. Only a span that was entered becomes the parent of those begun inside it. No method raises.
    """

    __slots__ = (
        "_attrs",
        "_cost",
        "_done",
        "_dropped",
        "_event_bytes",
        "_events",
        "_given",
        "_message",
        "_model",
        "_outer",
        "_run",
        "_start_ns",
        "_status",
        "_system",
        "_tokens_in",
        "_tokens_out",
        "kind",
        "name",
        "parent_span_id",
        "span_id",
        "trace_id",
    )

    def __init__(
        self,
        run: Run,
        name: str,
        *,
        kind: str = "internal",
        attrs: Mapping[str, Any] | None = None,
        trace_id: str | None = None,
        parent_span_id: str | None = None,
        model: str | None = None,
        system: str | None = None,
    ) -> None:
        self._run = run
        self.name = label(name, MAX_NAME)
        self.kind = kind
        self._attrs: dict[str, Any] = {}
        self._events: list[tuple[str, int, dict[str, Any]]] = []
        self._event_bytes = self._dropped = 0
        self._status = "unset"
        self._message: str | None = None
        self._model: str | None = None
        self._system: str | None = None
        self._tokens_in: int | None = None
        self._tokens_out: int | None = None
        self._cost: float | None = None
        self._done = False
        self._outer: Span | None = None
        if type(kind) is not str or kind not in SPAN_KINDS:
            self._complain(
                "span kind", f"span kind {label(kind, 40)!r} is none of {', '.join(SPAN_KINDS)}; internal is used."
            )
            self.kind = "internal"
        self.trace_id = self.span_id = ""
        self.parent_span_id: str | None = None
        self._given = None if trace_id is None and parent_span_id is None else self._ids(trace_id, parent_span_id)
        self._place()
        if attrs is not None:
            self.set_attrs(attrs)
        if model is not None or system is not None:
            self.set_usage(model=model, system=system)
        self._start_ns = _now()
        remember(self)

    def _ids(self, trace_id: Any, parent_span_id: Any) -> tuple[str | None, str | None]:
        """The ids that were given, as far as they are ids."""
        found: list[str | None] = []
        for what, value, length in (("trace_id", trace_id, 32), ("parent_span_id", parent_span_id, 16)):
            text = value.lower() if isinstance(value, str) else None
            if value is not None and (text is None or _HEX[length].fullmatch(text) is None):
                self._complain(what, f"{what} {label(value, 60)!r} is not {length} hexadecimal digits; it is left out.")
                text = None
            found.append(text)
        return found[0], found[1]

    def _place(self) -> None:
        """Find out which trace this belongs to, and what is around it in the same run."""
        outer = innermost.get()
        while outer is not None and outer._run is not self._run:
            outer = outer._outer
        trace, parent = self._given or (None, None)
        if outer is not None and trace in (None, outer.trace_id):
            self.trace_id = outer.trace_id
            self.parent_span_id = parent or outer.span_id
            self.span_id = os.urandom(8).hex()
            return
        digits = os.urandom(24).hex()
        self.trace_id = trace or digits[16:]
        self.parent_span_id = parent
        self.span_id = digits[:16]

    # -- what is known of it --------------------------------------------------------------------------------------

    def set_attrs(self, mapping: Mapping[str, Any] | None = None, **attrs: Any) -> Span:
        """Add attributes, as they are now: what the caller changes afterwards changes nothing here.

        Args:
            mapping, attrs: names of at most 128 characters to texts, numbers, bytes, or nested lists and mappings of
                them. Values over 16 KiB go to the artifact store when the span is finished, and leave a reference.
                Texts under the name of a secret (``api_key``, ``token``, ``password``) are redacted, as in ``config``.
        """
        if self._done:
            self._complain("span finished", f"span {self.name!r:.60} is finished; what is set afterwards is left out.")
            return self
        for name, value in self._mapping(mapping, attrs).items():
            key = label(name, MAX_ATTRIBUTE_NAME)
            self._attrs[key] = named(key, value)
        return self

    def event(
        self, name: str, attrs: Mapping[str, Any] | None = None, timestamp_ns: int | None = None, **more: Any
    ) -> Span:
        """Note that something happened inside the span.

        Args:
            name: at most 256 characters.
            attrs, more: what to know about it, at most 4 KiB; longer texts are cut.
            timestamp_ns: Unix time in nanoseconds; left out, now.
        """
        if self._done:
            self._complain("span finished", f"span {self.name!r:.60} is finished; what is set afterwards is left out.")
        elif len(self._events) >= MAX_EVENTS:
            self._dropped += 1
        else:
            moment = _now() if timestamp_ns is None else self._moment(timestamp_ns, _now())
            given = {label(key, MAX_ATTRIBUTE_NAME): value for key, value in self._mapping(attrs, more).items()}
            values = {key: named(key, value, 1) for key, value in given.items()}
            self._events.append((label(name, MAX_EVENT_NAME), moment, self._bounded(values) if values else values))
        return self

    def set_status(self, status: str, message: str | None = None) -> Span:
        """Say how it went: ``ok`` or ``error``, and why. A block that ends without an exception keeps it."""
        if type(status) is not str or status not in _STATUSES:
            self._complain("span status", f"span status {label(status, 40)!r} is none of {', '.join(_STATUSES)}.")
        else:
            self._status = status
            self._message = None if message is None else label(message, MAX_STATUS_MESSAGE)
        return self

    def set_usage(
        self,
        *,
        model: str | None = None,
        system: str | None = None,
        tokens_in: int | None = None,
        tokens_out: int | None = None,
        cost_usd: float | None = None,
    ) -> Span:
        """Say what a call of a model took.

        Args:
            model, system: which model, and who serves it.
            tokens_in, tokens_out: tokens of the prompt and of the answer.
            cost_usd: price in US dollars.
        """
        if model is not None:
            self._model = label(model, MAX_EVENT_NAME)
        if system is not None:
            self._system = label(system, MAX_EVENT_NAME)
        if tokens_in is not None:
            self._tokens_in = self._amount("tokens_in", tokens_in, int)
        if tokens_out is not None:
            self._tokens_out = self._amount("tokens_out", tokens_out, int)
        if cost_usd is not None:
            self._cost = self._amount("cost_usd", cost_usd, float)
        return self

    def finish(self, status: str | None = None, end_ns: int | None = None) -> bool:
        """End the span and send it. A second call changes nothing.

        Args:
            status: ``ok``, ``error`` or ``unset``; left out, what :meth:`set_status` said, else ``ok``.
            end_ns: Unix time in nanoseconds; left out, now. An end before the start becomes the start.

        Returns:
            False when it had no room in the queue, or the run is finished; that is counted.
        """
        if self._done:
            return True
        end = _now() if end_ns is None else self._moment(end_ns, _now())
        if status is not None:
            self.set_status(status, self._message)
        if self._status == "unset" and status != "unset":
            self._status = "ok"
        self._done = True
        forget(self)
        pipeline = self._run._writable()
        if pipeline is None:
            return self._run.status == "running"
        return self._send(pipeline, end)

    def _send(self, pipeline: Pipeline, end_ns: int) -> bool:
        if self._dropped:
            self._attrs["rundial.dropped_events"] = self._dropped
        try:
            record = encode(self._record(end_ns, self._attrs))
            if len(record) <= INLINE_BYTES:
                return pipeline.offer(record)
            return pipeline.emit(self._record(end_ns, move_out(pipeline, self.trace_id, self.span_id, self._attrs)))
        except Exception as error:  # noqa: BLE001 - a span may not harm what it watches
            self._complain("span", f"a span could not be sent: {type(error).__name__}: {error}")
            return False

    def _record(self, end_ns: int, attrs: dict[str, Any]) -> events.Span:
        return events.Span(
            self.trace_id,
            self.span_id,
            self.parent_span_id,
            self.name,
            self.kind,
            self._start_ns,
            max(end_ns, self._start_ns),
            self._status,
            self._message,
            attrs,
            self._events,
            self._model,
            self._system,
            self._tokens_in,
            self._tokens_out,
            self._cost,
        )

    # -- blocks and functions -------------------------------------------------------------------------------------

    def __enter__(self) -> Span:
        self._start_ns = _now()
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        if error is not None:
            self._note_exception(error)
        self.finish()

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _enter(self) -> None:
        self._outer = innermost.get()
        innermost.set(self)

    def _leave(self) -> None:
        here = innermost.get()
        if here is self:
            innermost.set(self._outer)
        else:  # blocks that overlap instead of lying inside one another: whoever lies inside must not lead back here
            while here is not None and here._outer is not self:
                here = here._outer
            if here is not None:
                here._outer = self._outer
        self._outer = None

    def _note_exception(self, error: BaseException) -> None:
        try:
            import traceback  # loaded by the first failure

            stack = "".join(traceback.format_exception(error))
            message = str(error)
        except Exception as strange:  # noqa: BLE001 - its own __str__ may raise anything, and Python may be ending
            stack, message = "", f"({type(strange).__name__} in its message)"
        name = type(error).__qualname__
        if self._status != "error":
            self.set_status("error", f"{name}: {message}" if message else name)
        if len(self._events) >= MAX_EVENTS:  # why it failed is worth more than what came before
            self._events.pop()
            self._dropped += 1
        shown = stack if len(stack) <= MAX_STACK else f"… {stack[-MAX_STACK:]}"
        self.event("exception", {"type": name, "message": message[:MAX_STATUS_MESSAGE], "stack": shown})

    def __call__(self, function: F) -> F:
        """A function that is a span of this name and these attributes each time it is called."""
        forget(self)
        if not callable(function) or isinstance(function, type):
            self._complain("span decorator", f"only functions can be traced, not {label(function, 60)}.")
            return function
        trace_id, parent_span_id = self._given or (None, None)
        again = partial(
            Span,
            self._run,
            self.name,
            kind=self.kind,
            attrs=self._attrs or None,
            trace_id=trace_id,
            parent_span_id=parent_span_id,
            model=self._model,
            system=self._system,
        )
        return wraps(function)(traced(function, again))  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"<Span {self.name} {self.trace_id} {self.span_id}>"

    # -- careful with what comes in -------------------------------------------------------------------------------

    def _complain(self, kind: str, message: str) -> None:
        if self._run._opened is not None:
            self._run._counters.invalid_values += 1
            self._run._counters.warn_once(kind, message)

    def _mapping(self, mapping: Any, more: dict[str, Any]) -> dict[Any, Any]:
        if mapping is None:
            return more
        try:
            return {**mapping, **more}
        except Exception as error:  # noqa: BLE001 - no mapping, or one whose own methods raise
            self._complain("span attrs", f"attributes must be a mapping: {type(error).__name__}: {error}")
            return more

    def _moment(self, value: Any, default: int) -> int:
        try:
            moment = int(value)
        except Exception:  # noqa: BLE001 - an object's own __int__ may raise anything
            moment = -1
        if 0 <= moment < _INT64:
            return moment
        self._complain("span time", f"{label(value, 60)!r} is no Unix time in nanoseconds; now is used instead.")
        return default

    def _amount(self, name: str, value: Any, kind: Callable[[Any], Any]) -> Any:
        try:
            amount = kind(value)
        except Exception:  # noqa: BLE001 - an object's own __int__ or __float__ may raise anything
            amount = -1
        if 0 <= amount < 1 << 53:
            return amount
        self._complain(f"span {name}", f"{name} {label(value, 60)!r} is no amount; it is left out.")
        return None

    def _bounded(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """An event's attributes within their bounds: texts are cut, and when that does not help only names stay."""
        size = len(encode(attrs))
        if size > EVENT_BYTES:
            attrs = {key: f"{v[:1000]}…" if isinstance(v, str) and len(v) > 1000 else v for key, v in attrs.items()}
            size = len(encode(attrs))
            self._complain("span event", f"attributes of a span's event are cut to {EVENT_BYTES:,} bytes.")
        if size > EVENT_BYTES or self._event_bytes + size > ALL_EVENTS_BYTES:
            return {"rundial.truncated": True, "rundial.originalKeys": sorted(attrs)[:32]}
        self._event_bytes += size
        return attrs


def tool_call(run: Run, name: str, *, input: Any, output: Any, attrs: Mapping[str, Any] | None, status: str) -> Span:
    """A span of a tool that has already answered; see :meth:`Run.tool_call`."""
    span = Span(run, f"tool:{label(name, MAX_NAME)}", kind="tool", attrs=attrs)
    span.set_attrs({"tool.name": name, "tool.input": input, "tool.output": output})
    span.finish(status, span._start_ns)
    return span
