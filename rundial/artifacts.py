"""Artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rundial.config import Settings
from rundial.events import RunStart


class Artifact: ...


def log_artifact(
    pipeline: Any,
    path_or_dir: Any,
    *,
    name: str | None,
    type: str | None,
    aliases: Sequence[str] | None,
    metadata: Mapping[str, Any] | None,
    keep_last: int | None,
    retention_policy: Mapping[str, Any] | None,
    step: int | None,
) -> bool:
    raise NotImplementedError


def use(settings: Settings, start: RunStart, artifact_ref: str) -> Artifact:
    raise NotImplementedError
