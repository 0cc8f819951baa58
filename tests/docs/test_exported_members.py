"""The public names are pinned: adding or removing one is a decision, not an accident."""

from __future__ import annotations

import rundial
import rundial_sdk

PUBLIC = {
    "Audio",
    "AuthError",
    "Client",
    "ConfigError",
    "Diagnostics",
    "Distributed",
    "EvalRun",
    "EvalSuite",
    "Histogram",
    "Html",
    "Image",
    "LogHandler",
    "Mode",
    "Object3D",
    "Plotly",
    "RequestError",
    "ResumeMode",
    "Run",
    "RunKind",
    "RundialClient",
    "RundialDiagnostics",
    "RundialError",
    "RundialEvalSuite",
    "RundialRun",
    "RundialSpan",
    "Span",
    "Table",
    "Text",
    "UnreachableError",
    "Video",
    "__version__",
    "alert",
    "checkpoint",
    "current_span",
    "enabled",
    "eval",
    "finish",
    "init",
    "is_enabled",
    "log",
    "reset_enabled",
    "rule",
    "run",
    "set_enabled",
}


def test_exported_members() -> None:
    """`import rundial` gives these names and no other, and each of them is there."""
    assert set(rundial.__all__) == PUBLIC
    assert [name for name in PUBLIC if not hasattr(rundial, name)] == []


OLDER = {
    "ClientMode",
    "DiagnosticsHealth",
    "DistributedPolicy",
    "Image",
    "RunKind",
    "RundialClient",
    "RundialDiagnostics",
    "RundialEvalRun",
    "RundialEvalSuite",
    "RundialRequestError",
    "RundialRun",
    "RundialSpan",
    "Table",
}


def test_older_path_has_the_same_names() -> None:
    """The older import path has the older names, each of them the same thing."""
    assert set(rundial_sdk.__all__) >= OLDER
    assert [name for name in rundial_sdk.__all__ if not hasattr(rundial_sdk, name)] == []
    assert rundial_sdk.RundialRun is rundial.Run
    assert rundial_sdk.RundialDiagnostics is rundial.Diagnostics
    assert rundial_sdk.RundialClient is rundial.Client
    assert rundial_sdk.RundialSpan is rundial.Span
