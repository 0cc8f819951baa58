"""Spool directories: made where a script runs, noted in the user's home, and found again from anywhere."""

from __future__ import annotations

import os
import threading
import zlib
from pathlib import Path

from rundial.config import home


def prepare_directory(directory: Path) -> None:
    """Make a spool directory that keeps itself out of version control. Raises :class:`OSError`."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = directory / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def register(directory: Path, place: Path | None = None) -> None:
    """Note a spool directory in a home, so that ``rundial sync`` and the local server find it.

    Args:
        directory: the spool directory.
        place: the home; this user's own when None.

    Raises:
        OSError: the home cannot be written.
    """
    registry = (place or home()) / "spools"
    name = f"{zlib.crc32(os.fsencode(directory)):08x}{zlib.adler32(os.fsencode(directory)):08x}"
    if not (registry / name).exists():
        registry.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = registry / f"{name}.{os.getpid()}-{threading.get_ident()}"
        temporary.write_text(str(directory), encoding="utf-8")
        temporary.replace(registry / name)


def registered() -> list[Path]:
    """Every spool directory that was ever noted and still exists."""
    registry = home() / "spools"
    if not registry.is_dir():
        return []
    directories = (Path(entry.read_text(encoding="utf-8")) for entry in registry.iterdir() if not entry.suffix)
    return sorted(directory for directory in directories if directory.is_dir())
