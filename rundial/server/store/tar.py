"""The pieces of a tar archive: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html, with pax headers
for what does not fit into the older ones. An archive is, for each file, a header, its bytes and their padding; then the
end."""

from __future__ import annotations

import tarfile

END = bytes(2 * tarfile.BLOCKSIZE)
_LARGE = 8**11
"""Bytes that the older header has no room for."""


def header(path: str, size: int, modified: int) -> bytes:
    """What stands before the bytes of a file of ``size`` bytes, last ``modified`` at that many Unix seconds."""
    info = tarfile.TarInfo(path)
    info.size, info.mtime = size, modified
    return info.tobuf(tarfile.PAX_FORMAT)


def header_size(path: str, size: int) -> int:
    """The length of :func:`header`, which most often need not be made for it."""
    fits = path.isascii() and len(path) <= tarfile.LENGTH_NAME and size < _LARGE
    return tarfile.BLOCKSIZE if fits else len(header(path, size, 0))


def padding(size: int) -> int:
    """How many zeros follow a file of ``size`` bytes."""
    return -size % tarfile.BLOCKSIZE
