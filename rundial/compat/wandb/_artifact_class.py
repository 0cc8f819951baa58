"""``wandb.Artifact``: what goes into it on this disk, and one version of it as the server has it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from rundial import artifacts
from rundial.compat.wandb import _server
from rundial.compat.wandb._artifact_entry import ArtifactManifest, ArtifactManifestEntry, fetch_reference, keep
from rundial.compat.wandb.errors import CommError, Error
from rundial.config import home
from rundial.delivery import StoreClient
from rundial.http import route
from rundial.values import plain

if TYPE_CHECKING:
    from rundial.compat.wandb._run import Run

EMPTY = ".empty"
"""The file that stands in an artifact without files, which the server does not take."""
FOLDER_VARIABLE = "WANDB_ARTIFACT_DIR"
_NAME = re.compile(r"[a-zA-Z0-9_\-.]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_DESCRIPTION, _TAGS = "_description", "_tags"


class ArtifactNotLoggedError(Error, AttributeError):
    """Something that only a logged artifact has was asked of a draft."""


class ArtifactFinalizedError(Error, ValueError):
    """Something was to be added to an artifact that has been logged."""


class Artifact:
    """A set of files and references with a name, a type and versions.

    Args:
        name: letters, digits, ``-``, ``_`` and ``.``.
        type: any word, such as ``dataset`` or ``model``.
        description, metadata: what to know about it.
        incremental, use_as, storage_region: taken, without effect.

    Raises:
        ValueError: a name with other characters.
        TypeError: metadata that is no mapping.
    """

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
        storage_region: str | None = None,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(
                "Artifact name may only contain alphanumeric characters, dashes, underscores, and dots. "
                f"Invalid name: {name}"
            )
        if metadata is not None and not isinstance(metadata, Mapping):
            raise TypeError(f"metadata must be dict, not {metadata.__class__}")
        self._base_name = name
        self._type = type
        self._description = description
        self._metadata: dict[str, Any] = dict(plain(metadata or {}))
        self.incremental = incremental
        self.use_as = use_as
        self.ttl: Any = None
        self.tags: list[str] = []
        self._aliases: list[str] = []
        self._entries: dict[str, ArtifactManifestEntry] = {}
        self._added: dict[int, ArtifactManifestEntry] = {}
        self._staging: Path | None = None
        self._run: Run | None = None
        self._version: artifacts.Artifact | None = None
        self._aliases_there: list[str] = []

    @classmethod
    def of(cls, document: Mapping[str, Any], run_id: str | None = None) -> Artifact:
        """The artifact for a version that a server has."""
        found = cls.__new__(cls)
        metadata = dict(document.get("metadata") or {})
        Artifact.__init__(
            found,
            artifacts.clean_name(document["name"]).replace(" ", "_")
            if _strange(document["name"])
            else document["name"],
            str(document.get("type") or "unspecified"),
            metadata.pop(_DESCRIPTION, None),
        )
        found._base_name = str(document["name"])
        found.tags = list(metadata.pop(_TAGS, ()))
        found._metadata = metadata
        found._take(artifacts.Artifact(document, _store_client(), run_id))
        return found

    def _take(self, version: artifacts.Artifact) -> None:
        """Be this version from here on."""
        self._version = version
        self._aliases = list(dict.fromkeys(version.aliases))
        self._aliases_there = list(self._aliases)
        local = self._entries
        self._entries = {}
        for file in version.files:
            path = str(file["path"])
            if path == EMPTY:
                continue
            entry = ArtifactManifestEntry(
                self, path, ref=file.get("uri"), size=file.get("sizeBytes"), sha256=file.get("sha256"),
                extra={"etag": file["etag"]} if file.get("etag") else None,
            )  # fmt: skip
            if path in local:
                entry.local = local[path].local
            self._entries[path] = entry

    # -- what goes into it ----------------------------------------------------------------------------------------

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
        local = Path(artifacts._location(text)) if text.startswith("file://") else None
        if local is not None and checksum and not local.exists():
            raise ValueError(f"Path does not exist: {local}")
        if local is not None and local.is_dir():
            found = [path for path in sorted(local.rglob("*")) if path.is_file()][:max_objects]
            pairs = [
                (f"{name}/{path.relative_to(local).as_posix()}" if name else path.relative_to(local).as_posix(), path)
                for path in found
            ]
            return [self._refer(_inner(inner), path.resolve().as_uri(), path, checksum) for inner, path in pairs]
        return [self._refer(_inner(name or artifacts._last_part(text)), text, local, checksum)]

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

    # -- what it is -----------------------------------------------------------------------------------------------

    def is_draft(self) -> bool:
        """Whether it has not been logged."""
        return self._run is None and self._version is None

    def stored(self) -> artifacts.Artifact:
        """The version that the server has; waits for it after it has been logged.

        Raises:
            ArtifactNotLoggedError: it is a draft, or its run logs nowhere.
            CommError: the server does not answer, or refuses.
        """
        if self._version is None:
            if self._run is None:
                raise ArtifactNotLoggedError(f"{self._base_name} has not been logged; log_artifact() does it.")
            from rundial.compat.wandb._artifact import settle

            self._take(settle(self._run, self))
        assert self._version is not None
        return self._version

    def wait(self, timeout: int | None = None) -> Artifact:
        """Wait until the server has it. Raises as :meth:`stored`."""
        self.stored()
        return self

    @property
    def name(self) -> str:
        """``name``, of a version that the server has ``name:v0``."""
        return self._base_name if self._version is None else f"{self._base_name}:{self.version}"

    full_name = name

    @property
    def collection_name(self) -> str:
        """The name without the version."""
        return self._base_name

    source_collection = source_collection_name = collection_name

    @property
    def source_name(self) -> str:
        """The same as :attr:`name`."""
        return self.name

    @property
    def qualified_name(self) -> str:
        """``entity/project/name:v0``, without an entity when there is none."""
        return "/".join(part for part in (self.entity, self.project, self.name) if part)

    source_qualified_name = qualified_name

    @property
    def version(self) -> str:
        """``v0`` for the first version of its name."""
        return f"v{self.stored().version - 1}"

    source_version = version

    @property
    def id(self) -> str:
        """The server's id of this version."""
        return self.stored().id

    @property
    def type(self) -> str:
        """What kind of thing it is."""
        return self._type

    @property
    def entity(self) -> str:
        """Whose it is; an empty text, for the server has one workspace."""
        return self._run.entity if self._run is not None else ""

    source_entity = entity

    @property
    def project(self) -> str:
        """The project it is in."""
        return str(self.stored().artifact.get("projectSlug") or "")

    source_project = project

    @property
    def description(self) -> str | None:
        """What to know about it."""
        return self._description

    @description.setter
    def description(self, description: str | None) -> None:
        self._description = description

    @property
    def metadata(self) -> dict[str, Any]:
        """What to know about it, as values."""
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = dict(plain(metadata))

    @property
    def aliases(self) -> list[str]:
        """Names of this version; a list that may be changed, after which :meth:`save` makes it so."""
        if self._version is None and self._run is not None:
            self.stored()
        return self._aliases

    @aliases.setter
    def aliases(self, aliases: list[str]) -> None:
        self._aliases = list(aliases)

    @property
    def manifest(self) -> ArtifactManifest:
        """Its entries."""
        return ArtifactManifest(self._entries)

    @property
    def digest(self) -> str:
        """What identifies its content: a hash of the paths and digests of its entries."""
        return self.manifest.digest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size or 0 for entry in self._entries.values())

    @property
    def file_count(self) -> int:
        """How many files and references there are."""
        return len(self._entries)

    @property
    def state(self) -> str:
        """``PENDING`` while it is not at the server, then ``COMMITTED``."""
        return "PENDING" if self._version is None else "COMMITTED"

    @property
    def created_at(self) -> str:
        """When the server made the version, as ISO 8601."""
        from rundial.compat.wandb._api_filters import iso

        return iso(self.stored().artifact.get("createdAtMs"))

    updated_at = created_at
    commit_hash = ""
    is_link = False

    # -- getting it -----------------------------------------------------------------------------------------------

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
            place = artifacts._inside(folder, entry.path)
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

    # -- the server's side ----------------------------------------------------------------------------------------

    def save(self, project: str | None = None, settings: Any = None) -> None:
        """Log a draft to the current run, or to one for this alone; of a version, make aliases and metadata so.

        Raises:
            CommError: the server does not answer, or refuses.
        """
        from rundial.compat.wandb import _artifact

        if self.is_draft():
            _artifact.save(self, project, settings)
        else:
            _artifact.update(self)

    def new_draft(self) -> Artifact:
        """A draft with the same files, to be changed and logged as the next version. Brings the files here."""
        folder = self.stored().download(self._place("draft"))
        draft = Artifact(self._base_name, self._type, self._description, self._metadata)
        for path, entry in self._entries.items():
            if entry.ref is not None:
                draft._entries[path] = ArtifactManifestEntry(
                    draft, path, ref=entry.ref, size=entry.size, sha256=entry.sha256, extra=entry.extra
                )
            else:
                draft._add(path, folder / path, True)
        return draft

    def logged_by(self) -> Any:
        """The run that made it, as ``Api`` gives runs; None when it is gone."""
        from rundial.compat.wandb._api import Api

        maker = self.stored().run_id
        return None if maker is None else Api()._run_by_id(maker)

    def used_by(self) -> list[Any]:
        """The runs that used it, as ``Api`` gives runs."""
        from rundial.compat.wandb._api import Api

        found = _server.ask(_server.connect(), "artifact", "GET", route("artifacts", self.id))
        return [Api()._run_by_id(user["runId"]) for user in found.get("usedBy") or ()]

    def link(self, target_path: str, aliases: list[str] | None = None) -> Artifact:
        """Give this content a further name; see :func:`rundial.compat.wandb._artifact.link_artifact`."""
        from rundial.compat.wandb._artifact import link_artifact

        return link_artifact(self._run, self, target_path, aliases)

    def unlink(self) -> None:
        """Remove this version of a further name."""
        self.delete(delete_aliases=True)

    def delete(self, delete_aliases: bool = False) -> None:
        """Remove this version from the server.

        Raises:
            ValueError: it has aliases besides ``latest``, and ``delete_aliases`` is not True.
        """
        left = [alias for alias in self.aliases if alias != "latest"]
        if left and not delete_aliases:
            raise ValueError(f"{self.name} has aliases {left}; delete it with delete_aliases=True.")
        _server.ask(_server.connect(), "artifact deletion", "DELETE", route("artifacts", self.id))

    def __repr__(self) -> str:
        return f"<Artifact {self.qualified_name if self._version is not None else self._base_name}>"


def document_metadata(artifact: Artifact) -> dict[str, Any]:
    """The metadata as the server keeps it, with what it has no field of its own for."""
    extra: dict[str, Any] = {_DESCRIPTION: artifact.description, _TAGS: list(artifact.tags)}
    return {**dict(plain(artifact.metadata)), **{name: value for name, value in extra.items() if value}}


def _strange(name: object) -> bool:
    return not _NAME.fullmatch(str(name))


def _inner(name: str) -> str:
    path = os.path.normpath(name.replace("\\", "/")).lstrip("/")
    if path.startswith("..") or path in ("", "."):
        raise ValueError(f"Artifact paths must stay inside the artifact: {name!r}")
    return path


def _store_client() -> StoreClient:
    client = _server.connect()
    return StoreClient(client.endpoint, client.api_key, 20.0, artifacts.DOWNLOADS_AT_ONCE)
