"""Uploads: from the announcement of files to a version of an artifact, or an item of media.

An announced file is missing until its content is a blob of the workspace, so what was uploaded once, by whatever
upload, is never asked for again; a file that comes in parts is missing those parts that are not durable. Nothing else
is remembered, and an upload that was interrupted anywhere goes on from there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from rundial.server.store.accounts import Principal, new_id, now_ms
from rundial.server.store.arrivals import Arrivals, Missing, Place, missing_contents, note_blobs
from rundial.server.store.blobs import Blobs, Receiver
from rundial.server.store.engine import Db, Engine
from rundial.server.store.manifest import SINGLE_BYTES, Initiation, checked, digest, part_bytes, part_count
from rundial.server.store.media import put_uploaded
from rundial.server.store.refusal import Refusal, invalid, not_found
from rundial.server.store.s3 import Bucket
from rundial.server.store.signing import Signer, forbidden
from rundial.server.store.versions import Publish, Run, changed, is_held, known_run, publish_version

MAX_OPEN = 10_000
"""Unfinished uploads of one run."""
PUT_SECONDS = 6 * 3600
GET_SECONDS = 300
PREFIX = "/api/v1/blobs/"
Json = dict[str, Any]


class _Upload(NamedTuple):
    """An upload as the table has it."""

    run_id: str
    upload_id: str
    artifact_id: str
    workspace_id: str
    project_id: str
    digest: str
    files: int
    size_bytes: int
    plan: str
    result: str | None

    @property
    def run(self) -> Run:
        return Run(self.run_id, self.project_id, self.workspace_id)

    @property
    def place(self) -> Place:
        return Place(self.run_id, self.upload_id, self.artifact_id, self.workspace_id, self.project_id)


class Put(NamedTuple):
    """A request that brings a file or a part: ``write`` the body, then ``finish``, and ``close`` whatever happens."""

    write: Callable[[bytes], None]
    finish: Callable[[], str]
    """Makes it durable and gives its SHA-256."""
    close: Callable[[], None]


_COLUMNS = ", ".join(_Upload._fields)


class Uploads:
    """Takes uploads in.

    Args:
        engine: the database.
        blobs: where content goes, on this disk or in S3.
        signer: signs the addresses that content is put to.
        publish: hears of what became of an upload.
    """

    def __init__(self, engine: Engine, blobs: Blobs | Bucket, signer: Signer, publish: Publish) -> None:
        self._engine = engine
        self._room = blobs
        self._remote = Arrivals(engine, blobs) if isinstance(blobs, Bucket) else None
        self._signer = signer
        self._publish = publish
        self._finalizing = [threading.Lock() for _ in range(64)]

    def initiate(self, principal: Principal, asked: Initiation, base_url: str) -> Json:
        """Begin an upload, or go on with it; what is missing of it, with the addresses to put that to.

        Raises :class:`Refusal`: 400 for what cannot be stored, 404 for a run that is not visible, 409 when the upload
        key belongs to other files, 429 when too many uploads of the run are unfinished.
        """
        plan = checked(asked)
        contents = digest(plan.files, plan.references or [])
        upload = self._engine.write(lambda db: _begin(db, principal, plan, contents)).result()
        files: list[Json] = []
        if upload.result is None and self._remote is not None:
            digests = {file.sha256: file.part_sha256 for file in plan.files if file.part_sha256 is not None}
            files = self._remote.missing(upload.place, digests, PUT_SECONDS)
        elif upload.result is None:
            with self._engine.read() as db:
                missing = missing_contents(db, upload.place)
                done = {content.sha256: _parts(db, upload, content.sha256) for content in missing}
            for content in missing:
                entry = self._entry(principal, upload, content, done[content.sha256], base_url)
                if entry is not None:
                    files.append(entry)
        return {"artifactId": upload.artifact_id, "uploadId": upload.upload_id, "files": files}

    def open(self, upload_id: str, sha256: str, fields: dict[str, str]) -> Put:
        """Take in the body of a signed PUT. ``fields`` are those of its address.

        Raises :class:`Refusal`: 403 when its key was revoked, 409 when the upload is over.
        """
        part, offset, size = int(fields["part"]), int(fields["offset"]), int(fields["size"])
        with self._engine.read() as db:
            if not _is_alive(db, fields["by"]):
                raise forbidden("The key that asked for this address is no longer valid.")
            upload = _open_upload(db, upload_id)
        if not part:
            receiver = self._disk.receive(upload.upload_id, sha256, size)
            return Put(receiver.write, lambda: self._keep(upload, sha256, receiver), receiver.close)
        receiver = self._disk.receive_part(upload.upload_id, sha256, part, offset, size)
        with self._engine.read() as db:
            # Asked while the part is ours: nobody else can bring it to an end meanwhile.
            known = _parts(db, upload, sha256).get(part)
        if known is not None:
            self._disk.release_part(upload.upload_id, sha256, part, receiver)
            return Put(lambda data: None, lambda: known, lambda: None)
        return Put(
            receiver.write,
            lambda: self._keep_part(upload, sha256, part, receiver),
            lambda: self._disk.release_part(upload.upload_id, sha256, part, receiver),
        )

    def may_get(self, artifact_id: str, sha256: str, principal_id: str) -> bool:
        """Whether an address that was signed for a key still gives a content of a version."""
        with self._engine.read() as db:
            return _is_alive(db, principal_id) and is_held(db, artifact_id, sha256)

    def finalize(
        self,
        principal: Principal,
        run_id: str,
        project: str | None,
        artifact_id: str,
        upload_id: str,
        etags: dict[str, list[tuple[int, str]]],
    ) -> Json:
        """Verify what came in parts and make the upload what it is to be; asked again, it answers the same.

        ``etags`` are the parts by path as the client knows them; it need not know all.
        Raises :class:`Refusal`: 404 when the upload is not visible, 409 when something is missing or is not what was
        announced, which then has to be uploaded again.
        """
        with self._finalizing[hash(upload_id) % len(self._finalizing)], self._engine.hold(f"upload {upload_id}"):
            with self._engine.read() as db:
                known_run(db, principal, run_id, project)
                upload = _upload(db, "run_id = ? AND upload_id = ? AND artifact_id = ?", run_id, upload_id, artifact_id)
                if upload is None:
                    raise not_found("This upload")
                if upload.result is None and self._remote is None:
                    self._check_etags(db, upload, etags)
                    missing = missing_contents(db, upload.place)
            if upload.result is not None:
                return _decoded(upload.result)
            if self._remote is not None:
                missing = []
                self._remote.take(upload.place)
            for content in missing:
                self._join(upload, content)
            result = self._engine.write(lambda db: _finish(db, upload), lambda it: self._tell(upload, it)).result()
            if self._remote is None or upload.size_bytes > SINGLE_BYTES:
                self._room.discard(upload.upload_id)
            return result

    @property
    def _disk(self) -> Blobs:
        if not isinstance(self._room, Blobs):
            raise Refusal(409, "CONFLICT", "Files go to S3 now.", "Initiate the upload again.")
        return self._room

    def _entry(
        self, principal: Principal, upload: _Upload, content: Missing, done: dict[int, str], base_url: str
    ) -> Json | None:
        def address(part: int, offset: int, size: int) -> str:
            fields: dict[str, str | int] = {"by": principal.id, "part": part, "offset": offset, "size": size}
            path = f"{PREFIX}{upload.upload_id}/{content.sha256}"
            return base_url + self._signer.sign("PUT", path, fields, PUT_SECONDS)

        count, step = part_count(content.size), part_bytes(content.size)
        if count == 1:
            url = address(0, 0, content.size)
            return {"path": content.path, "uploadStrategy": "single", "url": url, "requiredHeaders": {}}
        parts: list[Json] = []
        for number in range(1, count + 1):
            if number not in done:
                offset = (number - 1) * step
                size = min(step, content.size - offset)
                place = {"partNumber": number, "offsetBytes": offset, "sizeBytes": size}
                parts.append(place | {"url": address(number, offset, size), "requiredHeaders": {}})
        return {"path": content.path, "uploadStrategy": "multipart", "parts": parts} if parts else None

    def _keep(self, upload: _Upload, sha256: str, receiver: Receiver) -> str:
        found = receiver.settle()
        if found != sha256:
            raise invalid(
                "The body is not the file that was announced.", "It changed since it was hashed: log it again."
            )
        with self._disk.lock(sha256):
            self._disk.keep(receiver, sha256)
            self._note_blob(upload, sha256, receiver.size)
        return found

    def _keep_part(self, upload: _Upload, sha256: str, part: int, receiver: Receiver) -> str:
        etag = receiver.settle()

        def note(db: Db) -> None:
            _open_upload(db, upload.upload_id)
            db.execute(
                "INSERT INTO upload_parts (run_id, upload_id, sha256, part, etag) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (upload.run_id, upload.upload_id, sha256, part, etag),
            )
            _touch(db, upload)

        self._engine.write(note).result()
        return etag

    def _join(self, upload: _Upload, content: Missing) -> None:
        """Make the parts of a file a blob."""
        count = part_count(content.size)
        with self._engine.read() as db:
            if count == 1 or len(_parts(db, upload, content.sha256)) < count:
                raise _unfinished(f"{content.path!r} is not uploaded.")
        if not self._disk.is_whole(upload.upload_id, content.sha256, content.size):
            self._engine.write(lambda db: _forget_parts(db, upload, content.sha256)).result()
            self._disk.scrap(upload.upload_id, content.sha256)
            raise _unfinished(f"{content.path!r} is not the file that was announced.")
        with self._disk.lock(content.sha256):
            self._disk.join(upload.upload_id, content.sha256)
            self._note_blob(upload, content.sha256, content.size)

    def _note_blob(self, upload: _Upload, sha256: str, size: int) -> None:
        def note(db: Db) -> None:
            note_blobs(db, upload.place, [(sha256, size)])
            _touch(db, upload)

        self._engine.write(note).result()

    def _check_etags(self, db: Db, upload: _Upload, etags: dict[str, list[tuple[int, str]]]) -> None:
        for path, parts in etags.items():
            row = db.execute(
                "SELECT sha256 FROM artifact_files WHERE project_id = ? AND artifact_id = ? AND path = ?",
                (upload.project_id, upload.artifact_id, path),
            ).fetchone()
            known = _parts(db, upload, row[0]) if row and row[0] else {}
            numbers = [number for number, _ in parts]
            # A proxy may have taken the ETag away.
            strange = any(etag and known.get(number) != etag.strip('"') for number, etag in parts)
            if strange or len(set(numbers)) < len(numbers):
                raise _unfinished(f"The parts of {path[:80]!r} are not those that arrived.")

    def _tell(self, upload: _Upload, result: Json) -> None:
        self._publish([changed(upload.run, "media" if "media" in result else "artifacts")])


def _begin(db: Db, principal: Principal, plan: Initiation, contents: str) -> _Upload:
    run = known_run(db, principal, plan.run_id, plan.project_id)
    known = _upload(db, "run_id = ? AND upload_key = ?", run.run_id, plan.upload_key)
    if known is not None:
        if known.digest != contents:
            raise Refusal(409, "CONFLICT", "This upload key belongs to other files.", "Use a new key for each upload.")
        _touch(db, known)
        return known
    unfinished = db.execute(
        "SELECT count(*) FROM uploads WHERE run_id = ? AND result IS NULL", (run.run_id,)
    ).fetchone()
    if unfinished[0] >= MAX_OPEN:
        raise Refusal(
            429,
            "RATE_LIMITED",
            f"The run has {MAX_OPEN} unfinished uploads.",
            "Finish them; after a day they are removed.",
        )
    size = sum(file.size_bytes for file in plan.files)
    entries = len(plan.files) + len(plan.references or ())
    kept = msgspec.json.encode(msgspec.structs.replace(plan, files=[], references=None)).decode()
    upload = _Upload(
        run.run_id, new_id("upl"), new_id("art"), run.workspace_id, run.project_id, contents, entries, size, kept, None
    )
    now = now_ms()
    db.execute(
        f"INSERT INTO uploads ({_COLUMNS}, upload_key, created_ms, touched_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*upload, plan.upload_key, now, now),
    )
    place = (upload.project_id, upload.artifact_id)
    db.executemany(
        "INSERT INTO artifact_files (project_id, artifact_id, path, size_bytes, sha256, content_type, uri, etag)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            *((*place, file.path, file.size_bytes, file.sha256, file.content_type, None, None) for file in plan.files),
            *((*place, it.path, it.size_bytes, it.sha256, None, it.uri, it.etag) for it in plan.references or ()),
        ],
    )
    return upload


def _finish(db: Db, upload: _Upload) -> Json:
    now = _upload(db, "run_id = ? AND upload_id = ?", upload.run_id, upload.upload_id)
    if now is None or now.result is not None:
        raise _unfinished("This upload was ended by somebody else.")
    missing = missing_contents(db, upload.place)
    if missing:
        raise _unfinished(f"{missing[0].path!r} is not uploaded.")
    plan = msgspec.json.decode(upload.plan, type=Initiation)
    result: Json
    if plan.media is not None:
        item = put_uploaded(db, upload.run, upload.artifact_id, plan.media, plan.time_ms)
        result = {"artifact": {"artifactId": upload.artifact_id, "version": 1}, "media": item, "deduped": False}
    else:
        version, deduped = publish_version(
            db, upload.run, upload.artifact_id, plan, upload.digest, upload.files, upload.size_bytes
        )
        result = {"artifact": version, "deduped": deduped}
    for content in db.execute(
        "SELECT DISTINCT sha256 FROM upload_parts WHERE run_id = ? AND upload_id = ?", (upload.run_id, upload.upload_id)
    ).fetchall():
        _forget_parts(db, upload, content[0])
    db.execute(
        "UPDATE uploads SET result = ?, touched_ms = ? WHERE run_id = ? AND upload_id = ?",
        (msgspec.json.encode(result).decode(), now_ms(), upload.run_id, upload.upload_id),
    )
    return result


def _upload(db: Db, where: str, *values: Any) -> _Upload | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM uploads WHERE {where}", values).fetchone()
    return _Upload(*row) if row else None


def _open_upload(db: Db, upload_id: str) -> _Upload:
    upload = _upload(db, "upload_id = ?", upload_id)
    if upload is None or upload.result is not None:
        raise Refusal(409, "CONFLICT", "This upload is finished or was given up.", "Initiate it again.")
    return upload


def _parts(db: Db, upload: _Upload, sha256: str) -> dict[int, str]:
    """The durable parts of a file with their ETags."""
    rows = db.execute(
        "SELECT part, etag FROM upload_parts WHERE run_id = ? AND upload_id = ? AND sha256 = ?",
        (upload.run_id, upload.upload_id, sha256),
    )
    return dict(rows.fetchall())


def _forget_parts(db: Db, upload: _Upload, sha256: str) -> None:
    db.execute(
        "DELETE FROM upload_parts WHERE run_id = ? AND upload_id = ? AND sha256 = ?",
        (upload.run_id, upload.upload_id, sha256),
    )


def _touch(db: Db, upload: _Upload) -> None:
    db.execute(
        "UPDATE uploads SET touched_ms = ? WHERE run_id = ? AND upload_id = ?",
        (now_ms(), upload.run_id, upload.upload_id),
    )


def _is_alive(db: Db, principal_id: str) -> bool:
    """Whether the key or session that asked for an address is still good."""
    now = now_ms()
    good = "k.revoked_ms IS NULL AND (k.expires_ms IS NULL OR k.expires_ms > ?)"
    row = db.execute(
        f"SELECT 1 FROM api_keys k WHERE k.key_id = ? AND {good} UNION ALL SELECT 1 FROM sessions s"
        f" JOIN api_keys k ON k.key_id = s.key_id WHERE s.session_id = ? AND s.expires_ms > ? AND {good}",
        (principal_id, now, principal_id, now, now),
    ).fetchone()
    return row is not None


def _unfinished(message: str) -> Refusal:
    return Refusal(
        409, "CONFLICT", message, "Initiate the upload again with the same uploadKey; it says what is missing."
    )


def _decoded(result: str) -> Json:
    decoded: Json = msgspec.json.decode(result)
    return decoded
