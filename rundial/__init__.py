"""Rundial: the experiment logger that never gets in the way of training.

    import rundial as rd

    run = rd.init(project="mnist")
    run.log({"loss": 0.3})
    run.finish()

Nothing happens on import: no file, thread or connection is opened, and nothing heavy is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rundial import lean  # noqa: F401 - first: what follows imports msgspec
from rundial.config import Distributed, Mode
from rundial.current import alert, checkpoint, current_run, finish, log, rule
from rundial.diagnostics import Diagnostics
from rundial.errors import AuthError, ConfigError, RequestError, RundialError, UnreachableError
from rundial.events import ResumeMode, RunKind
from rundial.runs import Run, init
from rundial.switch import enabled, is_enabled, reset_enabled, set_enabled
from rundial.version import __version__

RundialDiagnostics = Diagnostics
RundialRun = Run

if TYPE_CHECKING:
    from rundial.evals import EvalRun, EvalSuite, RundialEvalSuite, eval
    from rundial.logs import LogHandler
    from rundial.lowlevel import Client, RundialClient
    from rundial.media import Audio, Histogram, Html, Image, Object3D, Plotly, Table, Text, Video
    from rundial.tracing import Span, current_span
    from rundial.tracing import Span as RundialSpan

    run: Run | None

_PLACES = {
    "Audio": "media",
    "Client": "lowlevel",
    "EvalRun": "evals",
    "EvalSuite": "evals",
    "Histogram": "media",
    "Html": "media",
    "Image": "media",
    "LogHandler": "logs",
    "Object3D": "media",
    "Plotly": "media",
    "RundialClient": "lowlevel",
    "RundialEvalSuite": "evals",
    "RundialSpan": "tracing",
    "Span": "tracing",
    "Table": "media",
    "Text": "media",
    "Video": "media",
    "current_span": "tracing",
    "eval": "evals",
}
"""The modules of names that are loaded when they are first asked for."""
_RENAMED = {"RundialSpan": "Span"}

__all__ = [
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
]


def __getattr__(name: str) -> Any:
    if name == "run":  # the current run changes, so it is asked for each time
        return current_run()
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'rundial' has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f"rundial.{place}"), _RENAMED.get(name, name))
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
