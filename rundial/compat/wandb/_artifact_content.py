"""Getting what is in an artifact: whole folders, single files, tables and media."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rundial import artifact_paths, artifacts
from rundial.compat.wandb._artifact_draft import Draft
from rundial.compat.wandb._artifact_entry import ArtifactManifestEntry, fetch_reference
from rundial.compat.wandb.errors import CommError

FOLDER_VARIABLE = "WANDB_ARTIFACT_DIR"


class Content(Draft):
    """The files of an artifact as they can be read, from this disk or from the server."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self._base_name

    def stored(self) -> artifacts.Artifact:
        """The version that the server has."""
        raise NotImplementedError

    def default_root(self) -> Path:
        """Where :meth:`download` puts it when it is not told: ``./artifacts/name:v0``."""
        base = Path(os.environ.get(FOLDER_VARIABLE) or "artifacts")
        return (base / self.name.replace("/", "-")).absolute()

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: str | os.PathLike[str] | None = None,
        multipart: bool | None = None,
    ) -> str:
        """Bring all files here, or those whose path begins with ``path_prefix``, and give the folder.

        Raises:
            CommError: the server does not answer.
            ValueError: a reference that cannot be fetched from here, unless ``allow_missing_references``.
        """
        version = self.stored()
        folder = Path(root) if root is not None else self.default_root()
        start = os.fspath(path_prefix) if path_prefix is not None else ""
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [entry for path, entry in self._entries.items() if path.startswith(start)]
        if len(wanted) == len(self._entries) and self._entries:
            version.download(folder)
            wanted = [entry for entry in wanted if entry.ref is not None]
        for entry in wanted:
            place = artifact_paths.inside(folder, entry.path)
            if entry.ref is None:
                version.get_path(entry.path, folder)
                continue
            try:
                fetch_reference(entry.ref, place)
            except (ValueError, CommError, OSError):
                if not allow_missing_references:
                    raise
        return str(folder)

    def checkout(self, root: str | None = None) -> str:
        """As :meth:`download`, and remove from the folder what is not in the artifact."""
        folder = Path(self.download(root))
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.relative_to(folder).as_posix() not in self._entries:
                path.unlink()
        return str(folder)

    def verify(self, root: str | None = None) -> None:
        """Compare a folder with the artifact. Raises :class:`ValueError` for a file too many, missing or different."""
        folder = Path(root) if root is not None else self.default_root()
        for place in sorted(folder.rglob("*")):
            if place.is_file() and place.relative_to(folder).as_posix() not in self._entries:
                raise ValueError(f"Found file {place} which is not a member of artifact {self.name}")
        for path, entry in self._entries.items():
            wanted = entry.content_sha256()
            if wanted is None:
                continue
            if not (folder / path).is_file():
                raise ValueError(f"Missing file {path} of artifact {self.name}")
            if ArtifactManifestEntry(self, path, local=folder / path).content_sha256() != wanted:
                raise ValueError(f"Digest mismatch for file: {folder / path}")

    def get_entry(self, name: str | os.PathLike[str]) -> ArtifactManifestEntry:
        """One file by its path, or by the name of the object it came from. Raises :class:`KeyError`."""
        from rundial.compat.wandb._artifact_media import entry_of

        entry = self._entries.get(os.fspath(name)) or entry_of(self, os.fspath(name))
        if entry is None:
            raise KeyError(f"Path not contained in artifact: {name}")
        return entry

    def get_path(self, name: str | os.PathLike[str]) -> ArtifactManifestEntry:
        """The same as :meth:`get_entry`."""
        return self.get_entry(name)

    def get(self, name: str) -> Any:
        """The table or media that was added under this name; None when there is none."""
        from rundial.compat.wandb._artifact_media import get

        return get(self, name)

    def get_added_local_path_name(self, local_path: str) -> str | None:
        """The path in the artifact of a file that was added; None when it was not."""
        try:
            wanted = ArtifactManifestEntry(self, "", local=Path(local_path)).content_sha256()
        except OSError:
            return None
        return next((path for path, entry in self._entries.items() if entry.content_sha256() == wanted), None)

    def file(self, root: str | None = None) -> str:
        """Bring the only file here. Raises :class:`ValueError` when there are more."""
        if len(self._entries) != 1:
            raise ValueError("This artifact contains more than one file, call `.download()` to get all files.")
        return next(iter(self._entries.values())).download(root)

    def files(self, names: list[str] | None = None, per_page: int = 50) -> list[ArtifactManifestEntry]:
        """The entries, or those with these paths."""
        return [entry for path, entry in self._entries.items() if names is None or path in names]

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __setitem__(self, name: str, item: Any) -> None:
        self.add(item, name)
