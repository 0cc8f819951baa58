"""The class of a run."""

from __future__ import annotations

from rundial.compat.wandb._run import Run

__all__ = ["Run"]
