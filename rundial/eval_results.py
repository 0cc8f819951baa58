"""Results of evaluations, as a run logs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rundial.pipeline import Pipeline


def log_result(
    pipeline: Pipeline,
    eval_run_id: str,
    example_id: str,
    scores: Mapping[str, Any],
    passed: Any,
    trace: Any,
    evidence: Mapping[str, str] | None,
    meta: Mapping[str, Any] | None,
) -> bool:
    raise NotImplementedError
