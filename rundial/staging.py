"""Upload jobs on disk: staged files, the journal that names them, and how a file is kept as it was at the call.

A stream's jobs lie beside its spool, one folder each::

    <spool>/<stream>/uploads/lock               held by whoever sends them
    <spool>/<stream>/uploads/<key>/job.json     the job; a folder without it was never handed over
    <spool>/<stream>/uploads/<key>/files/       hard links, copies, encoded media

A hard link costs nothing and keeps a file that is later *replaced*. One that is written into again keeps its inode, so
size and time of change are noted at the call and compared before and after it is read.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from rundial.errors import RundialError

UPLOADS = "uploads"
JOB_NAME = "job.json"
FILES = "files"
COPY_BYTES = 1024 * 1024
"""A file up to this size is copied at the call, which makes it immune to whatever happens to the original."""
PIECE_BYTES = 1024 * 1024
SINGLE_BYTES = 64 * 1024 * 1024
"""What is larger travels in parts of ``PART_BYTES``, or of so many whole MiB more that ``MAX_PARTS`` suffice."""
PART_BYTES = 16 * 1024 * 1024
MAX_PARTS = 10_000
_FICLONE = 0x40049409  # ioctl_ficlone(2)


class Changed(RundialError):
    """A file is not what it was when it was logged: it was written into, replaced or removed."""


class File(Struct, omit_defaults=True):
    """One file of a job.

    ``path`` is its POSIX path inside the artifact. :func:`stage_file` fills in the rest; who writes a file into the
    job's folder himself gives ``path`` and ``staged``, the file's name in there.
    """

    path: str
    staged: str | None = None
    source: str | None = None
    """Where it lay at the call; the only place it is at while ``staged`` is None."""
    size: int = -1
    """Bytes; -1 until somebody has looked."""
    mtime_ns: int = 0
    inode: int = 0
    shared: bool = False
    """The staged file is a hard link: whoever has the original may write into it."""
    sha256: str | None = None
    content_type: str | None = None
    part_sha256: list[str] = []
    """Of each part, when it is so large that it travels in parts."""


class Reference(Struct, omit_defaults=True, rename="camel"):
    """A file that stays where it is and is only pointed to."""

    path: str
    uri: str
    size_bytes: int | None = None
    sha256: str | None = None
    etag: str | None = None


class Job(Struct, omit_defaults=True):
    """One upload: a new version of an artifact, or one item of media.

    Args:
        name: of the artifact; for media any word.
        files: what is uploaded; exactly one for media.
        type, aliases, metadata: of the artifact.
        retention: ``{"strategy": "keep_last", "keepLast": n}``.
        references: files that stay elsewhere.
        step: the step it belongs to.
        time_ns: when it was logged, Unix time in nanoseconds.
        media: makes it an item of media: ``key``, ``step``, ``timeMs``, ``mediaType``, ``index``, ``caption``,
            ``width``, ``height``, ``tableRows``, ``tableColumns``, ``metadata``, as ``docs/http.md`` has them.
    """

    name: str
    files: list[File] = []
    type: str | None = None
    aliases: list[str] = []
    metadata: dict[str, Any] = {}
    retention: dict[str, Any] | None = None
    references: list[Reference] = []
    step: int | None = None
    time_ns: int = 0
    media: dict[str, Any] | None = None
    key: str = ""
    """Random id, also the name of its folder: a server that hears it again goes on where it was. Set when submitted."""
    meta: dict[str, Any] = {}
    """Where it belongs, as in a spool segment; never a key of a server. Set when submitted."""

    @property
    def kind(self) -> str:
        return "artifact" if self.media is None else "media"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(max(file.size, 0) for file in self.files)

    @property
    def copied(self) -> int:
        """Bytes that its staged files take on the disk beyond what the originals do."""
        return sum(max(file.size, 0) for file in self.files if not file.shared)

    @property
    def settled(self) -> bool:
        """Whether every file is staged and hashed."""
        return all(file.staged is not None and file.sha256 is not None for file in self.files)


# -- the journal -----------------------------------------------------------------------------------------------------


def write_job(folder: Path, job: Job) -> None:
    """Write the journal of a job so that a reader sees the old one or the new one, whole. Raises :class:`OSError`."""
    draft = folder / f"{JOB_NAME}.tmp"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(msgspec.json.encode(job))
    draft.replace(folder / JOB_NAME)


def read_job(folder: Path) -> Job:
    """The job of a folder. Raises :class:`OSError`, or :class:`RundialError` for a damaged journal."""
    try:
        return msgspec.json.decode((folder / JOB_NAME).read_bytes(), type=Job)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RundialError(f"{folder / JOB_NAME} is damaged: {error}. Its files are in {folder / FILES}.") from error


def job_folders(stream_folder: Path) -> list[Path]:
    """The folders of all journalled jobs of a stream, oldest first."""
    try:
        entries = [(entry.stat().st_mtime_ns, entry) for entry in (stream_folder / UPLOADS).glob(f"*/{JOB_NAME}")]
    except OSError:
        return []  # removed while we look: nothing is left of it
    return [entry.parent for _, entry in sorted(entries)]


# -- at the call -----------------------------------------------------------------------------------------------------


def stage_file(source: Path, folder: Path, name: str, path: str, small: bool = False) -> File:
    """Keep a file as it is now: copied when ``small``, else by hard link, else by remembering which file it was.

    Reads nothing unless ``small``. Symbolic links are followed.

    Args:
        source: the file.
        folder: the job's folder.
        name: what the staged file is called in there.
        path: the file's path in the artifact.
        small: copy it; for files up to :data:`COPY_BYTES`.

    Raises:
        OSError: there is no such file, or it may not be read.
    """
    real = source.resolve()
    found = real.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(source))
    if not os.access(real, os.R_OK):
        raise PermissionError(errno.EACCES, "may not be read", str(source))
    text = os.fsencode(real).decode("utf-8", "replace")
    file = File(path, None, text, found.st_size, found.st_mtime_ns, found.st_ino)
    file.content_type = guess_type(path)
    target = folder / FILES / name
    if small and found.st_size <= COPY_BYTES:
        try:
            _copy(file, target)
        except Changed:
            pass  # its writer is at work this very moment; the upload thread looks again
        else:
            file.staged = name
            return file
    try:
        os.link(real, target)
    except OSError:
        # Another device, a file system without links, a file that is not ours: copied in the background.
        if text != str(real):
            raise  # the journal has no form for a name that is not UTF-8
        return file
    file.staged, file.shared = name, True
    return file


def guess_type(path: str) -> str | None:
    """The media type that a file's name suggests."""
    import mimetypes

    return mimetypes.guess_type(path)[0]


