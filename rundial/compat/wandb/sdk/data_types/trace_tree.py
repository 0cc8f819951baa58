"""Traces of chains and agents: ``Trace`` and ``WBTraceTree`` become spans of the run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rundial import runs
from rundial.compat.wandb.errors import Error

_KINDS = {"LLM": "client", "TOOL": "tool"}
_MS = 1_000_000


class StatusCode(StrEnum):
    """How a span ended."""

    SUCCESS = "SUCCESS"
    ERROR = "ERROR"


class SpanKind(StrEnum):
    """What a span is of."""

    LLM = "LLM"
    CHAIN = "CHAIN"
    AGENT = "AGENT"
    TOOL = "TOOL"


@dataclass
class Result:
    """What went in and what came out."""

    inputs: dict[str, Any] | None = None
    outputs: dict[str, Any] | None = None


@dataclass
class Span:
    """One piece of work; times are Unix milliseconds."""

    span_id: str | None = None
    name: str | None = None
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    status_code: StatusCode | None = None
    status_message: str | None = None
    attributes: dict[str, Any] | None = None
    results: list[Result] | None = None
    child_spans: list[Span] | None = None
    span_kind: SpanKind | None = None

    def add_attribute(self, key: str, value: Any) -> None:
        """Set one attribute."""
        self.attributes = {**(self.attributes or {}), key: value}

    def add_named_result(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Add what went in and what came out."""
        self.results = [*(self.results or ()), Result(inputs, outputs)]

    def add_child_span(self, span: Span) -> None:
        """Add a span that was part of this one."""
        self.child_spans = [*(self.child_spans or ()), span]


@dataclass
class WBTraceTree:
    """A span with all that is in it.

    Args:
        root_span: the outermost one.
        model_dict: the model's own description, kept as an attribute of the root.
    """

    root_span: Span
    model_dict: dict[str, Any] | None = None
    kind: str = field(default="wb_trace_tree", repr=False)

    def send_spans(self, sink: runs.Run, key: str) -> None:
        """Send all of it as one trace.

        Args:
            sink: the run.
            key: the name it is logged by; that of a root without a name.
        """
        trace_id = os.urandom(16).hex()
        seen: set[int] = set()
        open_spans: list[tuple[Span, str | None, int]] = [(self.root_span, None, time.time_ns())]
        while open_spans:  # a list and no recursion: a tree may be deeper than Python's stack
            span, parent_id, moment = open_spans.pop()
            if id(span) in seen:
                continue  # a span that is its own descendant
            seen.add(id(span))
            start = moment if span.start_time_ms is None else int(span.start_time_ms) * _MS
            about = dict(_attributes(span))
            if parent_id is None and self.model_dict is not None:
                about["model_dict"] = self.model_dict
            sent = sink.trace(
                span.name or key,
                kind=_KINDS.get(str(span.span_kind), "internal"),
                attrs=about,
                trace_id=trace_id,
                parent_span_id=parent_id,
            )
            sent._start_ns = start
            status = {"SUCCESS": "ok", "ERROR": "error"}.get(str(span.status_code).upper(), "unset")
            sent.set_status(status, span.status_message)
            sent.finish(status, start if span.end_time_ms is None else int(span.end_time_ms) * _MS)
            open_spans += [(child, sent.span_id, start) for child in reversed(span.child_spans or ())]


def _attributes(span: Span) -> Iterator[tuple[str, Any]]:
    yield from (span.attributes or {}).items()
    if span.span_kind is not None:
        yield "span_kind", str(span.span_kind)
    results = [{"inputs": result.inputs, "outputs": result.outputs} for result in span.results or ()]
    if len(results) == 1:
        yield from results[0].items()
    elif results:
        yield "results", results


def _of_span(name: str, doc: str) -> property:
    return property(
        lambda self: getattr(self._span, name), lambda self, value: setattr(self._span, name, value), None, doc
    )


