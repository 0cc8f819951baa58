"""The few helpers of W&B that scripts and libraries call."""

from __future__ import annotations

import json
import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rundial.compat.wandb._config import friendly
from rundial.compat.wandb._init import generate_id

__all__ = [
    "generate_id",
    "get_module",
    "json_dumps_safer",
    "json_friendly",
    "make_artifact_name_safe",
    "to_forward_slash_path",
]


def make_artifact_name_safe(name: str) -> str:
    """A name with ``_`` for what no artifact's name may have, and without the middle of a long one."""
    cleaned = re.sub(r"[^a-zA-Z0-9_\-.]", "_", name)
    return cleaned if len(cleaned) <= 128 else f"{cleaned[:63]}..{cleaned[-63:]}"


def json_friendly(obj: Any) -> tuple[Any, bool]:
    """A value as JSON has it, and whether it is another one than before."""
    found = friendly(obj)
    return found, found is not obj


def json_dumps_safer(obj: Any, **kwargs: Any) -> str:
    """A value as JSON; what JSON has no form for becomes its text."""
    return json.dumps(friendly(obj), **kwargs)


def get_module(name: str, required: str | bool | None = None, lazy: bool = True) -> Any:
    """A module if it is installed, else None. Raises :class:`UsageError` when it is ``required``."""
    try:
        known = find_spec(name) is not None
    except ModuleNotFoundError:
        known = False
    if known:
        return import_module(name)
    if required:
        from rundial.compat.wandb.errors import UsageError

        raise UsageError(str(required))
    return None


def to_forward_slash_path(path: str) -> str:
    """A path with ``/``."""
    return path.replace("\\", "/")
