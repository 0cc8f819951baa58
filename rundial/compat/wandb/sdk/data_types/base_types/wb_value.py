"""The base of everything that ``wandb.log`` shows as more than a number."""

from __future__ import annotations

from rundial.compat.wandb._value import WBValue

__all__ = ["WBValue"]
