"""``wandb.Settings``: takes any keyword; :func:`init` reads those that mean something here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

VARIABLES = {
    "WANDB_PROJECT": "project",
    "WANDB_ENTITY": "entity",
    "WANDB_NAME": "run_name",
    "WANDB_NOTES": "run_notes",
    "WANDB_TAGS": "run_tags",
    "WANDB_RUN_ID": "run_id",
    "WANDB_RESUME": "resume",
    "WANDB_MODE": "mode",
    "WANDB_DIR": "root_dir",
    "WANDB_RUN_GROUP": "run_group",
    "WANDB_JOB_TYPE": "run_job_type",
    "WANDB_CONSOLE": "console",
    "WANDB_SAVE_CODE": "save_code",
    "WANDB_DISABLE_CODE": "disable_code",
    "WANDB_SWEEP_ID": "sweep_id",
    "WANDB_IGNORE_GLOBS": "ignore_globs",
    "WANDB_BASE_URL": "base_url",
}
"""Environment variables and the settings they stand for. ``WANDB_API_KEY`` is read by nothing here."""
_LISTS = frozenset({"run_tags", "ignore_globs"})
_SWITCHES = frozenset({"save_code", "disable_code"})
_TRUE = frozenset({"1", "true", "yes", "y", "on"})


class Settings:
    """A bag of settings. One that was never set is None.

    Args:
        values: any; what W&B alone understands is kept and has no effect.
    """

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self.__dict__.items())

    def get(self, name: str, default: Any = None) -> Any:
        """One setting, or the default."""
        return self.__dict__.get(name, default)

    def keys(self) -> list[str]:
        """The names of those that are set."""
        return list(self.__dict__)

    def update(self, values: Mapping[str, Any] | Settings | None = None, **more: Any) -> None:
        """Set several."""
        self.__dict__.update(as_dict(values), **more)

    def copy(self) -> Settings:
        """Another bag with the same settings."""
        return Settings(**self.__dict__)

    model_copy = copy

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self if 'key' not in name)})"


def as_dict(values: Mapping[str, Any] | Settings | None) -> dict[str, Any]:
    """Settings in any form as a dict, without those that are None."""
    known = values.__dict__ if isinstance(values, Settings) else dict(values or {})
    return {name: value for name, value in known.items() if value is not None}


def from_environment() -> dict[str, Any]:
    """What the ``WANDB_*`` variables set."""
    found: dict[str, Any] = {}
    for variable, name in VARIABLES.items():
        text = os.environ.get(variable, "").strip()
        if text and name in _LISTS:
            found[name] = [part.strip() for part in text.split(",") if part.strip()]
        elif text:
            found[name] = text.lower() in _TRUE if name in _SWITCHES else text
    if os.environ.get("WANDB_DISABLED", "").strip().lower() in _TRUE:
        found["mode"] = "disabled"
    return found
