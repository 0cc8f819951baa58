"""The class that stands for a disabled run in isinstance checks; no run here is one."""

from __future__ import annotations

from rundial.compat.wandb.sdk.lib import RunDisabled

__all__ = ["RunDisabled"]
