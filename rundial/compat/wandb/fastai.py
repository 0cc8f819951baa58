"""A callback for fastai."""

from __future__ import annotations

from rundial.compat.wandb.integration.fastai import WandbCallback

__all__ = ["WandbCallback"]
