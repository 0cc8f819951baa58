"""Uploads to a server of the older kind, which knows no upload again, so that what it has is noted here.

The note lies beside the job: what the server said when the upload began, and which parts it has. A process that comes
later goes on from there. A version that was made while its answer got lost is made again: nothing tells it apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from rundial import delivery
from rundial.config import DEFAULT_WORKSPACE
from rundial.delivery import READ_SECONDS, Refusal, StoreClient
from rundial.errors import RequestError
from rundial.json_api import project_of
from rundial.staging import File, Job, now_ms
from rundial.transport import Outcome

NOTE_NAME = "older.json"
MEDIA_TYPES = ("image", "table")
"""What that wire can list as media. Anything else is an artifact there."""
_ITEM_FIELDS = ("caption", "width", "height", "tableRows", "tableColumns")


class Note(msgspec.Struct, omit_defaults=True):
    """What is known of an upload that has begun."""

    begun: dict[str, Any]
    etags: dict[str, dict[int, str]] = {}
    """By path and part; 0 for a whole file."""
    artifact: dict[str, Any] | None = None
    """What the server made of it."""


def deliver(
    folder: Path, job: Job, client: StoreClient, advance: Callable[[int], None], stopping: Callable[[], bool]
) -> dict[str, Any]:
    """Upload a settled job to a server of the older kind, as :func:`rundial.delivery.deliver` has it."""
    return _OlderUpload(folder, job, client, advance, stopping).deliver()


class _OlderUpload(delivery._Upload):
    """An upload with only the fields that the JSON wire has."""

    def deliver(self) -> dict[str, Any]:
        """Send what lacks. Raises as :func:`rundial.delivery.deliver` does."""
        starts = 0
        while True:
            before = self.sent
            try:
                return self._deliver()
            except delivery._Again as again:
                # The address has expired or the server has forgotten the upload: it begins anew.
                self._note_path.unlink(missing_ok=True)
                starts = 1 if self.sent > before else starts + 1
                if starts >= delivery.MAX_STARTS:
                    raise again.refusal from None

    @property
    def _note_path(self) -> Path:
        return self._folder / NOTE_NAME

    def _deliver(self) -> dict[str, Any]:
        job, client = self._job, self._client
        if not job.files:
            error = RequestError(f"{client.endpoint} takes no artifact without a file; {job.name} only has references.")
            raise Refusal(Outcome("bad", error=error))
        meta = job.meta
        project_id = project_of(client, meta.get("workspace") or DEFAULT_WORKSPACE, str(meta.get("project")))
        self._owner = {"projectId": project_id, "runId": meta.get("run_id")}
        self._note = self._read_note() or self._begin()
        if self._note.artifact is None:
            self._put_all()
            self._finalize_and_note()
        if job.media is not None and job.media.get("mediaType") in MEDIA_TYPES:
            client.call("ingest/media", {**self._owner, "items": [self._media_item()]})
        return {"artifact": self._note.artifact}

    def _begin(self) -> Note:
        job = self._job
        metadata = dict(job.metadata)
        if job.step is not None:
            metadata.setdefault("step", job.step)
        if job.references:
            metadata.setdefault("references", msgspec.to_builtins(job.references))
        if job.media is not None:
            metadata = {"mediaKey": job.media.get("key"), **metadata}
        body: dict[str, Any] = {
            **self._owner,
            "name": job.name,
            "files": [
                {"path": file.path, "sizeBytes": file.size, "sha256": file.sha256}
                | ({"contentType": file.content_type} if file.content_type else {})
                for file in sorted(job.files, key=lambda file: file.path)
            ],
        }
        optional = {
            "artifactType": job.type,
            "aliases": job.aliases,
            "metadata": metadata,
            "retentionPolicy": job.retention,
        }
        body |= {name: value for name, value in optional.items() if value}
        note = Note(self._client.call("artifacts/initiate", body, READ_SECONDS))
        self._write(note)
        return note

    def _put_all(self) -> None:
        files = {file.path: file for file in self._job.files}
        wanted = {str(entry.get("path")): entry for entry in self._note.begun.get("files") or ()}
        unknown = [path for path in wanted if path not in files]
        if unknown:
            raise self._nonsense(f"asks for {unknown[0]!r}, which is no file of {self._job.name}")
        self._tell(self._job.size - sum(delivery._size_of(wanted[path], files[path]) for path in wanted))
        for path, entry in wanted.items():
            self._put_what_lacks(files[path], entry)

    def _put_what_lacks(self, file: File, entry: dict[str, Any]) -> None:
        done = self._note.etags.setdefault(file.path, {})
        if entry.get("uploadStrategy") != "multipart":
            if 0 not in done:
                self._put_file(file, entry)
                done[0] = ""
                self._write(self._note)
            return
        for part in entry.get("parts") or ():
            number = part.get("partNumber")
            if number not in done:
                self._put_file(file, {**entry, "parts": [part]})
                done[number] = self._etags[file.path][number]
                self._write(self._note)

    def _finalize_and_note(self) -> None:
        self._etags = {
            path: {number: etag for number, etag in parts.items() if number}
            for path, parts in self._note.etags.items()
            if any(parts)
        }
        answer = self._finalize(self._note.begun)
        artifact = answer.get("artifact")
        if not isinstance(artifact, dict):
            raise self._nonsense("did not say what became of the upload")
        self._note.artifact = artifact
        self._write(self._note)

    def _media_item(self) -> dict[str, Any]:
        job, artifact = self._job, self._note.artifact or {}
        media = job.media or {}
        file = job.files[0]
        return {
            **self._owner,
            "mediaKey": media.get("key"),
            "mediaType": media.get("mediaType"),
            "step": max(0, int(media.get("step") or 0)),
            "timestampMs": media.get("timeMs") or now_ms(job),
            "artifactPath": file.path,
            **{name: media.get(name) for name in _ITEM_FIELDS},
            "metadata": media.get("metadata") or {},
            "artifactId": artifact.get("artifactId"),
            "artifactVersion": artifact.get("version"),
            "artifactSha256": file.sha256,
        }

    def _read_note(self) -> Note | None:
        try:
            return msgspec.json.decode(self._note_path.read_bytes(), type=Note)
        except (OSError, msgspec.MsgspecError):
            return None  # nothing has begun, or the note is torn: it begins anew

    def _write(self, note: Note) -> None:
        draft = self._note_path.with_suffix(".tmp")
        draft.write_bytes(msgspec.json.encode(note))
        draft.replace(self._note_path)
