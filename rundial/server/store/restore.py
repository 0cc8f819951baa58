"""Restoring a backup into a data folder, and a database, where there is nothing yet."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from rundial.server.store import dumps
from rundial.server.store.backup import (
    ARCHIVES,
    DUMP,
    FORMAT,
    KEY,
    MANIFEST,
    Manifest,
    Tell,
)
from rundial.server.store.engine import StoreError
from rundial.server.store.files import copy, new_file, sync
from rundial.server.store.looking import DATABASE
from rundial.server.store.sqlite import hold_folder

_BLOB = re.compile("blobs/([0-9a-f]{2})/([0-9a-f]{64})")
_LARGEST_MANIFEST = 256 * 1024 * 1024
"""A backup names damaged files one by one."""


def restore(source: Path, data: Path, database: str | None, tell: Tell = lambda text: None) -> Manifest:
    """Restore a backup. What was restored is compared with what the backup says of itself, every file by its SHA-256.

    Args:
        source: a folder or a file that :func:`rundial.server.store.backup.back_up` made.
        data: a folder that is empty or does not exist.
        database: an empty PostgreSQL database, when the backup is of one.

    Raises :class:`StoreError`; nothing is left of what was restored then.
    """
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise StoreError(f"{data} is not empty. Name a new folder with --data; nothing is ever restored over another.")
    if database is not None and not dumps.is_empty(database):
        raise StoreError("the database has tables already. Make a new one with: createdb -E UTF8 NAME.")
    made = not data.exists()
    lock = hold_folder(data)
    try:
        tell("copying the files")
        manifest = _unpack(source, data)
        _compare(manifest, data, database)
        if database is not None:
            tell("filling the database")
            dumps.restore(database, data / DUMP)
            (data / DUMP).unlink()
        sync(data)
    except BaseException as error:
        _clear(data, made)
        if isinstance(error, OSError | tarfile.TarError):
            raise StoreError(f"the backup cannot be restored: {error}. Nothing is left of it.") from error
        raise
    finally:
        os.close(lock)
    return manifest


def _unpack(source: Path, data: Path) -> Manifest:
    """Put everything into the folder. Raises :class:`StoreError` for what does not belong into a backup."""
    manifest: Manifest | None = None
    for name, file, size in _members(source):
        blob = _BLOB.fullmatch(name)
        if name == MANIFEST:
            manifest = _read_manifest(file.read(_LARGEST_MANIFEST))
            continue
        if name not in (DATABASE, DUMP, KEY) and (blob is None or not blob[2].startswith(blob[1])):
            raise StoreError(f"{name[:200]!r} does not belong into a backup. Is {source} one?")
        path = data / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with new_file(path) as out:
            copy(file, out, size)
            out.flush()
            os.fsync(out.fileno())
        if blob is not None:
            path.chmod(0o400)
    if manifest is None:
        raise StoreError(f"{source} is not a whole backup: it has no {MANIFEST}.")
    return manifest


def _members(source: Path) -> Iterator[tuple[str, IO[bytes], int]]:
    """What is in a backup, as (name, content, size)."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    yield path.relative_to(source).as_posix(), file, os.fstat(file.fileno()).st_size
        return
    if not source.is_file():
        raise StoreError(f"there is no backup at {source}.")
    if not source.name.endswith(ARCHIVES):
        raise StoreError(f"{source} is no backup: those end with {', '.join(ARCHIVES)}, or are folders.")
    with tarfile.open(source, "r|*") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise StoreError(f"{member.name[:200]!r} does not belong into a backup. Is {source} one?")
            yield member.name, content, member.size


def _read_manifest(text: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise StoreError(f"the backup's {MANIFEST} cannot be read: {error}.") from error
    if manifest.format != FORMAT:
        raise StoreError(
            f"the backup is of format {manifest.format}, made by version {manifest.version}; this version reads"
            f" {FORMAT}. Install that version, or newer."
        )
    return manifest


def _compare(manifest: Manifest, data: Path, database: str | None) -> None:
    """Whether everything came as the backup says. Raises :class:`StoreError`."""
    if (manifest.engine == "postgres") != (database is not None):
        hint = "Name an empty database with --database." if database is None else "Leave --database."
        raise StoreError(f"the backup is of {manifest.engine}. {hint}")
    name = DATABASE if manifest.engine == "sqlite" else DUMP
    if not (data / name).is_file() or _digest(data / name) != manifest.database_sha256:
        raise StoreError(f"{name} is not what it was when the backup was made. Use another backup.")
    blobs = [path for folder in (data / "blobs").glob("*") for path in folder.iterdir()]
    if len(blobs) != manifest.blobs:
        raise StoreError(f"there are {len(blobs)} files in the backup and there should be {manifest.blobs}.")
    for path in blobs:
        if path.name not in manifest.damaged and _digest(path) != path.name:
            raise StoreError(f"file {path.name} is not what it was when the backup was made. Use another backup.")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _clear(data: Path, made: bool) -> None:
    """Leave the folder as it was."""
    if made:
        shutil.rmtree(data, ignore_errors=True)
        return
    for path in data.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
