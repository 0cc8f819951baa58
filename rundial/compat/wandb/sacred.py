"""An observer for Sacred."""

from __future__ import annotations

from rundial.compat.wandb.integration.sacred import WandbObserver

__all__ = ["WandbObserver"]
