"""A callback for CatBoost."""

from __future__ import annotations

from rundial.compat.wandb.integration.catboost import WandbCallback, log_summary

__all__ = ["WandbCallback", "log_summary"]
