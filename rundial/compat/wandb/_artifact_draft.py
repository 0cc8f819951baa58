"""What goes into an artifact before it is logged: files, folders, references and media."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from rundial import artifact_paths
from rundial.compat.wandb._artifact_entry import ArtifactManifest, ArtifactManifestEntry, keep
from rundial.compat.wandb.errors import Error
from rundial.config import home

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


class ArtifactFinalizedError(Error, ValueError):
    """Something was to be added to an artifact that has been logged."""


class Draft:
    """The files of an artifact that has not been logged, kept as they are when they are added.

    Args:
        name: of the artifact.
    """

    def __init__(self, name: str) -> None:
        self._base_name = name
        self._entries: dict[str, ArtifactManifestEntry] = {}
        self._added: dict[int, ArtifactManifestEntry] = {}
        self._staging: Path | None = None

    def is_draft(self) -> bool:
        """Whether something may be added."""
        return True

    @property
    def manifest(self) -> ArtifactManifest:
        """Its entries."""
        return ArtifactManifest(self._entries)

    def add_file(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: Literal["mutable", "immutable"] | None = "mutable",
        overwrite: bool = False,
    ) -> ArtifactManifestEntry:
        """Add one file as it is now, under its own name or ``name``.

        Raises:
            ValueError: there is no such file, or it has been logged already.
        """
        self._check_open()
        source = Path(local_path)
        if not source.is_file():
            raise ValueError(f"Path is not a file: {local_path!r}")
        return self._add(_inner(name or source.name), source, policy == "immutable")

    def add_dir(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        skip_cache: bool | None = False,
        policy: Literal["mutable", "immutable"] | None = "mutable",
        merge: bool = False,
    ) -> None:
        """Add all files below a folder, with their paths in it, below ``name``.

        Raises:
            ValueError: there is no such folder, or it has been logged already.
        """
        self._check_open()
        root = Path(local_path)
        if not root.is_dir():
            raise ValueError(f"Path is not a directory: {local_path!r}")
        for folder, _, files in os.walk(root, followlinks=True):
            for file in sorted(files):
                source = Path(folder) / file
                if source.is_file():
                    inner = source.relative_to(root).as_posix()
                    self._add(_inner(f"{name}/{inner}" if name else inner), source, policy == "immutable")

    @contextmanager
    def new_file(self, name: str, mode: str = "x", encoding: str | None = None) -> Iterator[IO[Any]]:
        """A new file of the artifact, open to be written: ``with artifact.new_file("notes.txt") as file``.

        Raises:
            ValueError: there is such a file already, unless ``mode`` says otherwise, or it has been logged.
        """
        self._check_open()
        path = _inner(name)
        if "x" in mode and path in self._entries:
            raise ValueError(f"File with name {name!r} already exists at {self._entries[path].local_path!r}")
        place = self._place(path)
        place.unlink(missing_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open(mode.replace("x", "w"), encoding=None if "b" in mode else encoding or "utf-8") as file:
            yield file
        self._entries[path] = ArtifactManifestEntry(self, path, local=place)

    def add_reference(
        self, uri: Any, name: str | None = None, checksum: bool = True, max_objects: int | None = None
    ) -> list[ArtifactManifestEntry]:
        """Point to something that stays where it is; a ``file://`` folder to each of its files.

        Raises:
            ValueError: no URI, or it has been logged already.
        """
        self._check_open()
        if isinstance(uri, ArtifactManifestEntry):
            uri, name = uri.ref or uri.ref_url(), name or uri.path
        text = str(uri)
        if not _URI.match(text):
            raise ValueError(f"References must be URIs. To reference a local file, use file://. Not {text!r}")
        local = Path(artifact_paths.location(text)) if text.startswith("file://") else None
        if local is not None and checksum and not local.exists():
            raise ValueError(f"Path does not exist: {local}")
        if local is not None and local.is_dir():
            found = [path for path in sorted(local.rglob("*")) if path.is_file()][:max_objects]
            pairs = [
                (f"{name}/{path.relative_to(local).as_posix()}" if name else path.relative_to(local).as_posix(), path)
                for path in found
            ]
            return [self._refer(_inner(inner), path.resolve().as_uri(), path, checksum) for inner, path in pairs]
        return [self._refer(_inner(name or artifact_paths.last_part(text)), text, local, checksum)]

    def _refer(self, path: str, uri: str, local: Path | None, checksum: bool) -> ArtifactManifestEntry:
        entry = ArtifactManifestEntry(self, path, ref=uri)
        if local is not None and checksum:
            known = ArtifactManifestEntry(self, path, local=local)
            entry.size, entry.sha256 = known.size, known.content_sha256()
        self._entries[path] = entry
        return entry

    def add(self, obj: Any, name: str, overwrite: bool = False) -> ArtifactManifestEntry:
        """Add a table, an image or other media, for :meth:`get` to give back.

        Raises:
            ValueError: no media of this kind, or it has been logged already.
        """
        from rundial.compat.wandb._artifact_media import add

        self._check_open()
        return add(self, obj, name)

    def remove(self, item: Any) -> None:
        """Take a file, or all below a folder, out again. Raises :class:`FileNotFoundError` when there is none."""
        self._check_open()
        path = item.path if isinstance(item, ArtifactManifestEntry) else _inner(str(item))
        gone = [known for known in self._entries if known == path or known.startswith(f"{path}/")]
        if not gone:
            raise FileNotFoundError(f"No such file or directory: {path}")
        for known in gone:
            del self._entries[known]

    def _add(self, path: str, source: Path, immutable: bool) -> ArtifactManifestEntry:
        place = self._place(path)
        keep(source, place, immutable)
        entry = self._entries[path] = ArtifactManifestEntry(self, path, local=place)
        return entry

    def _place(self, path: str) -> Path:
        if self._staging is None:
            root = home() / "staging"
            try:
                root.mkdir(parents=True, exist_ok=True)
                self._staging = Path(tempfile.mkdtemp(prefix="wandb-", dir=root))
            except OSError:
                self._staging = Path(tempfile.mkdtemp(prefix="rundial-wandb-"))
            weakref.finalize(self, shutil.rmtree, self._staging, True)
        return self._staging / path

    def _check_open(self) -> None:
        if not self.is_draft():
            raise ArtifactFinalizedError(
                f"{self._base_name} has been logged and cannot change. Make a draft of it with new_draft()."
            )


def _inner(name: str) -> str:
    path = os.path.normpath(name.replace("\\", "/")).lstrip("/")
    if path.startswith("..") or path in ("", "."):
        raise ValueError(f"Artifact paths must stay inside the artifact: {name!r}")
    return path
