"""One file of an artifact: on this disk, at the server, or elsewhere."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rundial.compat.wandb.errors import CommError

if TYPE_CHECKING:
    from rundial.compat.wandb._artifact_class import Artifact
    from rundial.compat.wandb._artifact_draft import Draft

COPY_BYTES = 1024 * 1024
"""A file up to this size is copied when it is added; a larger one is linked, which keeps it when it is replaced."""


class ArtifactManifestEntry:
    """A file, or a reference, by its path in the artifact.

    Args:
        owner: the artifact.
        path: its POSIX path there.
        local: where it lies on this disk.
        ref: where it lies elsewhere.
        size: in bytes.
        sha256: of its content, as the server says.
        extra: of a reference, what is known of it.
    """

    def __init__(
        self,
        owner: Draft,
        path: str,
        *,
        local: Path | None = None,
        ref: str | None = None,
        size: int | None = None,
        sha256: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.ref = ref
        self.size = local.stat().st_size if local is not None else size
        self.extra = dict(extra or {})
        self.sha256 = sha256
        self.local = local
        self._owner = cast("Artifact", owner)

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    @property
    def local_path(self) -> str | None:
        """Where it lies on this disk, if it does."""
        return None if self.local is None else str(self.local)

    @property
    def digest(self) -> str:
        """SHA-256 of a file; of a reference what is known of its content, else its URI."""
        return self.content_sha256() or str(self.extra.get("etag") or self.ref)

    def content_sha256(self) -> str | None:
        """SHA-256 of the content; None for a reference."""
        if self.sha256 is None and self.local is not None:
            with self.local.open("rb") as file:
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return self.sha256

    def parent_artifact(self) -> Artifact:
        """The artifact it belongs to."""
        return self._owner

    def ref_target(self) -> str:
        """Where a reference points to. Raises :class:`ValueError` for a file."""
        if self.ref is None:
            raise ValueError("Only reference entries support ref_target().")
        return self.ref

    def ref_url(self) -> str:
        """The address of this entry, by which another artifact may refer to it."""
        return f"wandb-artifact://{self._owner.id}/{self.path}"

    def download(self, root: str | os.PathLike[str] | None = None, **_: Any) -> str:
        """Bring it here; its place.

        Args:
            root: the folder; left out, that of :meth:`Artifact.download`.

        Raises:
            CommError: the server does not answer.
            ValueError: a reference that cannot be fetched from here.
        """
        folder = Path(root) if root is not None else self._owner.default_root()
        place = folder / self.path
        if self.ref is not None:
            fetch_reference(self.ref, place)
            return str(place)
        if self.local is not None:
            if place.resolve() != self.local.resolve():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.local, place)
            return str(place)
        return str(self._owner.stored().get_path(self.path, folder))

    def __repr__(self) -> str:
        return f"ArtifactManifestEntry(path={self.path!r}, size={self.size}, ref={self.ref!r})"


class ArtifactManifest:
    """The entries of an artifact by their paths."""

    def __init__(self, entries: dict[str, ArtifactManifestEntry]) -> None:
        self.entries = entries

    def version(self) -> int:
        """The version of the form of :meth:`to_manifest_json`."""
        return 1

    def get_entry_by_path(self, path: str) -> ArtifactManifestEntry | None:
        """One entry, or None."""
        return self.entries.get(path)

    def get_entries_in_directory(self, directory: str) -> list[ArtifactManifestEntry]:
        """All entries below a folder."""
        start = directory.rstrip("/") + "/"
        return [entry for path, entry in self.entries.items() if path.startswith(start)]

    def digest(self) -> str:
        """MD5 of the paths and digests of all entries."""
        hashed = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
        for path, entry in sorted(self.entries.items()):
            hashed.update(f"{path}:{entry.digest}\n".encode())
        return hashed.hexdigest()

    def to_manifest_json(self) -> dict[str, Any]:
        """The manifest as plain values."""
        contents: dict[str, Any] = {}
        for path, entry in sorted(self.entries.items()):
            fields = {"digest": entry.digest, "ref": entry.ref, "size": entry.size, "extra": entry.extra or None}
            contents[path] = {name: value for name, value in fields.items() if value is not None}
        return {"version": 1, "storagePolicy": "wandb-storage-policy-v1", "contents": contents}

    def __len__(self) -> int:
        return len(self.entries)


def keep(source: Path, place: Path, immutable: bool) -> None:
    """Make ``place`` what ``source`` is now: small files are copied, others linked where that is possible.

    Raises:
        OSError: it cannot be read, or there is no room.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    real = source.resolve()
    if immutable or real.stat().st_size > COPY_BYTES:
        try:
            os.link(real, place)
            return
        except OSError:
            pass  # another disk, or a file system without links
    shutil.copyfile(real, place)


def fetch_reference(uri: str, place: Path) -> None:
    """Bring what a reference points to: a file of this machine, or what HTTP gives.

    Raises:
        ValueError: another scheme; its own client has to fetch it.
        CommError: no answer.
        OSError: the file is not there.
    """
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(uri)
    place.parent.mkdir(parents=True, exist_ok=True)
    if parts.scheme == "file":
        shutil.copyfile(unquote(parts.path), place)
        return
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{uri} cannot be fetched from here; fetch it with its own client, or get ref_target().")
    import requests

    try:
        with requests.get(uri, stream=True, timeout=30) as answer:
            answer.raise_for_status()
            with place.open("wb") as file:
                for piece in answer.iter_content(COPY_BYTES):
                    file.write(piece)
    except requests.RequestException as error:
        raise CommError(f"{uri} could not be fetched: {error}", error) from error
