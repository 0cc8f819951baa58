"""The names of W&B's environment variables, and setting some of them."""

from __future__ import annotations

import os

API_KEY = "WANDB_API_KEY"
BASE_URL = "WANDB_BASE_URL"
DIR = "WANDB_DIR"
DISABLED = "WANDB_DISABLED"
ENTITY = "WANDB_ENTITY"
JOB_TYPE = "WANDB_JOB_TYPE"
MODE = "WANDB_MODE"
NAME = "WANDB_NAME"
NOTES = "WANDB_NOTES"
PROJECT = "WANDB_PROJECT"
QUIET = "WANDB_QUIET"
RESUME = "WANDB_RESUME"
RUN_GROUP = "WANDB_RUN_GROUP"
RUN_ID = "WANDB_RUN_ID"
SILENT = "WANDB_SILENT"
SWEEP_ID = "WANDB_SWEEP_ID"
TAGS = "WANDB_TAGS"


def set_entity(value: str | None) -> None:
    """Set ``WANDB_ENTITY``."""
    _set(ENTITY, value)


def set_project(value: str | None) -> None:
    """Set ``WANDB_PROJECT``."""
    _set(PROJECT, value or "uncategorized")


def get_entity(default: str | None = None) -> str | None:
    """``WANDB_ENTITY``."""
    return os.environ.get(ENTITY, default)


def get_project(default: str | None = None) -> str | None:
    """``WANDB_PROJECT``."""
    return os.environ.get(PROJECT, default)


def _set(name: str, value: str | None) -> None:
    if value is not None:
        os.environ[name] = str(value)
