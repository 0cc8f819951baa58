"""``wandb.Artifact``: what goes into it on this disk, and one version of it as the server has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rundial import artifact_paths, artifacts, downloads
from rundial.compat.wandb import _server
from rundial.compat.wandb._artifact_content import Content
from rundial.compat.wandb._artifact_entry import ArtifactManifestEntry
from rundial.compat.wandb.errors import Error
from rundial.delivery import StoreClient
from rundial.http import route
from rundial.values import plain

if TYPE_CHECKING:
    from rundial.compat.wandb._run import Run

EMPTY = ".empty"
"""The file that stands in an artifact without files, which the server does not take."""
_NAME = re.compile(r"[a-zA-Z0-9_\-.]+")
_DESCRIPTION, _TAGS = "_description", "_tags"


class ArtifactNotLoggedError(Error, AttributeError):
    """Something that only a logged artifact has was asked of a draft."""


class Artifact(Content):
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
        super().__init__(name)
        self._type = type
        self._description = description
        self._metadata: dict[str, Any] = dict(plain(metadata or {}))
        self.incremental = incremental
        self.use_as = use_as
        self.ttl: Any = None
        self.tags: list[str] = []
        self._aliases: list[str] = []
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
            artifact_paths.clean_name(document["name"]).replace(" ", "_")
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


def _store_client() -> StoreClient:
    client = _server.connect()
    return StoreClient(client.endpoint, client.api_key, 20.0, downloads.AT_ONCE)
