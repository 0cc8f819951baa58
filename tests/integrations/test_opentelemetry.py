"""Spans that OpenTelemetry's own SDK makes, and what of them is in a run."""

import pytest

from rundial.events import Span
from rundial.testing import capture_run

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from rundial.integrations.opentelemetry import RundialSpanExporter


@pytest.fixture
def traced():
    """A tracer whose spans go to a run in memory, the run, and what its server has."""
    with capture_run() as (run, server):
        provider = TracerProvider(resource=Resource.create({"service.name": "agent"}))
        provider.add_span_processor(SimpleSpanProcessor(RundialSpanExporter(run=run)))
        yield provider.get_tracer("test"), run, server
        provider.shutdown()


def logged(run, server):
    run.finish()
    return [event for event in server.events if isinstance(event, Span)]


def test_ids_times_and_the_tree_are_kept(traced):
    """What OpenTelemetry says of a span stands in ours."""
    tracer, run, server = traced
    with (
        tracer.start_as_current_span("outer") as outer,
        tracer.start_as_current_span("inner", kind=SpanKind.CLIENT) as s,
    ):
        s.set_attribute("n", 3)
        s.add_event("moment", {"k": "v"}, timestamp=outer.start_time + 5)
    inner_span, outer_span = logged(run, server)
    assert outer_span.span_id == inner_span.parent_span_id == f"{outer.context.span_id:016x}"
    assert inner_span.trace_id == f"{outer.context.trace_id:032x}"
    assert (inner_span.name, inner_span.kind, inner_span.status) == ("inner", "client", "unset")
    assert (inner_span.start_ns, inner_span.end_ns) == (s.start_time, s.end_time)
    assert inner_span.attrs["n"] == 3 and inner_span.attrs["resource.service.name"] == "agent"
    assert inner_span.events == [("moment", outer.start_time + 5, {"k": "v"})]


def test_models_tokens_and_errors(traced):
    """The conventions for generative AI fill the fields of the trace view; an exception is an error with its event."""
    tracer, run, server = traced
    with pytest.raises(ValueError, match="no"), tracer.start_as_current_span("chat") as span:
        span.set_attributes({"gen_ai.request.model": "m", "gen_ai.system": "s", "gen_ai.usage.input_tokens": 4})
        span.set_attribute("gen_ai.usage.output_tokens", 2)
        raise ValueError("no")
    with tracer.start_as_current_span("fine") as span:
        span.set_status(Status(StatusCode.OK))
    chat, fine = logged(run, server)
    assert (chat.model, chat.system, chat.tokens_in, chat.tokens_out) == ("m", "s", 4, 2)
    assert (chat.status, chat.message, chat.events[0][0]) == ("error", "ValueError: no", "exception")
    assert fine.status == "ok"


def test_large_attributes_leave_the_record(traced):
    """A text of 100 KB is a file, and the span has a reference to it."""
    tracer, run, server = traced
    with tracer.start_as_current_span("large") as span:
        span.set_attribute("prompt", "x" * 100_000)
    (span,) = logged(run, server)
    assert span.attrs["prompt"]["sizeBytes"] == 100_000


def test_after_the_end_nothing_is_raised(traced):
    """Spans of a finished run are dropped with one warning."""
    tracer, run, server = traced
    run.finish()
    with pytest.warns(RuntimeWarning, match="finished"), tracer.start_as_current_span("late"):
        pass
    assert logged(run, server) == []
