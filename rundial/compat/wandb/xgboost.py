"""A callback for XGBoost."""

from __future__ import annotations

from rundial.compat.wandb.integration.xgboost import WandbCallback, wandb_callback

__all__ = ["WandbCallback", "wandb_callback"]
