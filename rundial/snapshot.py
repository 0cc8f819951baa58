"""Snapshots of code, repository and environment."""

from __future__ import annotations

from rundial.config import Settings
from rundial.pipeline import Pipeline


class Snapshot:
    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline = pipeline

    def start(self) -> None: ...

    def stop(self) -> None: ...
