"""The class of a configuration."""

from __future__ import annotations

from rundial.compat.wandb._config import Config

__all__ = ["Config"]
