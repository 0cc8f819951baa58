"""Imports in background threads, never in the middle of a fork.

A module that a thread was importing when the process forked stays locked in the child for ever: whoever imports it
there, our worker or the user's own code, hangs. So a thread imports behind this gate, and a fork waits for it; a few
dozen milliseconds, once, and only when it comes in that instant.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module

_gate = threading.RLock()
_watched = False


def prepare() -> None:
    """To be called in the thread that makes the run, before it starts others."""
    global _watched
    if _watched or not hasattr(os, "register_at_fork"):
        return
    _watched = True
    # What is registered last is taken first. logging has a lock of its own there, which an import may need: a fork
    # that held it and waited here would wait for ever.
    import logging  # noqa: F401

    os.register_at_fork(before=_gate.acquire, after_in_parent=_gate.release, after_in_child=_gate.release)


def load(*names: str) -> None:
    """Import modules, so that what follows finds them loaded. Raises ImportError."""
    with _gate:
        for name in names:
            import_module(name)
