"""Where W&B keeps its parts; libraries reach into some of them."""

from __future__ import annotations

from rundial.compat.wandb import _submodules
from rundial.compat.wandb._config import Config
from rundial.compat.wandb._run import Run
from rundial.compat.wandb._settings import Settings
from rundial.compat.wandb._summary import Summary

__all__ = ["Config", "Run", "Settings", "Summary"]

__getattr__ = _submodules.of(__name__)
