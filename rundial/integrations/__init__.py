"""Loggers and callbacks for other frameworks. Importing this needs none of them; each is loaded with its first name.

from rundial.integrations import RundialLogger       # Lightning
from rundial.integrations import RundialCallback     # Transformers
from rundial.integrations import RundialKerasCallback  # Keras
from rundial.integrations import RundialTracker      # Accelerate

It makes ``report_to="rundial"`` and ``log_with="rundial"`` known to Transformers and Accelerate.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rundial.integrations import _register

if TYPE_CHECKING:
    from rundial.integrations.accelerate import RundialTracker
    from rundial.integrations.keras import RundialKerasCallback
    from rundial.integrations.lightning import RundialLogger
    from rundial.integrations.pytorch import unwatch, watch
    from rundial.integrations.transformers import RundialCallback

_PLACES = {
    "RundialLogger": ("lightning", "lightning"),
    "RundialCallback": ("transformers", "transformers"),
    "RundialKerasCallback": ("keras", "keras"),
    "RundialTracker": ("accelerate", "transformers"),
    "unwatch": ("pytorch", "lightning"),
    "watch": ("pytorch", "lightning"),
}
"""The module of each name and the extra of pyproject.toml that brings its framework."""

__all__ = ["RundialCallback", "RundialKerasCallback", "RundialLogger", "RundialTracker", "unwatch", "watch"]


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'rundial.integrations' has no attribute {name!r}")
    module, extra = place
    try:
        return getattr(import_module(f"rundial.integrations.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("rundial"):
            raise
        raise ImportError(
            f"rundial.integrations.{name} needs {error.name}, which is not installed. "
            f"Install it with: pip install 'rundial[{extra}]'",
            name=error.name,
        ) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])


_register.register()