class Trace:
    """A span with its children, easier to write than :class:`WBTraceTree`.

    Args:
        name: of the span.
        kind: ``LLM``, ``CHAIN``, ``AGENT`` or ``TOOL``.
        status_code: ``success`` or ``error``.
        status_message: why.
        metadata: attributes.
        start_time_ms, end_time_ms: Unix time in milliseconds.
        inputs, outputs: what went in and what came out, by name.
        model_dict: the model's own description.

    Raises:
        AssertionError: a value that is none of these, as W&B has it.
    """

    def __init__(
        self,
        name: str,
        kind: str | None = None,
        status_code: str | None = None,
        status_message: str | None = None,
        metadata: dict[str, Any] | None = None,
        start_time_ms: int | None = None,
        end_time_ms: int | None = None,
        inputs: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
        model_dict: dict[str, Any] | None = None,
    ) -> None:
        for what, value in (
            ("Metadata", metadata),
            ("Inputs", inputs),
            ("Outputs", outputs),
            ("Model dict", model_dict),
        ):
            if value is not None and not isinstance(value, Mapping):
                raise AssertionError(f"{what} must be a dictionary")
        self._span = Span(
            name=name,
            start_time_ms=start_time_ms,
            end_time_ms=end_time_ms,
            status_code=None if status_code is None else _chosen(StatusCode, status_code),
            status_message=status_message,
            attributes=metadata,
            results=[Result(inputs, outputs)] if inputs or outputs else None,
            span_kind=None if kind is None else _chosen(SpanKind, kind),
        )
        self._model_dict = model_dict

    name = _of_span("name", "Of the span.")
    status_code = _of_span("status_code", "How it ended.")
    status_message = _of_span("status_message", "Why it ended so.")
    start_time_ms = _of_span("start_time_ms", "Unix time in milliseconds.")
    end_time_ms = _of_span("end_time_ms", "Unix time in milliseconds.")

    def add_child(self, child: Trace) -> Trace:
        """Add a span that was part of this one."""
        self._span.add_child_span(child._span)
        if self._model_dict is not None and child._model_dict is not None:
            self._model_dict[str(child.name)] = child._model_dict
        return self

    def add_inputs_and_outputs(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> Trace:
        """Add what went in and what came out."""
        self._span.add_named_result(inputs, outputs)
        return self

    def add_metadata(self, metadata: dict[str, Any]) -> Trace:
        """Merge attributes."""
        self.metadata = metadata
        return self

    @property
    def metadata(self) -> dict[str, Any] | None:
        """Its attributes; what is set is merged into them."""
        return self._span.attributes

    @metadata.setter
    def metadata(self, value: dict[str, Any]) -> None:
        self._span.attributes = {**(self._span.attributes or {}), **value}

    @property
    def inputs(self) -> dict[str, Any] | None:
        """What went in last."""
        return self._span.results[-1].inputs if self._span.results else None

    @inputs.setter
    def inputs(self, value: dict[str, Any]) -> None:
        self._span.add_named_result(value, self.outputs or {})

    @property
    def outputs(self) -> dict[str, Any] | None:
        """What came out last."""
        return self._span.results[-1].outputs if self._span.results else None

    @outputs.setter
    def outputs(self, value: dict[str, Any]) -> None:
        self._span.add_named_result(self.inputs or {}, value)

    @property
    def kind(self) -> str | None:
        """``LLM``, ``CHAIN``, ``AGENT``, ``TOOL`` or None."""
        return None if self._span.span_kind is None else str(self._span.span_kind)

    @kind.setter
    def kind(self, value: str) -> None:
        self._span.span_kind = _chosen(SpanKind, value)

    def log(self, name: str) -> None:
        """Log all of it to the active run as one trace.

        Raises:
            Error: there is no run.
        """
        from rundial.compat import wandb

        if wandb.run is None:
            raise Error("You must call wandb.init() before logging a trace")
        wandb.run.log({name: WBTraceTree(self._span, self._model_dict)})


def _chosen(choices: Any, value: str) -> Any:
    name = str(value).upper()
    if name not in choices.__members__:
        raise AssertionError(f"{value!r} is none of {', '.join(choices.__members__)}")
    return choices[name]
