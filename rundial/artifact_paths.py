"""Names of artifacts and the paths in them: out of what a script says, and into a folder again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rundial.errors import RundialError
from rundial.events import clean_key

MAX_FILES = 100_000
MAX_PATH_LENGTH = 1024
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def clean_name(name: object) -> str:
    """Any object as the name of an artifact, in which ``:`` and ``/`` would be read as part of a reference."""
    return clean_key(str(name).strip().replace("/", "-").replace(":", "-"))


def location(path_or_dir: Any) -> str:
    """A path made absolute, or a URI as it is. Raises ValueError for an empty one, TypeError for what is neither."""
    text = os.fspath(path_or_dir)
    text = os.fsdecode(text) if isinstance(text, bytes) else text
    if not text:
        raise ValueError("its path is empty")
    if text.startswith("file://"):
        return unquote(urlsplit(text).path)
    return text if URI.match(text) else os.path.normpath(Path(text).expanduser().absolute())


def last_part(text: str) -> str:
    """The last part of a path or URI, by which an artifact is called that has no other name."""
    path = urlsplit(text).path or urlsplit(text).netloc if URI.match(text) else text
    return path.rstrip("/").rpartition("/")[2] or "artifact"


def members(root: Path) -> tuple[list[tuple[str, Path]], int]:
    """The files of a folder by their paths in the artifact, in order, and how many entries were left out.

    Raises ValueError when there are none or too many, OSError when the folder cannot be read.
    """
    real = os.path.realpath(root)
    found: dict[str, Path] = {}
    skipped = 0
    for entry in _walk(real):
        if not _belongs(entry, real):
            skipped += 1
            continue
        inner = clean_path(os.path.relpath(entry.path, real))
        while inner in found:
            inner += "~"  # two names that differ only in characters no path may have
        found[inner] = Path(entry.path)
        if len(found) > MAX_FILES:
            raise ValueError(f"{root} holds more than {MAX_FILES:,} files; pack them first")
    if not found:
        raise ValueError(f"{root} holds no files")
    return sorted(found.items()), skipped


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            else:
                yield entry


def _belongs(entry: os.DirEntry[str], root: str) -> bool:
    if not entry.is_symlink():
        return entry.is_file(follow_symlinks=False)
    real = Path(entry.path).resolve()
    return real.is_relative_to(root) and real.is_file()


def clean_path(path: str) -> str:
    """A path inside an artifact, of what may be in one. Raises ValueError when it is too long."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\\", "_")
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    if len(text) > MAX_PATH_LENGTH:
        raise ValueError(f"a path in it has more than {MAX_PATH_LENGTH:,} characters: {text[:60]}...")
    return text


def inside(root: Path, path: str) -> Path:
    """The place of a file below a folder. Raises :class:`RundialError` for a path that would leave it."""
    parts = path.split("/")
    if not path or "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise RundialError(f"the server names a file {path!r}, which would lie outside {root}; nothing was downloaded.")
    return root.joinpath(*parts)


def folder_name(name: str) -> str:
    """The name of an artifact as that of a folder."""
    text = re.sub(r"[^\w.\-]+", "-", name).strip(".") or "artifact"
    return text[:100]
