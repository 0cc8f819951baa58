"""Blobs on the local disk: content under its SHA-256, and uploads on their way to become some.

::

    blobs/ab/abcdef…                       whole, verified, never written again
    blobs/uploads/<upload>/<sha256>.<random>   a file that is arriving in one piece
    blobs/uploads/<upload>/<sha256>            a file that is arriving in parts, each written at its offset

What becomes a blob is complete and durable before it is renamed to its place, so a blob is never half there. A part
counts once the database says so, which is after it is durable; one writer at a time has a part, and none has it after.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from rundial.server.store.refusal import Refusal, invalid

READ_BYTES = 1024 * 1024
_STRIPES = 64
_UPLOADS = "uploads"


class Room(Protocol):
    """Where blobs lie: on this disk, or in S3. What is removed from it, and found in it, is the same for both."""

    @property
    def origin(self) -> str | None:
        """Where clients get and put content: None for this server itself."""

    @property
    def place(self) -> str:
        """What it is called, so that it can be known again."""

    def lock(self, sha256: str) -> AbstractContextManager[None]: ...

    def delete(self, workspace_id: str, sha256: str) -> None: ...

    def discard(self, upload_id: str) -> None: ...

    def all(self) -> Iterable[list[str]]: ...

    def all_uploads(self) -> Iterable[str]: ...

    def close(self) -> None: ...


class Receiver:
    """Bytes on their way to the disk, hashed as they pass."""

    def __init__(self, path: Path, offset: int, size: int, temporary: bool) -> None:
        self.path = path
        self.size = size
        self._temporary = temporary
        self._offset = offset
        self._received = 0
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_EXCL if temporary else 0)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._fd = os.open(path, flags, 0o600)
        if not temporary:
            self._share()

    def write(self, data: bytes) -> None:
        """Append. Raises :class:`Refusal` when there is more than was announced, no room, or a newer writer."""
        with self._lock:
            fd = self._open_fd()
            if self._received + len(data) > self.size:
                raise _wrong_size(self.size)
            try:
                view = memoryview(data)
                while view:
                    written = os.pwrite(fd, view, self._offset + self._received)
                    self._received += written
                    view = view[written:]
            except OSError as error:
                raise _no_room(error) from error
            self._hash.update(data)

    def settle(self) -> str:
        """Make it durable and give its SHA-256; nothing can be written after. Raises :class:`Refusal`."""
        with self._lock:
            fd = self._open_fd()
            if self._received != self.size:
                raise _wrong_size(self.size)
            try:
                os.fdatasync(fd)
            except OSError as error:
                raise _no_room(error) from error
            self._close()
            return self._hash.hexdigest()

    def close(self) -> None:
        """Write no more; what came in one piece and was not kept goes away. For any thread, and more than once."""
        with self._lock:
            self._close()
        if self._temporary:
            self.path.unlink(missing_ok=True)

    def _share(self) -> None:
        """Say, to other processes too, that the file is being written, for as long as it is open."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._close()
            raise Refusal(409, "CONFLICT", "This upload is being finished.", "Initiate the upload again.") from error

    def _open_fd(self) -> int:
        if self._fd < 0:
            raise Refusal(409, "CONFLICT", "Another sender took over this part.", "Initiate the upload again.")
        return self._fd

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Blobs:
    """The folder of blobs of one server. Names inside it are made of digests and ids alone, never of what users write.

    Args:
        folder: created when it does not exist.
        shared: a file to keep other processes out with, when there may be some that use the folder too.
    """

    origin = None
    place = "disk"

    def __init__(self, folder: Path, shared: Path | None = None) -> None:
        self._folder = folder
        self._uploads = folder / _UPLOADS
        self._uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._guard = threading.Lock()
        self._parts: dict[tuple[str, str, int], Receiver] = {}
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._shared = None if shared is None else os.open(shared, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def lock(self, sha256: str) -> Iterator[None]:
        """Held from a blob's arrival, or its removal, until the database knows of it."""
        stripe = int(sha256[:2], 16) % _STRIPES
        with self._stripes[stripe]:
            if self._shared is None:
                yield
                return
            fcntl.lockf(self._shared, fcntl.LOCK_EX, 1, stripe)
            try:
                yield
            finally:
                fcntl.lockf(self._shared, fcntl.LOCK_UN, 1, stripe)

    def close(self) -> None:
        """Give up what keeps other processes out. May be called twice."""
        if self._shared is not None:
            os.close(self._shared)
            self._shared = None

    # -- in one piece ------------------------------------------------------------------------------------------------

    def receive(self, upload_id: str, sha256: str, size: int) -> Receiver:
        """Take in a whole file of ``size`` bytes."""
        name = f"{sha256}.{secrets.token_hex(8)}"
        return Receiver(self._uploads / upload_id / name, 0, size, temporary=True)

    def keep(self, receiver: Receiver, sha256: str) -> None:
        """What was received and settled becomes the blob. The caller holds :meth:`lock`."""
        self._install(receiver.path, sha256)

    # -- in parts ----------------------------------------------------------------------------------------------------

    def receive_part(self, upload_id: str, sha256: str, part: int, offset: int, size: int) -> Receiver:
        """Take in ``size`` bytes at ``offset``. A writer that has the part already can write no more."""
        key = (upload_id, sha256, part)
        receiver = Receiver(self._uploads / upload_id / sha256, offset, size, temporary=False)
        with self._guard:
            older = self._parts.get(key)
            self._parts[key] = receiver
        if older is not None:
            older.close()
        return receiver

    def release_part(self, upload_id: str, sha256: str, part: int, receiver: Receiver) -> None:
        """The writer is done with the part, whether it was kept or not."""
        receiver.close()
        with self._guard:
            if self._parts.get((upload_id, sha256, part)) is receiver:
                del self._parts[upload_id, sha256, part]

    def is_whole(self, upload_id: str, sha256: str, size: int) -> bool:
        """Whether the parts make the file they should. To be asked when the database has all of them.

        Raises :class:`Refusal` 409 while another process is writing to it.
        """
        with self._guard:
            late = [it for (upload, digest, _), it in self._parts.items() if (upload, digest) == (upload_id, sha256)]
        for receiver in late:
            receiver.close()
        path = self._uploads / upload_id / sha256
        try:
            with path.open("rb") as file:
                # A new writer finds its part in the database and writes nothing; this is about older ones.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file.fileno()).st_size != size or hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    return False
                os.fsync(file.fileno())
        except FileNotFoundError:
            return False
        except BlockingIOError as error:
            raise Refusal(
                409, "CONFLICT", "A part of the file is still arriving at another server.", "Finalize it again later."
            ) from error
        return True

    def join(self, upload_id: str, sha256: str) -> None:
        """The parts, found whole, become the blob. The caller holds :meth:`lock`."""
        self._install(self._uploads / upload_id / sha256, sha256)

    def scrap(self, upload_id: str, sha256: str) -> None:
        """Throw the parts of a file away."""
        (self._uploads / upload_id / sha256).unlink(missing_ok=True)

    # -- what is there -----------------------------------------------------------------------------------------------

    def path(self, sha256: str) -> Path:
        """Where a blob lies."""
        return self._folder / sha256[:2] / sha256

    def delete(self, workspace_id: str, sha256: str) -> None:
        """Remove a blob, which is that of all workspaces. The caller holds :meth:`lock`."""
        self.path(sha256).unlink(missing_ok=True)

    def discard(self, upload_id: str) -> None:
        """Remove what is left of an upload."""
        shutil.rmtree(self._uploads / upload_id, ignore_errors=True)

    def all(self) -> Iterator[list[str]]:
        """The digests of all blobs, a list for each folder."""
        for folder in self._folder.iterdir():
            if folder.name != _UPLOADS and folder.is_dir():
                yield [path.name for path in folder.iterdir()]

    def all_uploads(self) -> Iterable[str]:
        """The ids of uploads of which something is there."""
        return [path.name for path in self._uploads.iterdir()]

    def _install(self, path: Path, sha256: str) -> None:
        target = self.path(sha256)
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            _sync(self._folder)
        path.chmod(0o400)
        path.replace(target)
        _sync(target.parent)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _wrong_size(size: int) -> Refusal:
    return invalid(
        f"The body does not have the {size} bytes that were announced.", "Send the file as it was announced."
    )


def _no_room(error: OSError) -> Exception:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return Refusal(507, "INTERNAL_ERROR", "The server has no room for this file.", "Make room there and send it again.")
