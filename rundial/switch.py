"""Logging switched on or off for the runs begun from here on, by the script or by ``RUNDIAL_ON``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rundial.config import ENABLED_VARIABLE, truth

_enabled: bool | None = None


def set_enabled(on: bool) -> None:
    """Switch logging on or off for runs begun from here on: off, ``init`` gives a run that does nothing."""
    global _enabled
    _enabled = bool(on)


def reset_enabled() -> None:
    """Forget :func:`set_enabled`: the environment variable ``RUNDIAL_ON`` decides again, and on is the default."""
    global _enabled
    _enabled = None


def is_enabled() -> bool:
    """Whether runs begun now log anything."""
    if _enabled is not None:
        return _enabled
    word = os.environ.get(ENABLED_VARIABLE, "").strip()
    return truth(ENABLED_VARIABLE, word) if word else True


@contextmanager
def enabled(on: bool) -> Iterator[None]:
    """Logging switched on or off for the runs begun inside the block."""
    global _enabled
    before, _enabled = _enabled, bool(on)
    try:
        yield
    finally:
        _enabled = before
