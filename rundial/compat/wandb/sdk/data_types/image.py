"""Its class."""

from __future__ import annotations

from rundial.compat.wandb.data_types import Image

__all__ = ["Image"]
