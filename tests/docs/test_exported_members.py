"""The public names are pinned: adding or removing one is a decision, not an accident."""

from __future__ import annotations

import rundial
import rundial_sdk

PUBLIC = {
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
    "RundialRun",
    "UnreachableError",
    "__version__",
    "finish",
    "init",
    "log",
    "run",
}


def test_exported_members() -> None:
    """`import rundial` gives these names and no other, and each of them is there."""
    assert set(rundial.__all__) == PUBLIC
    assert [name for name in PUBLIC if not hasattr(rundial, name)] == []


def test_older_path_has_the_same_names() -> None:
    """The older import path re-exports all but `run`, whose value changes, and adds the older name of an error."""
    assert (PUBLIC - {"run"}) | {"RundialRequestError"} == set(rundial_sdk.__all__)
    assert rundial_sdk.RundialRun is rundial.Run
    assert rundial_sdk.RundialDiagnostics is rundial.Diagnostics
    assert rundial_sdk.RundialRequestError is rundial.RequestError
