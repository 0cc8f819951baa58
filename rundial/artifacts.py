"""Artifacts: files, folders and references that a run makes and uses, kept in versions.

:func:`log_artifact` stages and returns; :mod:`rundial.uploads` does the rest. :func:`use` asks the server and waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rundial import downloads
from rundial.artifact_paths import URI, clean_name, clean_path, folder_name, inside, last_part, location, members
from rundial.config import Settings, local_server
from rundial.delivery import Refusal, StoreClient
from rundial.errors import RequestError, RundialError, UnreachableError
from rundial.events import RunStart
from rundial.pipeline import Pipeline
from rundial.protocols import owner_fields
from rundial.staging import COPY_BYTES, Job, Reference, remove_job, stage_file
from rundial.values import plain, step_number

MOST_COPIED = 100
"""Files of a folder that are copied at the call, when they are small; more would keep the caller."""


# -- logging -----------------------------------------------------------------------------------------------------------


def log_artifact(
    pipeline: Pipeline,
    path_or_dir: Any,
    name: str | None = None,
    type: str | None = None,
    aliases: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    keep_last: int | None = None,
    retention_policy: Mapping[str, Any] | None = None,
    step: int | None = None,
) -> bool:
    """Stage a file, a folder or a reference and hand it to the upload threads; False, and counted, if it cannot be."""
    uploads = pipeline.uploads
    try:
        text = location(path_or_dir)
        job = Job(
            clean_name(name or last_part(text)),
            type=None if type is None else str(type),
            aliases=[aliases] if isinstance(aliases, str) else [str(alias) for alias in aliases or ()],
            metadata=plain(metadata or {}),
            retention=_retention(keep_last, retention_policy),
            step=_step(pipeline, step),
            time_ns=time.time_ns(),
        )
        if URI.match(text):
            job.references = [Reference(last_part(text), text)]
            return uploads.submit_staged(_new_folder(pipeline), job)
        return _stage(pipeline, Path(text), job)
    except _NoRoom as error:
        uploads.refuse("artifact", "unwritable", f"artifact was not stored: the spool cannot be written: {error}.")
    except FileNotFoundError as error:
        uploads.refuse("artifact", "missing", f"artifact was not stored: there is no {error.filename or path_or_dir}.")
    except OSError as error:
        uploads.refuse("artifact", "unreadable", f"artifact was not stored: {error}.")
    except Exception as error:  # noqa: BLE001 - nothing a stranger's path, name or step does may reach the training
        uploads.refuse("artifact", "invalid", f"artifact was not stored: {error}")
    return False


def _step(pipeline: Pipeline, step: Any) -> int | None:
    if step is None:
        return None
    try:
        return step_number(step)
    except Exception as error:  # noqa: BLE001 - an object's own __int__ or item() may raise anything
        pipeline.counters.warn_once("artifact step", f"{error}; the artifact was stored without a step.")
        return None


def _retention(keep_last: int | None, policy: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if policy is not None:
        return dict(plain(policy))
    if keep_last is None:
        return None
    if int(keep_last) < 1:
        raise ValueError(f"keep_last must be at least 1, not {keep_last}")
    return {"strategy": "keep_last", "keepLast": int(keep_last)}


def _stage(pipeline: Pipeline, path: Path, job: Job) -> bool:
    uploads = pipeline.uploads
    if not path.is_dir():
        found, total = [(clean_path(path.name), path)], path.stat().st_size
    else:
        found, skipped = members(path)
        some = found[:MOST_COPIED]
        total = sum(member.stat().st_size for _, member in some) if len(some) == len(found) else COPY_BYTES + 1
        if skipped:
            message = f"{skipped} entries of {path} were left out: links that lead out of it, and what is no file."
            pipeline.counters.warn_once("artifact links", message)
    folder = _new_folder(pipeline)
    try:
        for number, (inner, member) in enumerate(found):
            job.files.append(stage_file(member, folder, str(number), inner, small=total <= COPY_BYTES))
    except BaseException:
        remove_job(folder)
        raise
    return uploads.submit_staged(folder, job)


class _NoRoom(Exception):
    """The spool takes nothing."""


def _new_folder(pipeline: Pipeline) -> Path:
    try:
        return pipeline.uploads.new_folder()
    except OSError as error:
        raise _NoRoom(str(error)) from error


# -- using -------------------------------------------------------------------------------------------------------------


class Artifact:
    """One version of an artifact, as a server has it.

    Args:
        document: what the server said.
        client: the server.
        run_id: the run that uses it.
    """

    def __init__(self, document: Mapping[str, Any], client: StoreClient, run_id: str | None) -> None:
        self.id = str(document["artifactId"])
        self.name = str(document.get("name") or self.id)
        self._made_by = document.get("runId")
        self.version = int(document.get("version") or 0)
        """Counts from the server's first version on; ``name:v<version>`` means this one for ever."""
        self.type: str | None = document.get("type")
        self.aliases = tuple(document.get("aliases") or ())
        self.metadata: dict[str, Any] = dict(document.get("metadata") or {})
        self.size: int = int(document.get("sizeBytes") or 0)
        """Bytes of all files."""
        self.run_id: str | None = document.get("runId")
        """The run that made it."""
        self.files: list[dict[str, Any]] = [dict(file) for file in document.get("files") or ()]
        """``path``, ``sizeBytes``, ``sha256``, ``contentType`` of each file; ``uri`` for one that lies elsewhere."""
        self.artifact = dict(document)
        """All that the server said; the older client's name."""
        self._client = client
        self._consumer = run_id

    def __repr__(self) -> str:
        return f"<Artifact {self.name}:v{self.version} {len(self.files)} files>"

    def download(self, dir: str | os.PathLike[str] | None = None) -> Path:
        """Bring all files into a folder, each verified; what is there already and is right is left alone.

        Files that are only referenced are not fetched.

        Args:
            dir: the folder; default ``./artifacts/<name>-v<version>``.

        Raises:
            RundialError: a path would leave the folder, or what came is not what was stored.
            RequestError: the server refuses or does not answer.
            OSError: the folder cannot be written.
        """
        root = Path(dir) if dir is not None else Path("artifacts") / f"{folder_name(self.name)}-v{self.version}"
        # Every path is checked before the first byte is written.
        wanted = [(file, inside(root, str(file.get("path")))) for file in self.files if not file.get("uri")]
        root.mkdir(parents=True, exist_ok=True)
        if len(wanted) <= 1:
            for file, place in wanted:
                self._fetch(file, root, place)
            return root
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(downloads.AT_ONCE, "rundial-download") as pool:
            tasks = [pool.submit(self._fetch, file, root, place) for file, place in wanted]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return root

    def get_path(self, path: str, dir: str | os.PathLike[str] | None = None) -> Path:
        """Bring one file and give its place; as :meth:`download`. A RundialError when there is no such file."""
        root = Path(dir) if dir is not None else Path("artifacts") / f"{folder_name(self.name)}-v{self.version}"
        for file in self.files:
            if file.get("path") == path:
                if file.get("uri"):
                    raise RundialError(f"{path!r} of {self!r} is a reference to {file['uri']}; fetch it from there.")
                place = inside(root, path)
                root.mkdir(parents=True, exist_ok=True)
                self._fetch(file, root, place)
                return place
        raise RundialError(f"there is no file {path!r} in {self!r}; it has {', '.join(self._some_paths())}.")

    def _some_paths(self) -> list[str]:
        return [repr(file.get("path")) for file in self.files[:10]]

    def _fetch(self, file: Mapping[str, Any], root: Path, place: Path) -> None:
        run_id = self._made_by if self._client.owner else self.run_id  # an older server wants the run it is of
        downloads.fetch(self._client, {"runId": run_id, "artifactId": self.id}, file, root, place)


