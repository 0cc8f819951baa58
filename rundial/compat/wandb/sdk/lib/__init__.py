"""Small parts that libraries import."""

from __future__ import annotations

from rundial.compat.wandb import _submodules


class RunDisabled:
    """For ``isinstance`` checks: a disabled run is an ordinary :class:`Run` here, so nothing is one of these."""


__getattr__ = _submodules.of(__name__)
