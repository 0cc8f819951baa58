"""The captured console."""

from __future__ import annotations

from rundial.pipeline import Pipeline


class Console:
    def __init__(self, pipeline: Pipeline, tqdm_mode: str) -> None:
        self._pipeline = pipeline

    def start(self) -> None: ...

    def stop(self) -> None: ...
