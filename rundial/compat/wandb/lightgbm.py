"""A callback for LightGBM."""

from __future__ import annotations

from rundial.compat.wandb.integration.lightgbm import log_summary, wandb_callback

__all__ = ["log_summary", "wandb_callback"]
