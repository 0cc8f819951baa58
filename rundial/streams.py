"""Streams on this machine: where their rings and folders lie, and what these say of the run they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rundial.config import home
from rundial.diagnostics import warn
from rundial.errors import RundialError, WireError
from rundial.queue import QUEUE_SUFFIX, queue_folder
from rundial.segments import segment_meta, segment_paths
from rundial.spool_directories import registered
from rundial.staging import job_folders, read_job

Meta = dict[str, Any]
"""What a stream's files say of it: its run, and where it is to go."""


def is_local(meta: Meta) -> bool:
    """Whether a stream belongs to this user's own store rather than to a server somewhere."""
    return meta.get("endpoint") is None and meta.get("home") == str(home())


def rings() -> Iterator[Path]:
    """Every ring file of this user: in shared memory, and in spool directories where there is no shared memory."""
    shared = queue_folder()
    if shared is not None:
        yield from shared.glob(f"*{QUEUE_SUFFIX}")
    for folder in stream_folders(registered()):
        try:
            yield from list(folder.glob(f"*{QUEUE_SUFFIX}"))
        except FileNotFoundError:
            continue  # its stream ended this very moment


def stream_folders(directories: list[Path]) -> Iterator[Path]:
    """The folders of all streams in spool directories; of each directory the oldest first, as their ids sort."""
    for directory in dict.fromkeys([*directories, home() / "spool"]):
        try:
            yield from (entry for entry in sorted(directory.iterdir()) if len(entry.name) == 32 and entry.is_dir())
        except OSError:
            continue  # gone or unreadable since it was noted: nothing of ours can be read there


def folder_meta(folder: Path) -> Meta | None:
    """What the newest readable segment says of its stream, or else one of its uploads; None when there is neither."""
    try:
        paths = segment_paths(folder)
    except OSError:
        return None
    for path in reversed(paths):
        try:
            return segment_meta(path)
        except (OSError, WireError) as error:
            warn(f"{error}")
    for job_folder in job_folders(folder):
        try:
            return read_job(job_folder).meta
        except FileNotFoundError:
            continue  # sent and removed meanwhile
        except (OSError, RundialError) as error:
            warn(f"{error}")
    return None


def is_original(folder: Path, meta: Meta) -> bool:
    """Whether a folder lies where its process left it: in a copy, what follows may just not have been copied yet."""
    if "spool" not in meta:
        return True
    places = (home() / "spool", Path(str(meta["spool"])))
    return any(folder.parent.resolve() == place.resolve() for place in places)
