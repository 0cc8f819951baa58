"""What a framework calls of ours, so that nothing of it reaches the training."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from rundial.diagnostics import warn
from rundial.integrations._adapter import is_rank_zero

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


def guarded(handler: _Handler) -> _Handler:
    """The same method on rank zero, and nothing on others; an exception becomes one warning for each object.

    It returns None in the place of what failed, so that it suits methods whose result the framework leaves alone.
    """

    @wraps(handler)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return handler(self, *args, **kwargs) if is_rank_zero() else None
        except Exception as error:  # noqa: BLE001 - the frameworks end a training when a callback raises
            warned: set[str] = self.__dict__.setdefault("warned_", set())
            if handler.__name__ not in warned:
                warned.add(handler.__name__)
                warn(f"{type(self).__name__}: {handler.__name__.strip('_')} failed, {type(error).__name__}: {error}")
            return None

    return call  # type: ignore[return-value]  # wraps keeps what it is
