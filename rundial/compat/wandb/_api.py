"""``wandb.Api``: runs, files and artifacts of a server, read over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rundial import artifact_paths
from rundial.client import HttpClient
from rundial.compat.wandb import _server
from rundial.compat.wandb._api_filters import matches, ordered
from rundial.compat.wandb._api_run import ApiRun
from rundial.compat.wandb._artifact import reference_of
from rundial.compat.wandb._artifact_class import Artifact
from rundial.compat.wandb.errors import CommError
from rundial.config import resolve
from rundial.http import Json, route


class Api:
    """Asks a server: the configured one, else this machine's own. No network is used until something is asked.

    Args:
        overrides: ``entity``, ``project`` to be used where a path names none, ``base_url``.
        timeout: seconds to wait for an answer.
        api_key: taken, without effect: the key of the server is configured.
    """

    def __init__(
        self, overrides: Mapping[str, Any] | None = None, timeout: float | None = None, api_key: str | None = None
    ) -> None:
        self.settings: dict[str, Any] = {"entity": "", "project": None, **dict(overrides or {})}
        self._timeout = timeout
        self._known: HttpClient | None = None

    @property
    def client(self) -> HttpClient:
        """The connection. Raises :class:`CommError` when no server is there."""
        if self._known is None:
            base_url = self.settings.get("base_url")
            ours = base_url if base_url and "wandb.ai" not in str(base_url) else None
            self._known = _server.connect(ours, self._timeout)
        return self._known

    @property
    def default_entity(self) -> str:
        """The entity that was set; else the configured workspace, as ``run.entity``."""
        return str(self.settings.get("entity") or resolve({}).workspace)

    @property
    def api_key(self) -> str:
        """Never empty, so that nobody asks for one."""
        return "local"

    @property
    def viewer(self) -> Any:
        """Who is asking: an object with ``username`` and ``entity``."""
        from types import SimpleNamespace

        return SimpleNamespace(username=self.default_entity, entity=self.default_entity, teams=[])

    def flush(self) -> None:
        """Nothing to do: nothing is kept between calls."""

    # -- projects and runs ----------------------------------------------------------------------------------------

    def projects(self, entity: str | None = None, per_page: int = 200) -> list[Project]:
        """All projects. Raises :class:`CommError` when the server does not answer."""
        path = route("workspaces", _server.workspace(), "projects")
        return [
            Project(self, row["projectSlug"], row) for row in _server.rows(self.client, "projects", path, "projects")
        ]

    def project(self, name: str, entity: str | None = None) -> Project:
        """One project by its name, whether it is there or not."""
        return Project(self, name, {})

    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str | None = "+created_at",
        per_page: int = 50,
        include_sweeps: bool = True,
        lazy: bool = True,
    ) -> Runs:
        """The runs of a project, which are asked for when they are first looked at.

        Args:
            path: ``entity/project`` or ``project``.
            filters: in the language of MongoDB, over ``config.x``, ``summary_metrics.x``, ``state``, ``display_name``,
                ``tags``, ``group``, ``job_type``, ``created_at`` and so on.
            order: a key with ``-`` before it for the largest first.
        """
        return Runs(self, self._project(path), filters, order)

    def run(self, path: str = "") -> ApiRun:
        """One run by ``entity/project/run_id``, or its id alone.

        Raises:
            CommError: there is no such run.
        """
        return self._run_by_id(path.strip("/").rpartition("/")[2])

    def _run_by_id(self, run_id: str) -> ApiRun:
        return ApiRun(self, _server.ask(self.client, "run", "GET", route("runs", run_id)))

    def _project(self, path: str | None) -> str:
        name = (path or "").strip("/").rpartition("/")[2] or self.settings.get("project") or resolve({}).project
        return str(name)

    def sweep(self, path: str = "") -> Any:
        """One sweep by ``entity/project/sweep_id``. Raises :class:`CommError` when there is none."""
        from rundial.compat.wandb._api_sweep import ApiSweep

        *place, sweep_id = path.strip("/").split("/")
        return ApiSweep(self, sweep_id, next((part for part in reversed(place) if part != "sweeps"), ""))

    def from_path(self, path: str) -> Any:
        """A project, run, sweep or artifact by its path."""
        parts = path.strip("/").split("/")
        if ":" in parts[-1]:
            return self.artifact(path)
        if "sweeps" in parts:
            return self.sweep(parts[-1])
        if len(parts) >= 3:
            return self.run("/".join(part for part in parts if part != "runs"))
        return self.project(parts[-1])

    # -- artifacts ------------------------------------------------------------------------------------------------

    def artifact(self, name: str, type: str | None = None) -> Artifact:
        """One version by ``project/name:alias``, as ``use_artifact`` finds it, without a run that uses it.

        Raises:
            CommError: there is none, or no server answers.
            ValueError: it is of another type.
        """
        project, collection, alias = reference_of(name)
        for version in self._versions(self._project(project), collection):
            wanted = f"v{version['version']}" == alias or alias in version.get("aliases", ())
            if wanted or version["artifactId"] == collection:
                if type is not None and version.get("type") != type:
                    raise ValueError(f"type {type} specified but this artifact is of type {version.get('type')}")
                return self._artifact_by_id(version["artifactId"])
        raise CommError(f"artifact {name!r} was not found in {self._project(project)!r}.")

    def _artifact_by_id(self, artifact_id: str) -> Artifact:
        path = route("artifacts", artifact_id)
        return Artifact.of(_server.ask(self.client, "artifact", "GET", path, limit=artifact_paths.MAX_FILES))

    def _versions(self, project: str, name: str | None = None, type: str | None = None) -> Iterator[Json]:
        """Newest first."""
        path = route("projects", project, "artifacts")
        return _server.rows(self.client, "artifacts", path, "artifacts", name=name, type=type)

    def artifacts(
        self, type_name: str, name: str, per_page: int = 50, tags: Sequence[str] | None = None
    ) -> list[Artifact]:
        """All versions of a name, newest first; ``name`` may have a project before it."""
        project, collection, _ = reference_of(name)
        found = self._versions(self._project(project), collection, type_name)
        versions = [self._artifact_by_id(version["artifactId"]) for version in found]
        return [version for version in versions if not tags or set(tags) <= set(version.tags)]

    artifact_versions = artifacts

    def artifact_exists(self, name: str, type: str | None = None) -> bool:
        """Whether there is such a version."""
        try:
            self.artifact(name, type)
        except (CommError, ValueError):
            return False
        return True

    def artifact_type(self, type_name: str, project: str | None = None) -> ArtifactType:
        """A type of artifacts in a project."""
        return ArtifactType(self, self._project(project), type_name)

    def artifact_types(self, project: str | None = None) -> list[ArtifactType]:
        """The types of artifacts in a project."""
        known = {str(row["type"]) for row in self._versions(self._project(project)) if row.get("type")}
        return [ArtifactType(self, self._project(project), name) for name in sorted(known)]

    def artifact_collection(self, type_name: str, name: str) -> ArtifactCollection:
        """All versions of one name."""
        project, collection, _ = reference_of(name)
        return ArtifactCollection(self, self._project(project), type_name, collection)

    def artifact_collections(self, project_name: str, type_name: str, per_page: int = 50) -> list[ArtifactCollection]:
        """The names of artifacts of one type in a project."""
        return self.artifact_type(type_name, project_name).collections()


class Project:
    """A project: ``name``, ``id``, and what is in it."""

    def __init__(self, api: Api, name: str, document: Json) -> None:
        self.name = name
        self.entity = api.default_entity
        self.id = document.get("projectId", name)
        self._api = api

    @property
    def path(self) -> list[str]:
        """Entity and name."""
        return [self.entity, self.name]

    def runs(self, **arguments: Any) -> Runs:
        """Its runs; see :meth:`Api.runs`."""
        return self._api.runs(self.name, **arguments)

    def artifacts_types(self, per_page: int = 50) -> list[ArtifactType]:
        """The types of its artifacts."""
        return self._api.artifact_types(self.name)

    def __repr__(self) -> str:
        return f"<Project {'/'.join(part for part in self.path if part)}>"


class Runs:
    """Runs of a project, to be gone through, counted or taken by number."""

    def __init__(self, api: Api, project: str, filters: Mapping[str, Any] | None, order: str | None) -> None:
        self.project = project
        self.filters = dict(filters or {})
        self.order = order
        self._api = api
        self._found: list[ApiRun] | None = None

    def _load(self) -> list[ApiRun]:
        if self._found is None:
            path = route("workspaces", _server.workspace(), "projects", self.project, "runs", "query")
            try:
                known = list(_server.rows(self._api.client, "runs", path, "runs", order="asc"))
            except CommError as error:
                if _server.status_of(error) == 404:
                    raise ValueError(f"Could not find project {self.project}") from error
                raise
            chosen = [run for run in known if matches(run, self.filters)]
            self._found = [ApiRun(self._api, run) for run in ordered(chosen, self.order)]
        return self._found

    def __iter__(self) -> Iterator[ApiRun]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())

    def __getitem__(self, index: Any) -> Any:
        return self._load()[index]

    def histories(
        self, samples: int = 500, keys: Sequence[str] | None = None, x_axis: str = "_step", format: str = "default"
    ) -> Any:
        """The histories of all of them, each row with its ``run_id``.

        Args:
            samples, keys, x_axis: as in :meth:`ApiRun.history`.
            format: ``default`` for a list, ``pandas`` for a data frame.
        """
        rows = [
            {**row, "run_id": run.id}
            for run in self
            for row in run.history(samples=samples, keys=keys, x_axis=x_axis, pandas=False)
        ]
        if format != "pandas":
            return rows
        import pandas as pd

        return pd.DataFrame.from_records(rows)

    def __repr__(self) -> str:
        return f"<Runs {self.project}>"


class ArtifactType:
    """A type of artifacts in a project."""

    def __init__(self, api: Api, project: str, name: str) -> None:
        self.name = self.type = name
        self.project = project
        self._api = api

    def collections(self, per_page: int = 50) -> list[ArtifactCollection]:
        """The names of this type."""
        known = dict.fromkeys(str(row["name"]) for row in self._api._versions(self.project, type=self.name))
        return [ArtifactCollection(self._api, self.project, self.name, name) for name in known]

    def collection(self, name: str) -> ArtifactCollection:
        """One name of this type."""
        return ArtifactCollection(self._api, self.project, self.name, name)

    def __repr__(self) -> str:
        return f"<ArtifactType {self.name}>"


class ArtifactCollection:
    """All versions of one name."""

    def __init__(self, api: Api, project: str, type: str, name: str) -> None:
        self.name = name
        self.type = type
        self.project = project
        self._api = api

    def artifacts(self, per_page: int = 50) -> list[Artifact]:
        """Its versions, newest first."""
        return self._api.artifacts(self.type, f"{self.project}/{self.name}")

    versions = artifacts

    @property
    def aliases(self) -> list[str]:
        """The names that its versions have."""
        rows = self._api._versions(self.project, self.name, self.type)
        return list(dict.fromkeys(alias for row in rows for alias in row.get("aliases", ())))

    def __repr__(self) -> str:
        return f"<ArtifactCollection {self.name} ({self.type})>"