# -- in the background -----------------------------------------------------------------------------------------------


def settle(folder: Path, job: Job, pause: Callable[[], None] = lambda: None) -> None:
    """Copy what could not be linked, hash everything and note it in the journal.

    ``pause`` is called after each MiB. Raises :class:`Changed`, :class:`OSError`, or what ``pause`` raises.
    """
    for file in job.files:
        if file.size < 0:  # written here by whoever prepared the job
            file.size = (folder / FILES / str(file.staged)).stat().st_size
    for number, file in enumerate(job.files):
        if file.staged is None:
            name = f"{number}"
            _copy(file, folder / FILES / name, pause)
            file.staged = name
        elif file.shared and _clone(folder / FILES / file.staged, file):
            file.shared = False
        if file.sha256 is None:
            file.sha256, file.part_sha256 = _hash(folder, file, pause)
    write_job(folder, job)


def make_durable(folder: Path, job: Job) -> None:
    """Force a job and what was written for it to the disk. A hard link's content is as safe as its owner made it.

    Raises :class:`OSError`.
    """
    written = [folder / FILES / file.staged for file in job.files if file.staged is not None and not file.shared]
    for path in (*written, folder / JOB_NAME, folder / FILES, folder, folder.parent):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def open_staged(folder: Path, file: File) -> int:
    """A descriptor of a staged file. Raises :class:`Changed` or :class:`OSError`."""
    if file.staged is None or "/" in file.staged or file.staged in ("", ".", ".."):
        raise RundialError(f"{folder / JOB_NAME} names a file outside its folder")
    fd = os.open(folder / FILES / file.staged, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        check_unchanged(fd, file)
    except Changed:
        os.close(fd)
        raise
    return fd


def check_unchanged(fd: int, file: File) -> None:
    """Raises :class:`Changed` when a file is not the one that was logged, as far as size and time of change tell."""
    found = os.fstat(fd)
    # Another inode is a copy, of a spool that was moved: its times say nothing, its hash is compared in the end.
    same_time = found.st_ino != file.inode or found.st_mtime_ns == file.mtime_ns
    if found.st_size != file.size or not same_time:
        raise Changed(f"{file.source or file.path} was written to after it was logged")


def _copy(file: File, target: Path, pause: Callable[[], None] = lambda: None) -> None:
    assert file.source is not None
    try:
        source = os.open(file.source, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError as error:
        raise Changed(f"{file.source} was removed before it could be copied") from error
    try:
        _check_same(source, file)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb", buffering=0) as out:
            offset = 0
            while piece := os.pread(source, PIECE_BYTES, offset):
                out.write(piece)
                offset += len(piece)
                pause()
        _check_same(source, file)
        if offset != file.size:
            raise Changed(f"{file.source} was written to while it was copied")
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(source)
    file.inode, file.shared = 0, False


def _check_same(fd: int, file: File) -> None:
    if os.fstat(fd).st_ino != file.inode:
        raise Changed(f"{file.source} was replaced before it could be copied")
    check_unchanged(fd, file)


def _clone(path: Path, file: File) -> bool:
    """Put a clone that shares no future in the place of a hard link; False where the file system has no such thing."""
    import fcntl

    device = path.parent.stat().st_dev
    if device in _without_clones:
        return False
    draft = path.with_name(f"{path.name}.tmp")
    try:
        with path.open("rb") as source, draft.open("wb") as target:
            check_unchanged(source.fileno(), file)
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
            check_unchanged(source.fileno(), file)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        _without_clones.add(device)
        return False
    file.inode = 0
    return True


_without_clones: set[int] = set()
"""Devices whose file system was asked in vain."""


def _hash(folder: Path, file: File, pause: Callable[[], None]) -> tuple[str, list[str]]:
    """SHA-256 of the whole, and of each part of a large file."""
    import hashlib

    in_parts = file.size > SINGLE_BYTES
    least = -(-file.size // MAX_PARTS)
    step = max(PART_BYTES, -(-least // 2**20) * 2**20)
    parts: list[str] = []
    part = hashlib.sha256()
    fd = open_staged(folder, file)
    try:
        digest = hashlib.sha256()
        offset = 0
        while piece := os.pread(fd, PIECE_BYTES, offset):
            digest.update(piece)
            offset += len(piece)
            if in_parts:
                part.update(piece)
                if offset % step == 0 or offset == file.size:
                    parts.append(part.hexdigest())
                    part = hashlib.sha256()
            pause()
        check_unchanged(fd, file)
    finally:
        os.close(fd)
    if offset != file.size:
        raise Changed(f"{file.source or file.path} was written to while it was read")
    return digest.hexdigest(), parts


def remove_job(folder: Path) -> None:
    """Remove a job that is done with. The journal goes last to be written and first to go, so no half job is sent."""
    import shutil

    (folder / JOB_NAME).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def set_aside(folder: Path) -> Path:
    """Move a job that a server refused for good to ``rejected`` in the spool directory; where it is then."""
    place = folder.parent.parent.parent / "rejected" / folder.name
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        return folder.rename(place)
    except OSError:
        return folder  # it stays where it is, and the next process asks again


def now_ms(job: Job) -> int:
    """When a job was logged, in Unix milliseconds."""
    return (job.time_ns or time.time_ns()) // 1_000_000
