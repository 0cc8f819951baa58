"""Changes: what a commit changed in a run, for whoever watches it."""

from __future__ import annotations

from typing import NamedTuple

from rundial.events import Marker, Metrics


class Change(NamedTuple):
    """What one commit changed in one run."""

    run_id: str
    project_id: str
    workspace_id: str
    metrics: list[Metrics]
    markers: list[Marker]
    run_changed: bool
    kinds: frozenset[str] = frozenset()
    """What else there is more of: ``logs``, ``spans``, ``evals``, ``media``, ``artifacts``, ``dials``."""
    keys: tuple[str, ...] = ()
    """Keys with new points that are not among ``metrics``: too many were committed by another process."""
