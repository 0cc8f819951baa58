"""The older import path. Everything lives in :mod:`rundial`; this package re-exports it and adds nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rundial import (
    AuthError,
    ConfigError,
    Diagnostics,
    Distributed,
    Mode,
    RequestError,
    ResumeMode,
    Run,
    RundialDiagnostics,
    RundialError,
    RundialRun,
    RunKind,
    UnreachableError,
    __version__,
    alert,
    checkpoint,
    enabled,
    finish,
    init,
    is_enabled,
    log,
    reset_enabled,
    set_enabled,
)
from rundial.diagnostics import Health as DiagnosticsHealth

if TYPE_CHECKING:
    from rundial.evals import EvalRun as RundialEvalRun
    from rundial.evals import EvalSuite as RundialEvalSuite
    from rundial.lowlevel import Client
    from rundial.lowlevel import Client as RundialClient
    from rundial.media import Image, Table
    from rundial.tracing import Span as RundialSpan

RundialRequestError = RequestError
ClientMode = Mode
DistributedPolicy = Distributed

__all__ = [
    "AuthError",
    "Client",
    "ClientMode",
    "ConfigError",
    "Diagnostics",
    "DiagnosticsHealth",
    "Distributed",
    "DistributedPolicy",
    "Image",
    "Mode",
    "RequestError",
    "ResumeMode",
    "Run",
    "RunKind",
    "RundialClient",
    "RundialDiagnostics",
    "RundialError",
    "RundialEvalRun",
    "RundialEvalSuite",
    "RundialRequestError",
    "RundialRun",
    "RundialSpan",
    "Table",
    "UnreachableError",
    "__version__",
    "alert",
    "checkpoint",
    "enabled",
    "finish",
    "init",
    "is_enabled",
    "log",
    "reset_enabled",
    "set_enabled",
]

_LATER = {
    "Client": ("rundial.lowlevel", "Client"),
    "Image": ("rundial.media", "Image"),
    "RundialClient": ("rundial.lowlevel", "Client"),
    "RundialEvalRun": ("rundial.evals", "EvalRun"),
    "RundialEvalSuite": ("rundial.evals", "EvalSuite"),
    "RundialSpan": ("rundial.tracing", "Span"),
    "Table": ("rundial.media", "Table"),
}
"""Names that are loaded when they are first used, so that importing stays quick."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        module, attribute = _LATER[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'rundial_sdk' has no attribute {name!r}")
