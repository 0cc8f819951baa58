"""OpenTelemetry: spans that any instrumentation makes, in the traces of a run.

    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from rundial.integrations.opentelemetry import RundialSpanExporter

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(RundialSpanExporter(project="agents")))
    trace.set_tracer_provider(provider)

Attributes of models follow the conventions for generative AI:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from rundial.attributes import INLINE_BYTES, MAX_ATTRIBUTE_NAME, attribute, label, move_out
from rundial.events import Span
from rundial.integrations._adapter import LazyRun
from rundial.runs import Run
from rundial.tracing import MAX_EVENT_NAME, MAX_EVENTS, MAX_NAME, MAX_STATUS_MESSAGE
from rundial.wire import encode

MAX_TEXT = 2000
"""Characters of a text in an event, such as the stack of an exception."""

_MODEL = ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name")
_SYSTEM = ("gen_ai.provider.name", "gen_ai.system", "llm.provider")
_TOKENS_IN = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
_TOKENS_OUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")


class RundialSpanExporter(SpanExporter):
    """Hands finished spans of OpenTelemetry to a run; ids, times, events and status stay as they are.

    Args:
        run: the run to log to; left out, the current one, or one made with the settings.
        settings: arguments of :func:`rundial.init` for a run of its own.
    """

    def __init__(self, run: Run | None = None, **settings: Any) -> None:
        self._run = LazyRun(run, settings)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Queue spans. A failure of one is counted and costs no other."""
        run = self._run.writable
        done = [_log(run, span) for span in spans]
        return SpanExportResult.SUCCESS if all(done) else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until what was exported is delivered, at most that long."""
        return not self._run.opened or self._run.run.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Nothing: the run ends with its process, or when its owner ends it."""


def _log(run: Run, span: ReadableSpan) -> bool:
    pipeline = run._writable()
    context, parent = span.context, span.parent
    if pipeline is None or context is None or span.start_time is None:
        return pipeline is None and run.status == "running"
    try:
        attrs = _attributes(span)
        trace_id, span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        record = Span(
            trace_id,
            span_id,
            None if parent is None else f"{parent.span_id:016x}",
            label(span.name, MAX_NAME),
            span.kind.name.lower(),
            span.start_time,
            max(span.end_time or span.start_time, span.start_time),
            span.status.status_code.name.lower(),
            span.status.description and label(span.status.description, MAX_STATUS_MESSAGE),
            attrs,
            [_event(event) for event in span.events[-MAX_EVENTS:]],
            _text(attrs, _MODEL),
            _text(attrs, _SYSTEM),
            _amount(attrs, _TOKENS_IN),
            _amount(attrs, _TOKENS_OUT),
        )
        if len(encode(record)) > INLINE_BYTES:
            record.attrs = move_out(pipeline, trace_id, span_id, attrs)
        return pipeline.emit(record)
    except Exception as error:  # noqa: BLE001 - another library's span must not harm what it watches, nor its neighbours
        pipeline.counters.invalid_values += 1
        pipeline.counters.warn_once("otel", f"a span could not be exported: {type(error).__name__}: {error}")
        return False


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    """The span's own attributes, and those of its resource that do not only tell of the SDK."""
    resource = {f"resource.{k}": v for k, v in span.resource.attributes.items() if not k.startswith("telemetry.")}
    return {label(k, MAX_ATTRIBUTE_NAME): attribute(v) for k, v in {**resource, **(span.attributes or {})}.items()}


def _event(event: Any) -> tuple[str, int, dict[str, Any]]:
    attrs = {label(key, MAX_ATTRIBUTE_NAME): attribute(value) for key, value in (event.attributes or {}).items()}
    cut = {key: f"{v[:MAX_TEXT]}…" if isinstance(v, str) and len(v) > MAX_TEXT else v for key, v in attrs.items()}
    return label(event.name, MAX_EVENT_NAME), event.timestamp, cut


def _text(attrs: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((label(attrs[name], MAX_EVENT_NAME) for name in names if name in attrs), None)


def _amount(attrs: Mapping[str, Any], names: Sequence[str]) -> int | None:
    return next((attrs[name] for name in names if isinstance(attrs.get(name), int) and attrs[name] >= 0), None)
