"""The older import path. Everything lives in :mod:`rundial`; this package re-exports it and adds nothing."""

from __future__ import annotations

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
    finish,
    init,
    log,
)

RundialRequestError = RequestError

__all__ = [
    "AuthError",
    "ConfigError",
    "Diagnostics",
    "Distributed",
    "Mode",
    "RequestError",
    "ResumeMode",
    "Run",
    "RunKind",
    "RundialDiagnostics",
    "RundialError",
    "RundialRequestError",
    "RundialRun",
    "UnreachableError",
    "__version__",
    "finish",
    "init",
    "log",
]
