"""Locks on the files of a stream, and who holds them: the process that logs, or one that takes over what it left.

POSIX record locks end with their process, whatever ends it. An owner locks the whole file, an adopter only its
beginning: either keeps everybody else out, and the length tells which of the two it is.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from pathlib import Path
from typing import Literal

_ADOPTED_BYTES = 1 << 40
"""Length of an adopter's lock: longer than any ring, and not the whole file, which is a length of 0."""
# struct flock of fcntl(2): the one way to ask for a record lock without taking it, which might stop the owner.
_FLOCK = struct.Struct("@qqihh" if sys.platform == "darwin" else "@hhqqi0q")
_TYPE, _LENGTH = (3, 1) if sys.platform == "darwin" else (0, 3)


def lock_as_owner(fd: int, wait: bool = False) -> None:
    """Lock a file for the process that logs. Raises :class:`OSError`, at once unless ``wait``."""
    fcntl.lockf(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def lock_as_adopter(fd: int) -> None:
    """Lock a file for a process that takes it over. Raises :class:`OSError` while anybody else holds it."""
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _ADOPTED_BYTES)


def holder(path: Path) -> Literal["owner", "adopter"] | None:
    """Which other process holds a file; None when there is no such file or nobody does. Raises :class:`OSError`.

    Never call it for a file that this process holds: closing a file gives up the locks its own process has on it.
    """
    if not path.exists():
        return None
    order = (0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET) if sys.platform == "darwin" else (fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with path.open("rb") as file:
        answer = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, _FLOCK.pack(*order)))
    if answer[_TYPE] == fcntl.F_UNLCK:
        return None
    return "adopter" if answer[_LENGTH] == _ADOPTED_BYTES else "owner"
