"""What define_metric returns."""

from __future__ import annotations

from rundial.compat.wandb._metric import Metric

__all__ = ["Metric"]
