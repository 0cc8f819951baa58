"""Artifacts: files, folders and references that a run makes and uses, kept in versions.

:func:`log_artifact` stages and returns; :mod:`rundial.uploads` does the rest. :func:`use` asks the server and waits.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from rundial.config import Settings, local_server
from rundial.delivery import Refusal, StoreClient
from rundial.errors import RequestError, RundialError, UnreachableError
from rundial.events import RunStart, clean_key
from rundial.pipeline import Pipeline
from rundial.protocols import owner_fields
from rundial.staging import COPY_BYTES, Job, Reference, remove_job, stage_file
from rundial.transport import delay
from rundial.values import plain, step_number

T = TypeVar("T")
MAX_FILES = 100_000
MAX_PATH_LENGTH = 1024
MOST_COPIED = 100
"""Files of a folder that are copied at the call, when they are small; more would keep the caller."""
DOWNLOADS_AT_ONCE = 4
PATIENCE_SECONDS = 5.0
"""How long a server that does not answer, or does not know the run yet, is asked again."""
DOWNLOAD_TRIES = 3
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


# -- logging -----------------------------------------------------------------------------------------------------------


def log_artifact(
    pipeline: Pipeline,
    path_or_dir: Any,
    *,
    name: str | None,
    type: str | None,
    aliases: Sequence[str] | None,
    metadata: Mapping[str, Any] | None,
    keep_last: int | None,
    retention_policy: Mapping[str, Any] | None,
    step: int | None,
) -> bool:
    """Stage a file, a folder or a reference and hand it to the upload threads; False, and counted, if it cannot be."""
    uploads = pipeline.uploads
    try:
        text = _location(path_or_dir)
        job = Job(
            clean_name(name or _last_part(text)),
            type=None if type is None else str(type),
            aliases=[aliases] if isinstance(aliases, str) else [str(alias) for alias in aliases or ()],
            metadata=plain(metadata or {}),
            retention=_retention(keep_last, retention_policy),
            step=_step(pipeline, step),
            time_ns=time.time_ns(),
        )
        if _URI.match(text):
            job.references = [Reference(_last_part(text), text)]
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


def clean_name(name: object) -> str:
    """Any object as the name of an artifact, in which ``:`` and ``/`` would be read as part of a reference."""
    return clean_key(str(name).strip().replace("/", "-").replace(":", "-"))


def _location(path_or_dir: Any) -> str:
    text = os.fspath(path_or_dir)
    text = os.fsdecode(text) if isinstance(text, bytes) else text
    if not text:
        raise ValueError("its path is empty")
    if text.startswith("file://"):
        return unquote(urlsplit(text).path)
    return text if _URI.match(text) else os.path.normpath(Path(text).expanduser().absolute())


def _last_part(text: str) -> str:
    path = urlsplit(text).path or urlsplit(text).netloc if _URI.match(text) else text
    return path.rstrip("/").rpartition("/")[2] or "artifact"


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
        members, total = [(_clean_path(path.name), path)], path.stat().st_size
    else:
        members, skipped = _members(path)
        some = members[:MOST_COPIED]
        total = sum(member.stat().st_size for _, member in some) if len(some) == len(members) else COPY_BYTES + 1
        if skipped:
            message = f"{skipped} entries of {path} were left out: links that lead out of it, and what is no file."
            pipeline.counters.warn_once("artifact links", message)
    folder = _new_folder(pipeline)
    try:
        for number, (inner, member) in enumerate(members):
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


def _members(root: Path) -> tuple[list[tuple[str, Path]], int]:
    """The files of a folder by their paths in the artifact, in order, and how many entries were left out."""
    real = os.path.realpath(root)
    found: dict[str, Path] = {}
    skipped = 0
    for entry in _walk(real):
        if not _belongs(entry, real):
            skipped += 1
            continue
        inner = _clean_path(os.path.relpath(entry.path, real))
        while inner in found:
            inner += "~"  # two names that differ only in characters no path may have
        found[inner] = Path(entry.path)
        if len(found) > MAX_FILES:
            raise ValueError(f"{root} holds more than {MAX_FILES:,} files; pack them first")
    if not found:
        raise ValueError(f"{root} holds no files")
    return sorted(found.items()), skipped


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            else:
                yield entry


def _belongs(entry: os.DirEntry[str], root: str) -> bool:
    if not entry.is_symlink():
        return entry.is_file(follow_symlinks=False)
    real = Path(entry.path).resolve()
    return real.is_relative_to(root) and real.is_file()


def _clean_path(path: str) -> str:
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\\", "_")
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    if len(text) > MAX_PATH_LENGTH:
        raise ValueError(f"a path in it has more than {MAX_PATH_LENGTH:,} characters: {text[:60]}...")
    return text


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
        root = Path(dir) if dir is not None else Path("artifacts") / f"{_folder_name(self.name)}-v{self.version}"
        # Every path is checked before the first byte is written.
        wanted = [(file, _inside(root, str(file.get("path")))) for file in self.files if not file.get("uri")]
        root.mkdir(parents=True, exist_ok=True)
        if len(wanted) <= 1:
            for file, place in wanted:
                self._fetch(file, root, place)
            return root
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, "rundial-download") as pool:
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
        root = Path(dir) if dir is not None else Path("artifacts") / f"{_folder_name(self.name)}-v{self.version}"
        for file in self.files:
            if file.get("path") == path:
                if file.get("uri"):
                    raise RundialError(f"{path!r} of {self!r} is a reference to {file['uri']}; fetch it from there.")
                place = _inside(root, path)
                root.mkdir(parents=True, exist_ok=True)
                self._fetch(file, root, place)
                return place
        raise RundialError(f"there is no file {path!r} in {self!r}; it has {', '.join(self._some_paths())}.")

    def _some_paths(self) -> list[str]:
        return [repr(file.get("path")) for file in self.files[:10]]

    def _fetch(self, file: Mapping[str, Any], root: Path, place: Path) -> None:
        path, size, digest = str(file["path"]), file.get("sizeBytes"), file.get("sha256")
        if _is_right(place, size, digest):
            return
        if not place.parent.resolve().is_relative_to(root.resolve()):
            raise RundialError(f"{path!r} leads out of {root} through a symbolic link; nothing was written there.")
        place.parent.mkdir(parents=True, exist_ok=True)
        run_id = self._made_by if self._client.owner else self.run_id  # an older server wants the run it is of
        body = {"runId": run_id, "artifactId": self.id, "path": path}

        def transfer() -> None:
            found = self._client.call("artifacts/download", body)
            with self._client.open(str(found["url"])) as pieces:
                _write(place, pieces, size, digest, path)

        _patiently(self._client, transfer, DOWNLOAD_TRIES)


def use(settings: Settings, start: RunStart, artifact_ref: str) -> Artifact:
    """Look an artifact up, note that the run uses it, and give a handle. See :meth:`rundial.Run.use_artifact`."""
    client = _client(settings)
    client.owner = owner_fields(client, start.workspace, start.project)
    body = {"runId": start.run_id, "artifactRef": str(artifact_ref)}
    deadline = time.monotonic() + PATIENCE_SECONDS

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

    answer = _patiently(client, ask, None)
    document = answer.get("artifact")
    if not isinstance(document, dict) or not document.get("artifactId"):
        raise RequestError(f"{client.endpoint} did not say which artifact {artifact_ref!r} is; update the server.")
    return Artifact(document, client, start.run_id)


def _client(settings: Settings) -> StoreClient:
    if settings.mode != "online":
        raise RequestError(f"artifacts can only be looked up with mode='online'; this run's mode is {settings.mode!r}.")
    if settings.endpoint is not None:
        return StoreClient(settings.endpoint, settings.api_key, settings.request_timeout_seconds, DOWNLOADS_AT_ONCE)
    server = local_server()
    if server is None:
        raise UnreachableError("no local server is running to look artifacts up; `rundial ui` starts one.")
    return StoreClient(server.url, server.api_key, settings.request_timeout_seconds, DOWNLOADS_AT_ONCE)


def _patiently(client: StoreClient, call: Callable[[], T], tries: int | None) -> T:
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
            if attempt >= DOWNLOAD_TRIES:
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


def _inside(root: Path, path: str) -> Path:
    """The place of a file below a folder. Raises :class:`RundialError` for a path that would leave it."""
    parts = path.split("/")
    if not path or "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise RundialError(f"the server names a file {path!r}, which would lie outside {root}; nothing was downloaded.")
    return root.joinpath(*parts)


def _folder_name(name: str) -> str:
    text = re.sub(r"[^\w.\-]+", "-", name).strip(".") or "artifact"
    return text[:100]
