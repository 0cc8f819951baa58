"""New ids."""

from __future__ import annotations

from rundial.compat.wandb._init import generate_id

__all__ = ["generate_id"]
