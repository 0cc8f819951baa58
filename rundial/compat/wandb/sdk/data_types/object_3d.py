"""Its class."""

from __future__ import annotations

from rundial.compat.wandb.data_types import Object3D

__all__ = ["Object3D"]
