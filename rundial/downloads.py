"""Files out of an artifact store: each is verified before it has its name; a server that is silent is asked again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rundial.delivery import Refusal, StoreClient
from rundial.errors import RundialError, UnreachableError
from rundial.transport import delay

T = TypeVar("T")
AT_ONCE = 4
PATIENCE_SECONDS = 5.0
"""How long a server that does not answer, or does not know the run yet, is asked again."""
TRIES = 3


def fetch(client: StoreClient, owner: Mapping[str, Any], file: Mapping[str, Any], root: Path, place: Path) -> None:
    """Bring one file of an artifact; one that is there already and is right is left alone.

    Args:
        client: the store.
        owner: what the server wants to hear of the artifact: its id, and the run it is asked for.
        file: what the server says of the file.
        root: the folder that it must not leave.
        place: where it goes.

    Raises:
        RundialError: a link leads out of the folder, or what came is not what was stored.
        RequestError: the server refuses or does not answer.
        OSError: the place cannot be written.
    """
    path, size, digest = str(file["path"]), file.get("sizeBytes"), file.get("sha256")
    if _is_right(place, size, digest):
        return
    if not place.parent.resolve().is_relative_to(root.resolve()):
        raise RundialError(f"{path!r} leads out of {root} through a symbolic link; nothing was written there.")
    place.parent.mkdir(parents=True, exist_ok=True)

    def transfer() -> None:
        found = client.call("artifacts/download", {**owner, "path": path})
        with client.open(str(found["url"])) as pieces:
            _write(place, pieces, size, digest, path)

    patiently(client, transfer, TRIES)


def patiently(client: StoreClient, call: Callable[[], T], tries: int | None) -> T:
    """Call again while the server does not answer: ``tries`` times, or for some seconds. Raises what is to be said."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    attempt = 0
    while True:
        attempt += 1
        try:
            return call()
        except Refusal as refusal:
            over = time.monotonic() >= deadline if tries is None else attempt >= tries
            if refusal.outcome.verdict == "retry" and not over:
                time.sleep(min(delay(refusal.outcome, attempt), PATIENCE_SECONDS))
                continue
            error = refusal.error
            if error.status_code is None:
                raise UnreachableError(f"{error}. Is the server running, and is this its address?") from None
            raise error from None
        except _Torn as torn:
            if attempt >= TRIES:
                raise RundialError(f"{torn} Nothing of it was kept.") from None


class _Torn(Exception):
    """What came is not what was stored."""


def _write(place: Path, pieces: Iterator[bytes], size: object, digest: object, path: str) -> None:
    import hashlib

    draft = place.with_name(f".{place.name[:100]}.{os.urandom(6).hex()}.part")
    hashed = hashlib.sha256()
    length = 0
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        with open(fd, "wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)
                hashed.update(piece)
                length += len(piece)
        if (isinstance(size, int) and length != size) or (digest and hashed.hexdigest() != digest):
            raise _Torn(f"{path!r} did not come as it was stored: {length:,} bytes, of a different content.")
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def _is_right(place: Path, size: object, digest: object) -> bool:
    import hashlib

    if not digest or place.is_symlink() or not place.is_file() or place.stat().st_size != size:
        return False
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest
