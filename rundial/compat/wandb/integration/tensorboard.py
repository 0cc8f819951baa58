"""TensorBoard's writers."""

from __future__ import annotations

from rundial.compat.wandb.tensorboard import log, patch, unpatch

__all__ = ["log", "patch", "unpatch"]
