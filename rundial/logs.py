"""Lines of text into the run's log."""

from __future__ import annotations

from typing import Any

from rundial.pipeline import Pipeline


def log_text(pipeline: Pipeline, message: Any, level: str, time_ns: int, source: str = "text") -> bool:
    """Queue a text as log lines."""
    raise NotImplementedError
