"""Spans of OpenTelemetry in the traces of a run."""

from __future__ import annotations

import time

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import rundial as rd
from rundial.integrations.opentelemetry import RundialSpanExporter

with rd.init(project="examples", kind="agent") as run:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(RundialSpanExporter(run=run)))
    tracer = provider.get_tracer("agent")
    for question in ("How tall is K2?", "How deep is Baikal?"):
        with tracer.start_as_current_span("answer") as span:
            span.set_attribute("question", question)
            with tracer.start_as_current_span("search"):
                time.sleep(0.01)
    provider.force_flush()
    provider.shutdown()
