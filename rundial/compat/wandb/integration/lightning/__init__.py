"""Loggers for Lightning."""

from __future__ import annotations

from rundial.compat.wandb import _submodules

__getattr__ = _submodules.of(__name__)
