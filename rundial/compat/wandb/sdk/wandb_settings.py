"""The class of settings."""

from __future__ import annotations

from rundial.compat.wandb._settings import Settings

__all__ = ["Settings"]
