"""The older import path of the vocabulary."""

from __future__ import annotations

from rundial.config import Distributed as DistributedPolicy
from rundial.config import Mode as ClientMode
from rundial.diagnostics import Diagnostics as RundialDiagnostics
from rundial.diagnostics import Health as DiagnosticsHealth
from rundial.events import EvalResult, LogLine, Metrics, ResumeMode, RunKind, RunStatus, Span
from rundial.transport import Outcome as TransportResult
from rundial.transport import Transport

__all__ = [
    "ClientMode",
    "DiagnosticsHealth",
    "DistributedPolicy",
    "EvalResult",
    "LogLine",
    "Metrics",
    "ResumeMode",
    "RunKind",
    "RunStatus",
    "RundialDiagnostics",
    "Span",
    "Transport",
    "TransportResult",
]
