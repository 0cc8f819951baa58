"""The error of a changed configuration."""

from __future__ import annotations

from rundial.compat.wandb._config import ConfigError

__all__ = ["ConfigError"]
