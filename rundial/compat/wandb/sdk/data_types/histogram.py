"""Its class."""

from __future__ import annotations

from rundial.compat.wandb.data_types import Histogram

__all__ = ["Histogram"]
