"""System metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rundial.config import Settings
from rundial.pipeline import Pipeline


class SystemMonitor:
    def __init__(
        self, pipeline: Pipeline, settings: Settings, provider: Callable[[], Mapping[str, float]] | None
    ) -> None:
        self._pipeline = pipeline

    def start(self) -> None: ...

    def stop(self) -> None: ...
