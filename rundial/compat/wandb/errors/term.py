"""Lines on the terminal, which ``WANDB_SILENT`` and ``WANDB_QUIET`` take away."""

from __future__ import annotations

import os
import sys

_said: set[str] = set()


def silent() -> bool:
    """Whether nothing is to be printed."""
    return os.environ.get("WANDB_SILENT", "").strip().lower() in ("1", "true", "yes", "on")


def termlog(string: str = "", newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Print a text on standard error, with ``wandb:`` before each line. ``repeat=False``: only the first time."""
    _print(string, newline, repeat, prefix, "")


def termwarn(string: str, newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """As :func:`termlog`, as a warning."""
    _print(string, newline, repeat, prefix, "WARNING ")


def termerror(string: str, newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """As :func:`termlog`, as an error."""
    _print(string, newline, repeat, prefix, "ERROR ")


def _print(string: str, newline: bool, repeat: bool, prefix: bool, label: str) -> None:
    if silent() or sys.stderr is None or (not repeat and string in _said):
        return
    if not repeat:
        _said.add(string)
    text = "\n".join(f"wandb: {label}{line}" if prefix else line for line in str(string).split("\n"))
    try:
        sys.stderr.write(text + ("\n" if newline else ""))
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # standard error is closed or gone: nobody is there to read it
