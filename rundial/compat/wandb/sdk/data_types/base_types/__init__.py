"""The bases of media."""

from __future__ import annotations

from rundial.compat.wandb import _submodules
from rundial.compat.wandb._value import WBValue

__all__ = ["WBValue"]

__getattr__ = _submodules.of(__name__)
