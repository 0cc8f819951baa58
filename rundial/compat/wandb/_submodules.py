"""Modules that are loaded when they are first asked for as attributes of their package."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType


def of(package: str) -> Callable[[str], ModuleType]:
    """What a package's ``__getattr__`` is: it imports the module of that name, or raises AttributeError."""

    def load(name: str) -> ModuleType:
        place = f"{package}.{name}"
        if not name.startswith("_"):
            try:
                return import_module(place)
            except ModuleNotFoundError as error:
                if error.name != place:
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}; see docs/wandb-compat.md")

    return load
