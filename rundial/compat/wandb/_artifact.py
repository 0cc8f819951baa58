"""Logging, using and linking artifacts: what the calls of a run do with :class:`Artifact`."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rundial import artifact_paths, artifacts, downloads
from rundial.compat.wandb import _server
from rundial.compat.wandb._artifact_class import EMPTY, Artifact, ArtifactNotLoggedError, document_metadata
from rundial.compat.wandb._artifact_draft import _URI, ArtifactFinalizedError
from rundial.compat.wandb.errors import CommError, UsageError
from rundial.errors import RequestError
from rundial.http import given, route
from rundial.staging import COPY_BYTES, Job, Reference, remove_job, stage_file

if TYPE_CHECKING:
    from rundial.compat.wandb._run import Run

__all__ = [
    "Artifact",
    "ArtifactFinalizedError",
    "ArtifactNotLoggedError",
    "finish_artifact",
    "link_artifact",
    "link_model",
    "log_artifact",
    "log_model",
    "upsert_artifact",
    "use_artifact",
    "use_model",
]

WAIT_SECONDS = 60.0
_kept: list[Artifact] = []
"""Artifacts whose files the background still has to copy: their folders must live as long."""


# -- logging -----------------------------------------------------------------------------------------------------------


def log_artifact(
    run: Run,
    artifact_or_path: Any,
    name: str | None = None,
    type: str | None = None,
    aliases: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
) -> Artifact:
    """Store an artifact, a file, a folder or a reference as the next version of its name. Waits for nothing.

    Args:
        run: the run that makes it.
        artifact_or_path: what it is.
        name: of a path; left out, ``run-<id>-<file name>``.
        type: of a path; left out, ``unspecified``.
        aliases: names of this version besides ``latest``.
        tags: kept with its metadata.

    Raises:
        ValueError: a path that is not there.
        UsageError: the run has ended.
    """
    run._check("log_artifact")
    artifact = _artifact(run, artifact_or_path, name, type)
    artifact.tags += [tag for tag in tags or () if tag not in artifact.tags]
    wanted = [aliases] if isinstance(aliases, str) else list(aliases or ())
    if not artifact.is_draft():
        artifact.aliases = list(dict.fromkeys([*artifact.aliases, *wanted]))
        if artifact.state == "COMMITTED":
            update(artifact)
        return artifact
    _submit(run, artifact, artifact._base_name, wanted)
    artifact._run = run
    return artifact


def upsert_artifact(run: Run, artifact_or_path: Any, *args: Any, **kwargs: Any) -> Artifact:
    """As :func:`log_artifact`: what several processes log to one name becomes a version each."""
    kwargs.pop("distributed_id", None)
    return log_artifact(run, artifact_or_path, *args, **kwargs)


finish_artifact = upsert_artifact


def _artifact(run: Run, artifact_or_path: Any, name: str | None, type: str | None) -> Artifact:
    if isinstance(artifact_or_path, Artifact):
        return artifact_or_path
    text = os.fspath(artifact_or_path)
    default = f"run-{run.id}-{artifact_paths.last_part(text)}"
    artifact = Artifact(re.sub(r"[^a-zA-Z0-9_\-.]", "_", name or default), type or "unspecified")
    if _URI.match(text):
        artifact.add_reference(text)
    elif Path(text).is_dir():
        artifact.add_dir(text)
    elif Path(text).is_file():
        artifact.add_file(text)
    else:
        raise ValueError(f"path must be a file, directory or external reference like s3://bucket/path, not {text!r}")
    return artifact


def _submit(run: Run, artifact: Artifact, name: str, aliases: list[str]) -> None:
    """Hand the files to the upload threads; what goes wrong is counted and warned about, as for every upload."""
    pipeline = run.sink._writable()
    if pipeline is None:
        return
    entries = artifact.manifest.entries
    uploads = pipeline.uploads
    job = Job(
        artifact_paths.clean_name(name),
        type=artifact.type,
        aliases=aliases,
        metadata=document_metadata(artifact),
        references=[
            Reference(path, entry.ref, entry.size, entry.sha256, entry.extra.get("etag"))
            for path, entry in sorted(entries.items())
            if entry.ref is not None
        ],
        time_ns=time.time_ns(),
    )
    files = [(path, entry.local) for path, entry in sorted(entries.items()) if entry.ref is None and entry.local]
    if not files and not job.references:
        place = artifact._place(EMPTY)
        place.write_bytes(b"")
        files = [(EMPTY, place)]
    small = sum(path.stat().st_size for _, path in files[: artifacts.MOST_COPIED]) <= COPY_BYTES
    small = small and len(files) <= artifacts.MOST_COPIED
    try:
        folder = uploads.new_folder()
    except OSError as error:
        uploads.refuse("artifact", "unwritable", f"artifact was not stored: the spool cannot be written: {error}.")
        return
    try:
        for number, (path, place) in enumerate(files):
            job.files.append(stage_file(place, folder, str(number), artifact_paths.clean_path(path), small))
    except (OSError, ValueError) as error:
        remove_job(folder)
        uploads.refuse("artifact", "unreadable", f"artifact {name} was not stored: {error}.")
        return
    if any(file.staged is None for file in job.files):
        _kept.append(artifact)
    uploads.submit_staged(folder, job)


def settle(run: Run, artifact: Artifact) -> artifacts.Artifact:
    """The version that an artifact became; waits for its upload.

    Raises:
        ArtifactNotLoggedError: the run is offline or disabled, so no server has it.
        CommError: no server is there, or it has not got it in time.
    """
    if run.offline or run.disabled:
        raise ArtifactNotLoggedError(f"{artifact.name} has no version: its run is {run.mode}.")
    client = _server.connect(run.sink._settings.endpoint)
    if not run.sink.flush(WAIT_SECONDS):
        raise CommError(f"{artifact.name} did not reach {client.endpoint} within {WAIT_SECONDS:g} s.")
    wanted = {path: entry.content_sha256() for path, entry in artifact.manifest.entries.items()}
    query = {"name": artifact_paths.clean_name(artifact._base_name)}
    for row in _server.rows(
        client, "artifacts", route("projects", _project_id(run), "artifacts"), "artifacts", **query
    ):
        found = document(client, row["artifactId"])
        if {file["path"]: file.get("sha256") for file in found["files"] if file["path"] != EMPTY} == wanted:
            return artifacts.Artifact(found, _store(client), run.id)
    raise CommError(f"{artifact.name} is not at {client.endpoint}; run.sink.diagnostics() says what became of it.")


def document(client: Any, artifact_id: str) -> dict[str, Any]:
    """A version with all its files."""
    return _server.ask(client, "artifact", "GET", route("artifacts", artifact_id), limit=artifact_paths.MAX_FILES)


def _store(client: Any) -> Any:
    from rundial.delivery import StoreClient

    return StoreClient(client.endpoint, client.api_key, 20.0, downloads.AT_ONCE)


def _project_id(run: Run) -> str:
    return run.sink.project_id


# -- using -------------------------------------------------------------------------------------------------------------


def reference_of(name: str) -> tuple[str | None, str, str]:
    """``entity/project/name:v0`` as project, name and the server's alias.

    W&B counts versions from v0, the server from v1. A registry has no project here: its names are the run's own.
    """
    path, _, alias = name.removeprefix("wandb-artifact://").partition(":")
    parts = path.split("/")
    if len(parts) > 3:
        raise ValueError(f"Invalid artifact path: {name}")
    project = parts[-2] if len(parts) > 1 else None
    if project is not None and (project == "model-registry" or project.startswith("wandb-registry-")):
        project = None
    alias = alias or "latest"
    if re.fullmatch(r"v\d+", alias):
        alias = f"v{int(alias[1:]) + 1}"
    return project, parts[-1], alias


def use_artifact(
    run: Run,
    artifact_or_name: Any,
    type: str | None = None,
    aliases: Sequence[str] | None = None,
    use_as: str | None = None,
) -> Artifact:
    """Look a version up, and note that the run uses it. A draft is logged first. Waits for the server.

    Args:
        run: the run that uses it.
        artifact_or_name: ``name``, ``name:v0``, ``name:alias``, with ``project/`` before it, or an artifact.
        type: what it must be.
        aliases, use_as: aliases are given to a draft; ``use_as`` has no effect.

    Raises:
        CommError: there is no such artifact, or no server answers.
        ValueError: it is of another type.
    """
    run._check("use_artifact")
    if isinstance(artifact_or_name, Artifact):
        artifact = artifact_or_name
        if artifact.is_draft():
            log_artifact(run, artifact, aliases=aliases)
        if run.offline or run.disabled:
            return artifact
        _note_use(run, artifact.id)
        return artifact
    if run.offline or run.disabled:
        raise TypeError("Cannot use artifact when in offline mode.")
    project, name, alias = reference_of(str(artifact_or_name))
    pipeline = run.sink._opened
    if pipeline is not None and pipeline.uploads.pending:
        run.sink.flush(WAIT_SECONDS)  # what this run has just logged is meant, too
    found = _note_use(run, f"{project}/{name}:{alias}" if project else f"{name}:{alias}")
    artifact = Artifact.of(found.artifact, run.id)
    artifact._run = run
    if type is not None and artifact.type != type:
        raise ValueError(f"Supplied type {type} does not match type {artifact.type} of artifact {artifact.name}")
    return artifact


def _note_use(run: Run, reference: str) -> artifacts.Artifact:
    try:
        return run.sink.use_artifact(reference)
    except RequestError as error:
        raise CommError(f"artifact {reference!r} was not found: {error}", error) from error


# -- changing what is there --------------------------------------------------------------------------------------------


def update(artifact: Artifact) -> None:
    """Make the aliases of a version, and its metadata when it is the newest, what the object says.

    Raises:
        CommError: the server refuses.
        UsageError: the metadata of an older version was changed.
    """
    client = _server.connect()
    version = artifact.stored()
    before, now = set(artifact._aliases_there), set(artifact.aliases)
    change = {"add": sorted(now - before - {"latest"}), "remove": sorted(before - now - {"latest"})}
    if change["add"] or change["remove"]:
        _server.ask(client, "artifact aliases", "POST", route("artifacts", version.id, "aliases"), change)
        artifact._aliases_there = list(artifact.aliases)
    metadata = document_metadata(artifact)
    if metadata != version.metadata:
        if "latest" not in version.aliases:
            raise UsageError(f"{artifact.name} is not the latest version; only that one's metadata can be changed.")
        _put_again(client, artifact, artifact._base_name, [], metadata)
        version.metadata = metadata


def _put_again(client: Any, artifact: Artifact, name: str, aliases: list[str], metadata: dict[str, Any]) -> Any:
    """Announce files that the server has already, as a version of a name; nothing is uploaded."""
    version = artifact.stored()
    files = [
        given(path=f["path"], sizeBytes=f["sizeBytes"], sha256=f["sha256"], contentType=f.get("contentType"))
        for f in version.files
        if not f.get("uri")
    ]
    references = [
        given(path=f["path"], uri=f["uri"], sizeBytes=f.get("sizeBytes"), sha256=f.get("sha256"), etag=f.get("etag"))
        for f in version.files
        if f.get("uri")
    ]
    body = {
        "runId": artifact._run.id if artifact._run is not None else version.run_id,
        "name": artifact_paths.clean_name(name),
        "artifactType": artifact.type,
        "aliases": aliases,
        "metadata": metadata,
        "files": files,
        "references": references,
    }
    begun = _server.ask(client, "artifact", "POST", "/artifacts/initiate", body)
    ids = {name: begun[name] for name in ("artifactId", "uploadId")}
    return _server.ask(client, "artifact", "POST", "/artifacts/finalize", {"runId": body["runId"], **ids})["artifact"]


def link_artifact(
    run: Run | None, artifact: Artifact, target_path: str, aliases: Sequence[str] | None = None
) -> Artifact:
    """Give an artifact's content a further name, with versions of its own: that of a collection in a registry.

    Args:
        run: the run that does it; it logs a draft first.
        artifact: what is linked.
        target_path: ``registry/collection``; the last part counts.
        aliases: names of the new version besides ``latest``.

    Returns:
        The version under the further name.

    Raises:
        CommError: the server does not answer, or refuses.
        UsageError: no run, for a draft.
    """
    if artifact.is_draft():
        if run is None:
            raise UsageError("a draft can only be linked by a run; log it first.")
        log_artifact(run, artifact)
    client = _server.connect()
    _, name, _ = reference_of(target_path)
    made = _put_again(client, artifact, name, [a for a in aliases or () if a != "latest"], document_metadata(artifact))
    linked = Artifact.of(document(client, made["artifactId"]))
    linked._run = artifact._run
    linked.is_link = True
    return linked


# -- models ------------------------------------------------------------------------------------------------------------


def log_model(run: Run, path: Any, name: str | None = None, aliases: Sequence[str] | None = None) -> Artifact:
    """Store a file or folder as an artifact of type ``model``; see :func:`log_artifact`."""
    return log_artifact(run, path, name, "model", aliases)


def use_model(run: Run, name: str) -> str:
    """Bring a model here: the place of its file, or of its folder when it has several files.

    Raises:
        CommError: there is none of this name.
        ValueError: it is no model.
    """
    artifact = use_artifact(run, name)
    if "model" not in artifact.type.lower():
        raise ValueError("You can only use this method for 'model' artifacts. For an artifact of another type, use "
                         "use_artifact().")  # fmt: skip
    folder = artifact.download()
    paths = list(artifact.manifest.entries)
    return str(Path(folder) / paths[0]) if len(paths) == 1 else folder


def link_model(
    run: Run,
    path: Any,
    registered_model_name: str,
    name: str | None = None,
    aliases: Sequence[str] | None = None,
) -> Artifact:
    """Store a model and give it a further name; see :func:`link_artifact`."""
    artifact = log_model(run, path, name, aliases)
    return link_artifact(run, artifact, f"model-registry/{registered_model_name}", aliases)


def save(artifact: Artifact, project: str | None, settings: Any) -> None:
    """Log a draft to the active run; without one, to a run for this alone."""
    package: Any = sys.modules["rundial.compat.wandb"]
    if package.run is not None:
        log_artifact(package.run, artifact)
        return
    with package.init(project=project, job_type="auto", settings=settings) as run:
        log_artifact(run, artifact)
        artifact.wait()
