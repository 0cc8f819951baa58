"""Files that are new, private and durable."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO

READ_BYTES = 1024 * 1024


def new_file(path: Path) -> IO[bytes]:
    """A new file that nobody else may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def copy(file: IO[bytes], out: IO[bytes], size: int) -> str:
    """Copy ``size`` bytes; their SHA-256. Raises OSError when there are fewer."""
    digest = hashlib.sha256()
    left = size
    while left:
        data = file.read(min(left, READ_BYTES))
        if not data:
            raise OSError("a file became shorter while it was read")
        out.write(data)
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
