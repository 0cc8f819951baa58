"""``wandb.apis``: where :class:`Api` lies."""

from __future__ import annotations

from rundial.compat.wandb._api import Api

__all__ = ["Api"]