def use(settings: Settings, start: RunStart, artifact_ref: str) -> Artifact:
    """Look an artifact up, note that the run uses it, and give a handle. See :meth:`rundial.Run.use_artifact`."""
    client = _client(settings)
    client.owner = owner_fields(client, start.workspace, start.project)
    body = {"runId": start.run_id, "artifactRef": str(artifact_ref)}
    deadline = time.monotonic() + downloads.PATIENCE_SECONDS

    def ask() -> dict[str, Any]:
        while True:
            try:
                return client.call("artifacts/use", body)
            except Refusal as refusal:
                # The run's first record may still be on its way; an artifact that is not there stays so.
                said = str(refusal.error.error_message).lower()
                unknown_run = refusal.error.status_code == 404 and said.startswith(("run ", "there is no such run"))
                if not unknown_run or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    answer = downloads.patiently(client, ask, None)
    document = answer.get("artifact")
    if not isinstance(document, dict) or not document.get("artifactId"):
        raise RequestError(f"{client.endpoint} did not say which artifact {artifact_ref!r} is; update the server.")
    return Artifact(document, client, start.run_id)


def _client(settings: Settings) -> StoreClient:
    if settings.mode != "online":
        raise RequestError(f"artifacts can only be looked up with mode='online'; this run's mode is {settings.mode!r}.")
    if settings.endpoint is not None:
        return StoreClient(settings.endpoint, settings.api_key, settings.request_timeout_seconds, downloads.AT_ONCE)
    server = local_server()
    if server is None:
        raise UnreachableError("no local server is running to look artifacts up; `rundial ui` starts one.")
    return StoreClient(server.url, server.api_key, settings.request_timeout_seconds, downloads.AT_ONCE)
